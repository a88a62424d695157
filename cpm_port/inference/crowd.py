"""Who is in the picture? Everybody, with the net that finds their joints and nothing else.

Where in the flow: `whole_picture.py` for several people; a `PersonFinder` (`people.py`) of its own.

How, beyond what `whole_picture.py` does:

1. *First of all* comes the person whom the search for one person finds, at exactly the same place.
2. *Candidates* are the hypotheses whose mean peak is at least `CANDIDATE`, best first, less those whose joints are
   another candidate's (object keypoint similarity from `SAME_CANDIDATE`); at most `CANDIDATES` of them.
3. *Second look*, as for one person: twice, at three scales, moved to the joints found in between.
4. *Doubles go*: of two whose similarity is at least `SAME_PERSON`, the one with the higher mean peak stays, the first
   person before all others. So does whoever's mean peak stays below `BELIEF`.

Limits: at most `MOST` people; nobody smaller than about a sixth of the picture's longer side (the smallest hypothesis
is a quarter of it, a look moves by at most 1.6); of two people whose joints nearly coincide, one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.oks import joints_area, keypoint_similarity
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.people import FoundPerson
from cpm_port.inference.whole_picture import MULTIPLIERS, Place, Survey, look, moved_to, settle, survey
from cpm_port.parts import PartOrder
from cpm_port.release import MPII_PERSON_HEIGHT, target_dist

__all__ = ["CrowdFinder", "Seen", "apart", "second_looks"]

CANDIDATES = 12
CANDIDATE = 0.25
SAME_CANDIDATE = 0.5
SAME_PERSON = 0.4
BELIEF = 0.42
MOST = 10
LOOKS = 2


class Seen(NamedTuple):
    """A pose that was seen: where it was looked for, its joints (P, 2), picture px, and its mean peak."""

    place: Place
    joints: NDArray[np.float64]
    belief: float


class CrowdFinder:
    """Finds everybody in a picture.

    Parameters
    ----------
    net : BeliefNet
    part_order, sigma : optional
        Its parts, and the standard deviation of its center map, box px (`read_interface`).
    """

    def __init__(self, net: BeliefNet, *, part_order: PartOrder | None = None, sigma: float | None = None) -> None:
        self._net, self._interface = net, read_interface(net, part_order, sigma)

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        """Return the people of an image, (H, W, 3) uint8, BGR: the one who is meant first, then the surest."""
        net, interface = self._net, self._interface
        seen = survey(net, interface, image)
        first = settle(net, interface, seen)
        x, y = ((c + 0.5) * seen.shrink - 0.5 for c in first.center_xy)
        height = MPII_PERSON_HEIGHT * target_dist(interface.box_size) / first.base_scale * seen.shrink
        own = Place(x, y, height)
        joints, beliefs = look(net, interface, seen.picture, [own], MULTIPLIERS)
        meant = Seen(own, joints[0], float(beliefs[0]))
        others = [one for one in second_looks(net, interface, seen) if one.belief >= BELIEF]
        kept = apart([meant, *sorted(others, key=lambda one: -one.belief)], SAME_PERSON, interface.part_order)[:MOST]
        people = [FoundPerson(first.center_xy, first.base_scale, meant.belief)]
        for one in kept[1:]:
            search = seen.in_image(one.place, interface.box_size)
            people.append(FoundPerson(search.center_xy, search.base_scale, one.belief))
        return people


def second_looks(net: BeliefNet, interface: NetInterface, seen: Survey) -> list[Seen]:
    """Look again, twice, at what a survey saw best; in the candidates' order."""
    hypotheses = [Seen(*one) for one in zip(seen.grid, seen.joints, seen.beliefs.tolist(), strict=True)]
    hypotheses = sorted((one for one in hypotheses if one.belief >= CANDIDATE), key=lambda one: -one.belief)
    candidates = apart(hypotheses, SAME_CANDIDATE, interface.part_order)[:CANDIDATES]
    for _ in range(LOOKS):
        if candidates:
            places = [moved_to(one.joints, one.place) for one in candidates]
            joints, beliefs = look(net, interface, seen.picture, places, MULTIPLIERS)
            candidates = [Seen(*one) for one in zip(places, joints, beliefs.tolist(), strict=True)]
    return candidates


def apart(poses: list[Seen], same: float, order: PartOrder) -> list[Seen]:
    """Return the poses less those who are as similar as `same`, or more, to one that stays before them."""
    kept: list[Seen] = []
    for pose in poses:
        if all(_similarity(one.joints, pose.joints, order) < same for one in kept):
            kept.append(pose)
    return kept


def _similarity(one: NDArray[np.float64], other: NDArray[np.float64], order: PartOrder) -> float:
    """Return two poses' similarity, in units of the larger one."""
    return keypoint_similarity(one, other, max(joints_area(one), joints_area(other)), order)
