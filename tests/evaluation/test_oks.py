"""Claim: object keypoint similarity is COCO's formula. Oracle: cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpm_port.errors import ShapeError
from cpm_port.evaluation.oks import joints_area, keypoint_similarity
from cpm_port.parts import COCO17, CPM14


def test_a_part_that_is_off_counts_by_its_own_sigma_and_the_persons_area() -> None:
    one = np.zeros((17, 2))
    other = one.copy()
    other[COCO17.index("left_hip")] = (3.0, 4.0)
    expected = (16 + math.exp(-25 / (2 * 100.0 * (2 * 0.107) ** 2))) / 17
    assert keypoint_similarity(one, other, 100.0, COCO17) == pytest.approx(expected)


def test_parts_that_one_pose_lacks_do_not_count() -> None:
    one, other = np.zeros((14, 2)), np.full((14, 2), np.nan)
    assert keypoint_similarity(one, other, 100.0, CPM14) == 0.0
    other[3] = 0.0
    assert keypoint_similarity(one, other, 100.0, CPM14) == 1.0
    assert keypoint_similarity(one, other, 0.0, CPM14) == 0.0


def test_an_upright_line_of_joints_has_an_area() -> None:
    line = np.stack([np.zeros(14), np.linspace(0, 100, 14)], axis=1)
    assert joints_area(line) == pytest.approx(0.53 * 30 * 100)
    assert joints_area(np.full((14, 2), np.nan)) == 0.0


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(14, 2\)"):
        keypoint_similarity(np.zeros((9, 2)), np.zeros((9, 2)), 1.0, CPM14)
