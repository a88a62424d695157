"""Everybody in one frame after another, each with a number that stays; and a camera's people in a window.

Where in the flow: below `videos.py` and `finding.py`; above `tracking.py`, which tells who is who, and `crowd.py`.
"""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import UsageError
from cpm_port.imaging.pyramid import ScaleSearch, mpii_search
from cpm_port.imaging.video import CameraReader
from cpm_port.inference.colours import limb_colours
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.people import PersonFinder
from cpm_port.inference.predict import Prediction
from cpm_port.inference.results import PersonResult
from cpm_port.inference.together import person_result, predict_together
from cpm_port.inference.tracking import Pose, Tracker
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.release import MPII_PERSON_HEIGHT
from cpm_port.report.drawing import draw_poses

__all__ = ["Follower", "show_camera"]

SCALES = (1.0,)
"""The last frame's joints tell a person's size, so one look is enough; `cpm-port bench video` tells what it costs."""

Image = NDArray[np.uint8]


class Follower:
    """Finds everybody in one frame after another, and knows them again (`PersonResult.id`).

    Parameters
    ----------
    model : ReadyNet
    where : Whereabouts, optional
        Mode, and scales; by default, one in each frame (in the mode "demo", the demo's).
    finder : PersonFinder, optional
        Who looks at whole frames, now and then; by default `CrowdFinder`.
    """

    def __init__(self, model: ReadyNet, where: Whereabouts | None = None, finder: PersonFinder | None = None) -> None:
        self._model, self._where = model, where or Whereabouts()
        self._finder = finder or CrowdFinder(model.net, part_order=model.interface.part_order, sigma=model.sigma)
        self._tracker = Tracker(model.interface.part_order)

    def follow(self, frame: Image) -> list[PersonResult]:
        """Return the people of the next frame, (H, W, 3) uint8, BGR; by number."""
        size, box_size = (frame.shape[0], frame.shape[1]), self._model.interface.box_size
        searches = [self._at(joints, size) for joints in self._tracker.expected()]
        if self._tracker.wants_search:
            found = [ScaleSearch(person.center_xy, person.base_scale, SCALES) for person in self._finder.find(frame)]
            searches += [self._where.search(size, box_size, one) for one in found]
        predictions = predict_together(self._model, frame, searches, self._where.mode)
        poses = [_pose(frame, prediction, i) for i, prediction in enumerate(predictions)]
        count = len(self._tracker.expected())
        seen = self._tracker.update(poses[:count], poses[count:])
        return [person_result(predictions[pose.index], track=number) for number, pose in seen]

    def _at(self, joints: NDArray[np.float64], size: tuple[int, int]) -> ScaleSearch:
        """Return how to look where somebody is expected: no farther out than the picture's edge."""
        low, high = joints.min(axis=0), joints.max(axis=0)
        x, y = np.clip((low + high) / 2, 0, (size[1] - 1, size[0] - 1)).tolist()
        height = max(float((high - low).max()), 8.0)
        box_size = self._model.interface.box_size
        at = mpii_search((x, y), height / MPII_PERSON_HEIGHT, box_size)
        return self._where.search(size, box_size, ScaleSearch(at.center_xy, at.base_scale, SCALES))


def _pose(frame: Image, found: Prediction, index: int) -> Pose:
    score = float(np.clip(found.scores / found.peak_limit, 0.0, 1.0).mean())
    return Pose(found.joints_image, score, index, limb_colours(frame, found.joints_image, found.part_order))


def show_camera(index: int, model: ReadyNet, where: Whereabouts) -> int:
    """Show a camera's pictures with everybody's limbs in a window, until a key is pressed; return how many there were.

    Parameters
    ----------
    index : int
        The camera's number, from 0.
    model : ReadyNet
    where : Whereabouts
        Scales and mode.

    Raises
    ------
    UsageError
        There is no display for a window.
    MissingFileError
        There is no such camera.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError(f"camera {index}: its pictures are shown in a window, and there is no display here")
    order, follower, title, shown = model.interface.part_order, Follower(model, where), f"camera {index}", 0
    with CameraReader(index) as camera:
        for _, frame in camera:
            people = follower.follow(frame)
            picture = draw_poses(frame, [person.joints for person in people], order, [person.id for person in people])
            try:
                cv2.imshow(title, picture)
                pressed = cv2.waitKey(1) >= 0
            except cv2.error as error:
                raise UsageError(f"camera {index}: this OpenCV opens no window ({error.err})") from error
            shown += 1
            if pressed:
                break
    cv2.destroyAllWindows()
    return shown
