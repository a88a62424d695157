"""Claim: label and center maps are the original's, quirk by quirk.

Oracles: hand-worked cells, the plain twin that visits every cell, and (in `test_augment.py`) the original's own maps.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpm_port.errors import DataError, ShapeError
from cpm_port.training.labels import _labels_reference, center_map_at, labels

TOLERANCE = 1e-6  # float32 of values up to 1, some summed
SIGMA, STRIDE, CROP = 7.0, 8, (96, 80)


def one(x: float, y: float, code: int = 1, parts: int = 1) -> np.ndarray:
    people = np.zeros((1, parts, 3), np.float32)
    people[:, :, 2] = 2
    people[0, 0] = x, y, code
    return people


def drawn(people: np.ndarray, parts: int = 1) -> np.ndarray:
    return labels(people, parts, STRIDE, SIGMA, CROP)


def test_a_cell_stands_in_the_middle_of_its_pixels() -> None:
    maps = drawn(one(3.5 + 8 * 4, 3.5 + 8 * 2))
    assert maps[0, 2, 4] == 1
    assert maps[0, 2, 5] == pytest.approx(math.exp(-64 / 2 / 49), abs=TOLERANCE)
    assert maps.shape == (4, 10, 12)


def test_a_peak_ends_where_its_exponent_exceeds_the_cutoff() -> None:
    reach = SIGMA * math.sqrt(2 * 4.6052)
    inside, outside = drawn(one(3.5 + 32 + reach - 0.01, 3.5)), drawn(one(3.5 + 32 + reach + 0.01, 3.5))
    assert inside[0, 0, 4] == pytest.approx(0.01, abs=1e-4)
    assert outside[0, 0, 4] == 0


@pytest.mark.parametrize(("code", "peak"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_hidden_joints_are_drawn_and_code_2_is_not(code: int, peak: float) -> None:
    maps = drawn(one(3.5 + 16, 3.5 + 16, code))
    assert maps[0].max() == peak
    assert maps[2].max() == peak


def test_peaks_of_several_people_add_up_to_at_most_1() -> None:
    near = np.concatenate([one(35.5, 19.5), one(43.5, 19.5)])
    maps = drawn(near)
    single, other = drawn(near[:1])[0], drawn(near[1:])[0]
    assert maps[2, 2, 4] == 1 < single[2, 4] + other[2, 4]
    far = (single + other) < 1
    np.testing.assert_allclose(maps[2][far], (single + other)[far], atol=TOLERANCE)


def test_the_persons_maps_come_first_and_everybodys_after_the_background() -> None:
    maps = drawn(np.concatenate([one(19.5, 19.5), one(67.5, 51.5)]))
    assert maps[0].argmax() == maps[2][:4].argmax() == 2 * 12 + 2
    assert maps[0, 6, 8] == 0
    assert maps[2, 6, 8] == 1
    np.testing.assert_array_equal(maps[1], 1 - maps[0])
    np.testing.assert_array_equal(maps[3], 1 - maps[2])


def test_the_background_is_one_minus_the_largest_part() -> None:
    people = np.stack([np.array([[19.5, 19.5, 1], [30, 22, 1], [70, 60, 0]], np.float32)])
    maps = drawn(people, 3)
    np.testing.assert_array_equal(maps[3], 1 - maps[:3].max(axis=0))


def test_a_joint_outside_the_crop_adds_what_reaches_inside() -> None:
    maps = drawn(one(-4.5, 3.5))
    assert maps[0, 0, 0] == pytest.approx(math.exp(-64 / 98), abs=TOLERANCE)
    assert drawn(one(-1e30, 1e30))[0].max() == 0


@pytest.mark.parametrize(
    ("stride", "sigma", "crop"), [(8, 7.0, (96, 80)), (4, 5.0, (45, 63)), (1, 2.0, (20, 20)), (3, 9.0, (50, 8))]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_equals_its_readable_twin(stride: int, sigma: float, crop: tuple[int, int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    people = np.concatenate(
        [draw.uniform(-20, max(crop) + 20, (3, 5, 2)), draw.integers(0, 3, (3, 5, 1))], axis=2
    ).astype(np.float32)
    found, expected = labels(people, 4, stride, sigma, crop), _labels_reference(people, 4, stride, sigma, crop)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_center_map_holds_one_peak_at_full_resolution() -> None:
    center = np.array([30.25, 41.5], np.float32)
    found = center_map_at(center, 21.0, (70, 90))
    y, x = np.mgrid[0:90, 0:70]
    exponent = ((x - 30.25) ** 2 + (y - 41.5) ** 2) / 2 / 21 / 21
    np.testing.assert_allclose(found, np.where(exponent <= 4.6052, np.exp(-exponent), 0), atol=TOLERANCE)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(N, 2 or more, 3\)"):
        drawn(one(1, 1), 2)
    with pytest.raises(DataError, match="not finite"):
        drawn(one(math.nan, 1))
    with pytest.raises(DataError, match="not finite"):
        center_map_at(np.array([np.inf, 1], np.float32), 21.0, (8, 8))
