"""Part orders and conventions: the release's permutations, conversions there and back, what cannot be known.

Oracles: the index lists of the release (notes, release_testing.md section 4; the transformer's T), typed in.
"""

from __future__ import annotations

import numpy as np
import pytest

from cpm_port.errors import DataError, ShapeError
from cpm_port.parts import (
    COCO17,
    CPM14,
    FLIC9,
    LSP14,
    MPII16,
    ORDERS,
    Convention,
    Joints,
    PartOrder,
    reorder,
    side_of,
    to_observer_centric,
)


def _drawn(order, count: int = 6) -> np.ndarray:
    return np.random.default_rng(len(order)).normal(100, 40, (count, len(order), 2))


def test_the_releases_permutations() -> None:
    pred = _drawn(CPM14)
    lsp = np.empty_like(pred)
    lsp[:, np.array([14, 13, 9, 8, 7, 10, 11, 12, 3, 2, 1, 4, 5, 6]) - 1] = pred
    assert np.array_equal(reorder(pred, CPM14, LSP14), lsp)
    mpii = np.full((len(pred), 16, 2), np.nan)
    ids = np.array([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15])
    out = np.empty_like(pred)
    out[:, np.array([8, 7, 11, 10, 9, 12, 13, 14, 3, 2, 1, 4, 5, 6]) - 1] = pred
    mpii[:, ids] = out
    assert np.array_equal(reorder(pred, CPM14, MPII16), mpii, equal_nan=True)
    transformer = [9, 8, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5]
    joints = _drawn(MPII16)
    assert np.array_equal(reorder(joints, MPII16, CPM14), joints[:, transformer])


@pytest.mark.parametrize("order", ORDERS.values(), ids=lambda order: order.name)
def test_orders_are_consistent(order) -> None:
    assert len(set(order.parts)) == len(order)
    assert all(a in order.parts and b in order.parts for a, b in order.limbs)
    mirrored = order.mirrored()
    assert [mirrored[i] for i in mirrored] == list(range(len(order)))
    with pytest.raises(KeyError, match="tail"):
        order.index("tail")


@pytest.mark.parametrize(
    ("parts", "pairs", "mirrored"),
    [
        (("left_ear", "right_ear", "nose"), (), (1, 0, 2)),
        (("EarLeft", "nose", "EarRight"), (), (2, 1, 0)),
        (("L_Ear", "R_Ear", "ear_l", "ear_r", "earL", "earR"), (), (1, 0, 3, 2, 5, 4)),
        (("left front hoof", "left back hoof", "right front hoof"), (), (2, 1, 0)),
        (("upright", "upleft"), (), (1, 0)),
        (("pillar", "rear", "left_leg"), (), (0, 1, 2)),
        (("a", "b", "left_ear", "right_ear"), (("a", "b"),), (1, 0, 3, 2)),
        (("a", "left_ear", "right_ear"), (("a", "left_ear"),), (1, 0, 2)),
    ],
)
def test_counterparts_are_told_by_their_names_or_by_pairs(
    parts: tuple[str, ...], pairs: tuple[tuple[str, str], ...], mirrored: tuple[int, ...]
) -> None:
    assert PartOrder("own", parts, (), pairs=pairs).mirrored() == mirrored


@pytest.mark.parametrize(
    ("part", "side"), [("left_ear", "left"), ("EarR", "right"), ("R_Ear", "right"), ("pillar", None), ("nose", None)]
)
def test_a_name_tells_its_side(part: str, side: str | None) -> None:
    assert side_of(part) == side


def test_a_convention_there_and_back_is_the_identity() -> None:
    joints = Joints(_drawn(LSP14), Convention(LSP14, 1))
    there = joints.to(Convention(MPII16, 0))
    assert there.xy[0, MPII16.index("neck")].tolist() == (joints.xy[0, LSP14.index("neck")] - 1).tolist()
    assert np.isnan(there.xy[:, MPII16.index("pelvis")]).all()
    assert np.allclose(there.to(joints.convention).xy, joints.xy, atol=1e-12)
    assert joints.to(joints.convention) is joints


def test_observer_centric_lsp_exchanges_arms_and_legs_by_themselves() -> None:
    person = _drawn(LSP14, 1)
    right, left = LSP14.index("right_shoulder"), LSP14.index("left_shoulder")
    hips = LSP14.index("right_hip"), LSP14.index("left_hip")
    person[0, right, 0], person[0, left, 0] = 200, 100  # seen from behind
    person[0, hips[0], 0], person[0, hips[1], 0] = 100, 200  # hips as from the front
    seen = to_observer_centric(person, LSP14)
    wrists = LSP14.index("right_wrist"), LSP14.index("left_wrist")
    assert np.array_equal(seen[0, wrists[0]], person[0, wrists[1]])
    knee = LSP14.index("right_knee")
    assert np.array_equal(seen[0, knee], person[0, knee])
    assert np.array_equal(to_observer_centric(seen, LSP14), seen)


def test_observer_centric_flic_is_the_releases_exchange() -> None:
    people = _drawn(FLIC9, 40)
    expected = people.copy()
    behind = people[:, 3, 0] > people[:, 0, 0]  # the 4th joint to the right of the 1st
    expected[behind, :8] = people[behind][:, np.array([4, 5, 6, 1, 2, 3, 8, 7]) - 1]
    assert behind.any()
    assert np.array_equal(to_observer_centric(people, FLIC9), expected)


def test_an_order_without_hips_or_with_unlabelled_joints_is_converted_too() -> None:
    people = _drawn(COCO17, 3)
    people[1] = np.nan
    assert np.isnan(to_observer_centric(people, COCO17)[1]).all()


def test_observer_centric_joints_do_not_become_person_centric() -> None:
    with pytest.raises(DataError, match="do not say who was seen from behind"):
        Joints(_drawn(LSP14), Convention(LSP14, 0, "observer")).to(Convention(LSP14))


def test_a_shape_that_the_order_does_not_have_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(6, 9, 2\), expected \(N, 14, 2\), order 'lsp14'"):
        Joints(_drawn(FLIC9), Convention(LSP14))
