"""Claim: of several people each is told once, and the first is who the search for one person finds.

Oracles: `find_person`; cases worked by hand; a net whose joints are known (tests/inference/nets.py).
"""

from __future__ import annotations

import numpy as np

from cpm_port.drawn.source import DrawnCrowds
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.whole_picture import Place, Seen, apart, find_person
from cpm_port.parts import CPM14
from tests.inference.nets import colour_net

PLACE = Place(0.0, 0.0, 100.0)


def pose(shift: float) -> np.ndarray:
    return np.stack([np.linspace(0, 40, 14) + shift, np.linspace(0, 100, 14)], axis=1)


def test_of_doubles_the_one_before_stays() -> None:
    poses = [Seen(PLACE, pose(shift), belief) for shift, belief in ((0, 0.9), (2, 0.8), (60, 0.7))]
    assert apart(poses, 0.4, CPM14) == [poses[0], poses[2]]
    assert apart([], 0.4, CPM14) == []


def test_the_first_is_who_the_search_for_one_person_finds() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:44, 30:54, 1] = 250
    image[60:84, 70:94, 2] = 250
    net = colour_net()
    people = CrowdFinder(net).find(image)
    meant = find_person(net, image)
    assert (people[0].center_xy, people[0].base_scale) == (meant.center_xy, meant.base_scale)


def test_drawn_crowds_are_the_same_each_time_and_hold_the_numbers_asked_for() -> None:
    crowds = DrawnCrowds(8, size=96, seed=3)
    people, image = crowds[5]
    again, same = crowds[5]
    np.testing.assert_array_equal(image, same)
    assert [person.center for person in people] == [person.center for person in again]
    counts = {len(crowds[i][0]) for i in range(len(crowds))}
    assert counts <= {1, 2, 3, 4, 5}
    assert len(counts) > 1
