"""Claim: a drawn film's people walk, cross and hide each other, and their joints are known. Oracle: the film itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpm_port.drawn.walkers import DrawnWalkers
from cpm_port.errors import UsageError
from cpm_port.parts import CPM14

FILM = DrawnWalkers(count=80, rate=3.0, size=(160, 90), seed=4)


@pytest.fixture(scope="module")
def people() -> list[list]:
    return [FILM[index][0] for index in range(len(FILM))]


def test_a_frame_is_a_function_of_seed_and_index(people: list[list]) -> None:
    again, picture = replace(FILM, count=40)[31]
    np.testing.assert_array_equal(picture, FILM[31][1])
    assert picture.shape == (90, 160, 3)
    for one, other in zip(again, people[31], strict=True):
        np.testing.assert_array_equal(one.joints, other.joints)
    with pytest.raises(IndexError):
        FILM[80]


def test_everybody_stays_in_the_picture_at_their_own_size_and_on_the_ground(people: list[list]) -> None:
    joints = np.array([[person.joints for person in frame] for frame in people])
    assert (joints >= 0).all()
    assert (joints < (160, 90)).all()
    tall = np.ptp(joints[..., 1], axis=2)
    assert (tall.max(axis=0) < 1.3 * tall.min(axis=0)).all()
    lowest = joints[..., 1].max(axis=2)
    assert (np.ptp(lowest, axis=0) < 0.1 * tall.max(axis=0)).all()


def test_they_pass_each_other_and_the_nearer_one_hides_the_farther(people: list[list]) -> None:
    x = np.array([[person.center[0] for person in frame] for frame in people])
    hidden = np.array([[1 - person.visible.mean() for person in frame] for frame in people])
    for near, far in ((0, 1), (0, 2), (1, 2)):
        side = np.sign(x[:, near] - x[:, far])
        assert (side[1:] * side[:-1] < 0).sum() >= 3
    assert hidden[:, 1:].max() > 0.8
    alone = (np.abs(x[:, :1] - x[:, 1:]) > 40).all(axis=1)
    assert hidden[alone, 0].max() < 0.5  # some of somebody seen from the side lies behind themselves


def test_they_look_where_they_go_and_move_their_legs(people: list[list]) -> None:
    joints = np.array([[person.joints for person in frame] for frame in people])
    ankles = joints[:, :, CPM14.index("right_ankle"), 0] - joints[:, :, CPM14.index("left_ankle"), 0]
    assert (ankles.max(axis=0) > 5).all()
    assert (ankles.min(axis=0) < -5).all()


@pytest.mark.parametrize("fields", [{"count": 0}, {"rate": 0.0}, {"people": 6}, {"size": (16, 90)}, {"seed": -1}])
def test_a_film_that_cannot_be_is_refused(fields: dict) -> None:
    with pytest.raises(UsageError, match="count from 1, rate above 0, 1 to 5 people, size 32 to 2048, seed from 0"):
        replace(FILM, **fields)
