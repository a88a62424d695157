"""Claim: the compiled search finds the peaks of the summed maps. Oracles: the search by bands, and hand-worked maps;
the sums in float64, in the release's order of steps.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging.boxing import BoxGeometry, box_geometry
from cpm_port.inference.beliefs import _image_maps_reference
from cpm_port.inference.joints import TieRule, find_peaks
from cpm_port.inference.peaks import _by_bands, image_peaks

TOLERANCE = 2e-6  # of the largest sum: the order in which float32 is added up

WHOLE = box_geometry((96, 96), (47.0, 47.0), 1.0, 96)
"""A box that is the image, with cells as large as pixels: the map on the image is the belief map."""

SIZES = [(360, 640), (50, 31), (33, 64), (1, 1), (7, 200)]


def geometries(size: tuple[int, int], scales: tuple[float, ...] = (0.5, 0.8, 1.3)) -> list[BoxGeometry]:
    return [box_geometry(size, (size[1] / 2, size[0] / 3), scale, 96) for scale in scales]


def beliefs(levels: int, parts: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(levels, parts, 12, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ties", ["benchmark", "demo"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parts", [1, 14, 33])
def test_equals_the_search_by_bands(size: tuple[int, int], parts: int, ties: TieRule) -> None:
    maps, places = beliefs(3, parts), geometries(size)
    joints, peaks = image_peaks(maps, places, ties)
    expected_joints, expected_peaks = _by_bands(maps, places, ties)()
    assert joints.shape == (parts, 2)
    assert np.abs(peaks - expected_peaks).max() <= TOLERANCE * np.abs(expected_peaks).max()
    assert np.array_equal(joints, expected_joints)


@pytest.mark.parametrize("ties", ["benchmark", "demo"])
@pytest.mark.parametrize("size", SIZES)
def test_a_gpus_float32_finds_the_joints_that_float64_finds(size: tuple[int, int], ties: TieRule) -> None:
    maps, places = beliefs(7, 15), geometries(size, tuple(np.linspace(0.5, 1.3, 7)))
    expected, _ = find_peaks(_image_maps_reference(maps.numpy(), places)[..., :-1], ties)
    joints, _ = _by_bands(maps[:, :-1], places, ties)()
    assert np.array_equal(joints, expected)


def test_threads_change_nothing() -> None:
    maps, places = beliefs(3, 14), geometries((90, 160))
    expected = image_peaks(maps, places, "benchmark")
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for found, wanted in zip(image_peaks(maps, places, "benchmark"), expected, strict=True):
                assert np.array_equal(found, wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("ties", "expected"), [("benchmark", [2.0, 70.0]), ("demo", [75.0, 3.0])])
def test_the_first_of_equal_peaks_wins(ties: TieRule, expected: list[float]) -> None:
    maps = torch.zeros(1, 1, 96, 96)
    maps[0, 0, 3, 75] = maps[0, 0, 70, 2] = maps[0, 0, 71, 2] = maps[0, 0, 3, 76] = 5.0
    joints, peaks = image_peaks(maps, [WHOLE], ties)
    assert joints.tolist() == [expected]
    assert peaks.tolist() == [5.0]


def test_values_below_zero_have_peaks_too() -> None:
    maps = torch.full((1, 2, 96, 96), -3.0)
    maps[0, 1, 40, 50] = -2.0
    joints, peaks = image_peaks(maps, [WHOLE], "benchmark")
    assert peaks.tolist() == [-3.0, -2.0]
    assert joints.tolist() == [[0.0, 0.0], [50.0, 40.0]]


def test_wrong_arguments_are_named() -> None:
    maps, places = beliefs(3, 2), geometries((40, 50))
    with pytest.raises(UsageError, match="tie rule 'octave'"):
        image_peaks(maps, places, "octave")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="expected"):
        image_peaks(maps, places[:2], "demo")
    with pytest.raises(ShapeError, match="one image"):
        image_peaks(maps, [*places[:2], *geometries((41, 50))[:1]], "demo")
