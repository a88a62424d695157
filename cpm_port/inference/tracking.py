"""Who is who from frame to frame: people keep a number while they are in sight, and get it back when they return.

Where in the flow: around `predict_together` in a video (`following.py`). A tracker holds no frames, and at most
`MOST_TRACKS` people: memory does not grow with the video's length.

The rule, ours:

1. *Where they will be.* Each person is looked for where they were, moved on by their velocity (a running mean), in a
   box as large as their joints' was: a look from there, at the caller's scales (one, as a rule).
2. *Who else.* In the first frame, in every `SEARCH_EVERY`-th one, where nobody is in sight, and after `SEARCH_LOST`
   frames without somebody, a finder looks at the whole picture.
3. *Who is it?* Of what was seen doubles go (object keypoint similarity of `SAME`, the surest stay). The rest and the
   people known are paired so that their affinities add up to the most: joints like those expected, a place near it,
   and above all colours like the ones before. Nobody is paired with a pose out of reach, one whose mean score is below
   `KEEP` (`PERSON`, after they were lost), or one in other colours (likeness below `UNLIKE`). So two who cross do not
   exchange their numbers, nor both become the one in front. Colours are learned while nobody else is near, and only
   from poses that are alike (`LIKE`): of two who overlap, the pose of the one behind lies on the one in front.
4. *Back again.* Whoever is lost is looked for on for `LOST` frames, ever slower: their velocity fades. They come back
   near the place, or anywhere in the same colours (`LIKE`), after `LOST` frames in these alone; `MOST_GONE` such people
   are remembered. Somebody whom the finder sees, and who is nobody known, is new; where they turn out to wear the
   colours of somebody lost, they get that number.

Conventions: joints are 0-based image px; scores are from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.oks import distinct_poses, joints_area, keypoint_similarity
from cpm_port.inference.colours import colour_likeness
from cpm_port.inference.sureness import KEEP, PERSON
from cpm_port.parts import PartOrder

__all__ = ["Pose", "Tracker"]

SEARCH_EVERY = 25
SEARCH_LOST = (4, 10, 20, 40)
LOST = 50
SAME = 0.5
UNLIKE = 0.7
LIKE = 0.85
MOST_TRACKS = 20
MOST_GONE = 20
_NEW_VELOCITY = 0.3
_FADING = 0.9
_REACH = 0.6  # of a height, and as much more for every `_FARTHER` frames of a lost person
_FARTHER = 10
_SAME_HEIGHT = 1.5
_UNKNOWN = 0.8  # likeness where colours are not known; below LIKE
_COLOURS = 6.0  # what colours weigh beside joints and place
_NEW_COLOURS = 0.1
_APART = 0.5  # of a height: whoever stands nearer to somebody has their colours mixed with the other's


@dataclass(frozen=True, eq=False)
class Pose:
    """A pose in a frame: joints (P, 2), image px, and its mean score, 0 to 1; `index` says which of the caller's.

    `colours` are `limb_colours`; without them, joints and place tell alone.
    """

    joints: NDArray[np.float64]
    score: float
    index: int
    colours: NDArray[np.float64] | None = None


@dataclass(eq=False)
class _Track:
    """A person: number, joints as last seen, velocity in px a frame, colours, frames since then."""

    number: int
    joints: NDArray[np.float64]
    velocity: NDArray[np.float64]
    colours: NDArray[np.float64] | None = None
    lost: int = 0

    @property
    def height(self) -> float:
        return max(float(np.ptp(self.joints, axis=0).max()), 1.0)

    @property
    def gone(self) -> bool:
        """Whether nobody looks for them any more."""
        return self.lost > LOST

    @property
    def expected(self) -> NDArray[np.float64]:
        """Where the joints will be in the next frame."""
        return self.joints + self.velocity


class Tracker:
    """Knows people again.

    Parameters
    ----------
    order : PartOrder
        Of the joints.
    """

    def __init__(self, order: PartOrder) -> None:
        self._order, self._tracks, self._next, self._frame = order, list[_Track](), 1, 0

    @property
    def wants_search(self) -> bool:
        """Whether the whole of the next frame should be searched."""
        lost = [track.lost for track in self._tracks if not track.gone]
        return self._frame % SEARCH_EVERY == 0 or 0 not in lost or any(frames in SEARCH_LOST for frames in lost)

    def expected(self) -> list[NDArray[np.float64]]:
        """Return the joints, (P, 2), that people will have in the next frame: where to look for each of them."""
        return [track.expected for track in self._tracks if not track.gone]

    def update(self, looked: Sequence[Pose], found: Sequence[Pose]) -> list[tuple[int, Pose]]:
        """Take in a frame.

        Parameters
        ----------
        looked : sequence of Pose
            What was seen where people were expected, in the order of `expected`.
        found : sequence of Pose
            Whom a search of the whole picture found besides; nobody where there was none.

        Returns
        -------
        list of (int, Pose)
            The numbers of the people in sight, from 1, and their poses; by number.
        """
        poses = sorted((*looked, *found), key=lambda pose: -pose.score)
        poses = [poses[i] for i in distinct_poses([pose.joints for pose in poses], SAME, self._order)]
        seen = self._paired(poses)
        known = [pose for _, pose in seen]
        for pose in poses:
            if pose in found and pose not in known and pose.score >= PERSON:
                seen += self._new(pose)
        self._move_on(seen)
        self._frame += 1
        return sorted(((track.number, pose) for track, pose in seen), key=lambda one: one[0])

    def _paired(self, poses: Sequence[Pose]) -> list[tuple[_Track, Pose]]:
        """Return who is known, each with their pose, so that the affinities add up to the most."""
        affinities = np.array([[self._affinity(track, pose) for pose in poses] for track in self._tracks])
        if not affinities.size:
            return []
        from scipy.optimize import linear_sum_assignment  # a tenth of a second, which a picture can save

        pairs = zip(*linear_sum_assignment(affinities, maximize=True), strict=True)
        return [(self._tracks[i], poses[j]) for i, j in pairs if affinities[i, j] > 0]

    def _affinity(self, track: _Track, pose: Pose) -> float:
        """Return how well a pose suits a person; 0 where they cannot be the same."""
        expected = track.expected
        height = max(float(np.ptp(pose.joints, axis=0).max()), 1.0)
        away = float(np.hypot(*(_middle(pose.joints) - _middle(expected))))
        reach = _REACH * track.height * (1 + track.lost / _FARTHER)
        if pose.score < (KEEP if track.lost == 0 else PERSON):
            return 0.0
        like = _UNKNOWN
        if track.colours is not None and pose.colours is not None:
            like = colour_likeness(track.colours, pose.colours)
        by_colours = _COLOURS * (like - UNLIKE) / (1 - UNLIKE)
        grown = track.lost > 0 and abs(math.log(track.height / height)) > math.log(_SAME_HEIGHT)
        if track.gone or away > reach or grown:  # colours alone can tell
            return by_colours if track.lost and like >= LIKE else 0.0
        if like < UNLIKE:
            return 0.0
        area = max(joints_area(expected), joints_area(pose.joints))
        similar = keypoint_similarity(expected, pose.joints, area, self._order)
        return by_colours + similar + (1 - away / reach) + (1 - track.lost / LOST)

    def _new(self, pose: Pose) -> list[tuple[_Track, Pose]]:
        """Take up somebody who was not known, if there are not too many."""
        if len(self.expected()) >= MOST_TRACKS:
            return []
        track = _Track(self._next, pose.joints, np.zeros(2))
        self._next += 1
        self._tracks.append(track)
        return [(track, pose)]

    def _move_on(self, seen: Sequence[tuple[_Track, Pose]]) -> None:
        for track, pose in seen:
            surprise = (_middle(pose.joints) - _middle(track.expected)) / (track.lost + 1)
            track.velocity = track.velocity + _NEW_VELOCITY * surprise
            track.joints, track.lost = pose.joints, 0
        for track, pose in seen:
            others = [_middle(other.joints) for _, other in seen if other is not pose]
            apart = all(np.hypot(*(_middle(pose.joints) - other)) > _APART * track.height for other in others)
            if apart and track.colours is None and pose.colours is not None:
                track.colours = pose.colours
                self._take_over(track)
            elif apart and track.colours is not None and pose.colours is not None:
                alike = colour_likeness(track.colours, pose.colours) >= LIKE
                track.colours = track.colours + alike * _NEW_COLOURS * (pose.colours - track.colours)
        in_sight = {track.number for track, _ in seen}
        for track in self._tracks:
            if track.number not in in_sight:
                track.joints = track.expected
                track.velocity = track.velocity * _FADING
                track.lost += 1
        gone = sorted((track for track in self._tracks if track.gone), key=lambda track: -track.lost)
        for track in gone[: max(len(gone) - MOST_GONE, 0)]:
            self._tracks.remove(track)

    def _take_over(self, new: _Track) -> None:
        """Give somebody whose colours have just come to be known the number of whoever was lost and wears the same."""
        assert new.colours is not None
        alike = [
            (colour_likeness(track.colours, new.colours), track)
            for track in self._tracks
            if track.lost and track.colours is not None
        ]
        likeness, known = max(alike, key=lambda one: one[0], default=(0.0, new))
        if likeness >= LIKE:
            new.number = known.number
            self._tracks.remove(known)


def _middle(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = (joints.min(axis=0) + joints.max(axis=0)) / 2
    return middle
