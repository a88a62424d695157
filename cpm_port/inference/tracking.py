"""Who is who from frame to frame: people keep a number while they are in sight, and get it back when they return.

Where in the flow: around `predict_together` in a video (`following.py`). A tracker holds no frames, and at most
`MOST_TRACKS` people: memory does not grow with the video's length.

The rule, ours:

1. *Where they will be.* Each person is looked for where they were, moved on by their velocity (a running mean), in a
   box as large as their joints' was: a look from there, at the caller's scales (one, as a rule).
2. *Who else.* In the first frame, in every `SEARCH_EVERY`-th one, and where nobody is in sight, a finder looks at the
   whole picture.
3. *Who is it?* People claim what was seen, the surest of them first: sure is a high mean score, and joints like the
   ones before (object keypoint similarity). A pose that is `SAME` as one already claimed, or whose mean score is below
   `KEEP`, is nobody's: that person is lost for this frame. So two who cross do not both become the one in front.
4. *Back again.* Whoever is lost is looked for on for `LOST` frames, ever slower: their velocity fades. Somebody whom
   the finder sees and nobody claims is the nearest lost person of about their height within reach, else somebody new.

Conventions: joints are 0-based image px; scores are from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.oks import joints_area, keypoint_similarity
from cpm_port.inference.sureness import KEEP, PERSON
from cpm_port.parts import PartOrder

__all__ = ["Pose", "Tracker"]

SEARCH_EVERY = 25
LOST = 50
SAME = 0.5
MOST_TRACKS = 20
_NEW_VELOCITY = 0.3
_FADING = 0.8
_REACH = 0.6  # of a height, and as much more for every second of a lost person
_SAME_HEIGHT = 1.5


@dataclass(frozen=True, eq=False)
class Pose:
    """A pose in a frame: joints (P, 2), image px, and its mean score, 0 to 1; `index` says which of the caller's."""

    joints: NDArray[np.float64]
    score: float
    index: int


@dataclass(eq=False)
class _Track:
    """A person: number, joints as last seen, velocity in px a frame, frames since then."""

    number: int
    joints: NDArray[np.float64]
    velocity: NDArray[np.float64]
    lost: int = 0

    @property
    def height(self) -> float:
        return max(float(np.ptp(self.joints, axis=0).max()), 1.0)

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
        return self._frame % SEARCH_EVERY == 0 or not any(track.lost == 0 for track in self._tracks)

    def expected(self) -> list[NDArray[np.float64]]:
        """Return the joints, (P, 2), that people will have in the next frame: where to look for each of them."""
        return [track.expected for track in self._tracks]

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
        claims = sorted(zip(self._tracks, looked, strict=True), key=self._sureness, reverse=True)
        seen: list[tuple[_Track, Pose]] = []
        for track, pose in claims:
            least = KEEP if track.lost == 0 else PERSON
            if pose.score >= least and not self._claimed(pose, seen) and self._is_near(track, pose):
                seen.append((track, pose))
        for pose in sorted(found, key=lambda pose: -pose.score):
            if pose.score < PERSON or self._claimed(pose, seen):
                continue
            known = self._returning(pose, [track for track, _ in seen]) or self._new(pose)
            if known is not None:
                seen.append((known, pose))
        self._move_on(seen)
        self._frame += 1
        return sorted(((track.number, pose) for track, pose in seen), key=lambda one: one[0])

    def _sureness(self, claim: tuple[_Track, Pose]) -> float:
        track, pose = claim
        return pose.score + self._similarity(track.expected, pose.joints) - min(track.lost, LOST) / LOST

    def _claimed(self, pose: Pose, seen: Sequence[tuple[_Track, Pose]]) -> bool:
        return any(self._similarity(other.joints, pose.joints) >= SAME for _, other in seen)

    def _similarity(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        return keypoint_similarity(one, other, max(joints_area(one), joints_area(other)), self._order)

    def _is_near(self, track: _Track, pose: Pose) -> bool:
        away = _middle(pose.joints) - _middle(track.expected)
        return float(np.hypot(*away)) <= _REACH * track.height * (1 + track.lost / SEARCH_EVERY)

    def _returning(self, pose: Pose, taken: Sequence[_Track]) -> _Track | None:
        """Return the nearest person out of sight who may be this one."""
        height = max(float(np.ptp(pose.joints, axis=0).max()), 1.0)
        near = [
            track
            for track in self._tracks
            if track not in taken
            and abs(math.log(track.height / height)) <= math.log(_SAME_HEIGHT)
            and self._is_near(track, pose)
        ]
        return min(near, key=lambda t: float(np.hypot(*(_middle(pose.joints) - _middle(t.expected)))), default=None)

    def _new(self, pose: Pose) -> _Track | None:
        if len(self._tracks) >= MOST_TRACKS:
            return None
        track = _Track(self._next, pose.joints, np.zeros(2))
        self._next += 1
        self._tracks.append(track)
        return track

    def _move_on(self, seen: Sequence[tuple[_Track, Pose]]) -> None:
        for track, pose in seen:
            surprise = (_middle(pose.joints) - _middle(track.expected)) / (track.lost + 1)
            track.velocity = track.velocity + _NEW_VELOCITY * surprise
            track.joints, track.lost = pose.joints, 0
        in_sight = {track.number for track, _ in seen}
        for track in self._tracks:
            if track.number not in in_sight:
                track.joints = track.expected
                track.velocity = track.velocity * (_FADING if track.lost > 10 else 1.0)
                track.lost += 1
        self._tracks = [track for track in self._tracks if track.lost <= LOST]


def _middle(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = (joints.min(axis=0) + joints.max(axis=0)) / 2
    return middle
