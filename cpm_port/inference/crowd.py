"""Who is in the picture? Everybody, with the net that finds their joints and nothing else.

Where in the flow: `whole_picture.py` for several people; a `PersonFinder` (`people.py`) of its own.

How, beyond what `whole_picture.py` does, and with its survey and looks:

1. *First of all* comes the person whom the search for one person finds, at exactly the same place.
2. *First look* at further places: where several people stand together, the largest beliefs in a window are several
   people's, so of all windows that believe enough, the surest are looked at that lie apart, `FURTHER` at most.
3. *Second look* at whoever has other joints than those whom the search for one person looked at twice (object keypoint
   similarity below `SAME_CANDIDATE`).
4. *Doubles go*: of two whose similarity is at least `SAME_PERSON`, the one with the higher belief stays, the first
   person before all others. So does whoever's belief is too low at any step (`sureness.py`).

Limits: at most `MOST` people; nobody smaller than about a sixth of the picture's longer side (the smallest hypothesis
is 0.28 of it, a look moves by at most 1.6); of two people whose joints nearly coincide, one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.people import FoundPerson
from cpm_port.inference.sureness import CANDIDATE, HYPOTHESIS, PERSON
from cpm_port.inference.whole_picture import (
    MULTIPLIERS,
    ONCE,
    Place,
    Survey,
    apart,
    first_look,
    look,
    neighbours,
    search_for,
    second_look,
    survey,
)
from cpm_port.parts import PartOrder

__all__ = ["CrowdFinder", "everybody"]

FURTHER = 18
WINDOW_SHARE, LOOK_SHARE = 0.5, 0.35
"""Of the highest belief of a window, and of a first look: less is left alone, whatever the net's beliefs are like."""
SAME_CANDIDATE = 0.5
SAME_PERSON = 0.4
MOST = 10


class CrowdFinder:
    """Finds everybody in a picture.

    Parameters
    ----------
    net : BeliefNet
    part_order, sigma : optional
        Its parts, and the standard deviation of its center map, box px (`read_interface`).
    least : float
        The belief that everybody but the first must have.
    """

    def __init__(
        self,
        net: BeliefNet,
        *,
        part_order: PartOrder | None = None,
        sigma: float | None = None,
        least: float = PERSON,
    ) -> None:
        self._net, self._interface, self._least = net, read_interface(net, part_order, sigma), least

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        """Return the people of an image, (H, W, 3) uint8, BGR: the one who is meant first, then the surest."""
        first, *others = everybody(self._net, self._interface, image)
        return [first, *(one for one in others if one.score >= self._least)]


def everybody(net: BeliefNet, interface: NetInterface, image: NDArray[np.uint8]) -> list[FoundPerson]:
    """Return whomever a second look saw, also with little belief: the one who is meant first, then the surest.

    Parameters
    ----------
    net : BeliefNet
    interface : NetInterface
    image : ndarray, shape (H, W, 3), uint8, BGR
    """
    seen = survey(net, interface, image)
    looked = first_look(net, interface, seen)
    meant, *others = second_look(net, interface, seen, looked)
    further = _further(seen, [one.place for one in looked])
    looked += look(net, interface, seen.picture, further, ONCE)
    known = apart([meant, *others], SAME_CANDIDATE, interface.part_order)
    least = max(CANDIDATE, LOOK_SHARE * max(one.belief for one in looked))
    likely = sorted((one for one in looked if one.belief >= least), key=lambda one: -one.belief)
    new = apart([*known, *likely], SAME_CANDIDATE, interface.part_order)[len(known) :]
    others += look(net, interface, seen.picture, [one.moved() for one in new], MULTIPLIERS)
    others.sort(key=lambda one: -one.belief)
    first = search_for(interface, seen, meant)
    people = [FoundPerson(first.center_xy, first.base_scale, meant.belief)]
    for one in apart([meant, *others], SAME_PERSON, interface.part_order)[1:MOST]:
        search = seen.in_image(one.place, interface.box_size)
        people.append(FoundPerson(search.center_xy, search.base_scale, one.belief))
    return people


def _further(seen: Survey, before: list[Place]) -> list[Place]:
    """Return the surest windows of a survey that are no neighbours of each other, or of places that were looked at."""
    found: list[tuple[float, Place]] = []
    least = max([HYPOTHESIS, *(WINDOW_SHARE * one.belief for one in seen.hypotheses[:1])])
    for beliefs, first, step, tall in seen.windows:
        values = beliefs.astype(np.float64)
        rows, columns = np.nonzero(values >= least)
        middles = np.clip(first + step * np.stack([columns, rows], axis=1), 0, np.array(seen.picture_size[::-1]) - 1)
        for value, (x, y) in zip(values[rows, columns].tolist(), middles.tolist(), strict=True):
            found.append((value, Place(x, y, tall)))
    found.sort(key=lambda one: -one[0])
    chosen: list[Place] = []
    for _, place in found:
        if len(chosen) < FURTHER and not any(neighbours(place, other) for other in (*chosen, *before)):
            chosen.append(place)
    return chosen
