"""Everybody in a video, each with a number that stays: in every frame as JSON, and the video with the limbs drawn.

Where in the flow: beside `videos.py`, which looks at one place for one person. Both files are written while the frames
go by, so memory does not grow with the video's length; the JSON has one line per frame, and comes last.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.names import printable
from cpm_port.imaging.pyramid import ScaleSearch, mpii_search
from cpm_port.imaging.video import CameraReader, VideoReader, VideoWriter
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.people import PersonFinder
from cpm_port.inference.predict import Prediction
from cpm_port.inference.results import PersonResult
from cpm_port.inference.targets import Target
from cpm_port.inference.together import person_result, predict_together
from cpm_port.inference.tracking import Pose, Tracker
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.predictions.results import FollowedHead, FrameRecord, VideoResultWriter
from cpm_port.release import MPII_PERSON_HEIGHT
from cpm_port.report.drawing import draw_poses

__all__ = ["Follower", "follow_video", "show_camera"]

Image = NDArray[np.uint8]


class Follower:
    """Finds everybody in one frame after another, and knows them again (`PersonResult.id`).

    Parameters
    ----------
    model : ReadyNet
    where : Whereabouts, optional
        Scales and mode.
    finder : PersonFinder, optional
        Who looks at whole frames, now and then; by default `CrowdFinder`.
    """

    def __init__(self, model: ReadyNet, where: Whereabouts | None = None, finder: PersonFinder | None = None) -> None:
        self._model, self._where = model, where or Whereabouts()
        self._finder = finder or CrowdFinder(model.net, sigma=model.sigma)
        self._tracker = Tracker(model.interface.part_order)

    def follow(self, frame: Image) -> list[PersonResult]:
        """Return the people of the next frame, (H, W, 3) uint8, BGR; by number."""
        size, box_size = (frame.shape[0], frame.shape[1]), self._model.interface.box_size
        searches = [self._at(joints, size) for joints in self._tracker.expected()]
        if self._tracker.wants_search:
            found = [ScaleSearch(person.center_xy, person.base_scale) for person in self._finder.find(frame)]
            searches += [self._where.search(size, box_size, one) for one in found]
        predictions = predict_together(self._model, frame, searches, self._where.mode)
        poses = [_pose(prediction, i) for i, prediction in enumerate(predictions)]
        count = len(self._tracker.expected())
        seen = self._tracker.update(poses[:count], poses[count:])
        return [person_result(predictions[pose.index], track=number) for number, pose in seen]

    def _at(self, joints: NDArray[np.float64], size: tuple[int, int]) -> ScaleSearch:
        """Return how to look where somebody is expected: no farther out than the picture's edge."""
        low, high = joints.min(axis=0), joints.max(axis=0)
        x, y = np.clip((low + high) / 2, 0, (size[1] - 1, size[0] - 1)).tolist()
        height = max(float((high - low).max()), 8.0)
        at = mpii_search((x, y), height / MPII_PERSON_HEIGHT, self._model.interface.box_size)
        return self._where.search(size, self._model.interface.box_size, at)


def _pose(found: Prediction, index: int) -> Pose:
    return Pose(found.joints_image, float(np.clip(found.scores / found.peak_limit, 0.0, 1.0).mean()), index)


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


def follow_video(target: Target, model: ReadyNet, where: Whereabouts) -> None:
    """Find everybody in every frame, and know them again; a bar on standard error follows.

    Parameters
    ----------
    target : Target
    model : ReadyNet
    where : Whereabouts
        Scales and mode.

    Raises
    ------
    MissingFileError, DataError
        As of `cpm_port.inference.videos.predict_video`.
    """
    order, follower = model.interface.part_order, Follower(model, where)
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(target.path))
        text_path = stack.enter_context(atomic_path(target.json))
        video_path = stack.enter_context(atomic_path(target.joints))
        text = stack.enter_context(text_path.open("w", encoding="utf-8"))
        bar = stack.enter_context(
            tqdm(total=video.declared, desc=target.path.name, unit="frame", leave=False, disable=None, file=sys.stderr)
        )
        head = FollowedHead(
            printable(target.path),
            video.rate,
            video.size,
            where.mode,
            model.interface.box_size,
            order.name,
            model.record,
        )
        result, writer, interrupt = VideoResultWriter(text, head), None, None
        try:
            for index, (time, frame) in enumerate(video):
                people = follower.follow(frame)
                drawn = draw_poses(frame, [person.joints for person in people], order, [person.id for person in people])
                if writer is None:
                    writer = stack.enter_context(VideoWriter(video_path, video.rate, (drawn.shape[0], drawn.shape[1])))
                writer.write(drawn)
                result.add(FrameRecord(index, time, (), tuple(person.record() for person in people)))
                bar.update()
        except KeyboardInterrupt as stop:
            if writer is None:
                raise
            interrupt = stop
        result.end(video.declared, interrupt is None and not video.cut_short)
    if interrupt is not None:
        raise interrupt
    if video.cut_short:
        raise DataError(
            f"{target.path}: cut short: it holds {video.count} of the {video.declared} frames that it claims; "
            "the results are of those"
        )
