"""Claim: both tie rules. Oracle: a loop over pixels in the order in which MATLAB stores the map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpm_port.errors import UsageError
from cpm_port.inference.joints import PeakSearch, TieRule, find_peaks


def first_peak(values: np.ndarray, ties: TieRule) -> tuple[float, float]:
    """Return the first maximum of an H x W map in the original's order: column by column, or row by row."""
    height, width = values.shape
    columns_outside = ((y, x) for x in range(width) for y in range(height))
    rows_outside = ((y, x) for y in range(height) for x in range(width))
    best = None
    for y, x in columns_outside if ties == "benchmark" else rows_outside:
        if best is None or values[y, x] > values[best]:
            best = (y, x)
    assert best is not None
    return float(best[1]), float(best[0])


@pytest.mark.parametrize("ties", ["benchmark", "demo"])
@pytest.mark.parametrize("levels", [1, 2, 3, 50])
@pytest.mark.parametrize("band", [1, 2, 5, 11])
def test_the_first_of_equal_peaks_wins_however_the_rows_are_cut(ties: TieRule, levels: int, band: int) -> None:
    maps = np.random.default_rng(levels).integers(0, levels, (11, 7, 9)).astype(np.float32)  # many ties
    expected = [first_peak(maps[..., part], ties) for part in range(9)]
    search = PeakSearch(ties)
    for start in range(0, 11, band):
        search.update(start, torch.from_numpy(maps[start : start + band].transpose(0, 2, 1).copy()))
    joints, peaks = search.result()
    assert joints.tolist() == [list(xy) for xy in expected]
    assert (peaks == maps.max(axis=(0, 1))).all()
    assert (find_peaks(maps, ties)[0] == joints).all()


def test_two_equal_peaks_by_hand() -> None:
    maps = np.zeros((4, 5, 1), np.float32)
    maps[0, 3] = maps[2, 1] = 7.0
    assert find_peaks(maps, "benchmark")[0].tolist() == [[1.0, 2.0]]
    assert find_peaks(maps, "demo")[0].tolist() == [[3.0, 0.0]]


def test_values_below_zero_have_peaks_too() -> None:
    maps = np.full((3, 3, 1), -5.0, np.float32)
    maps[1, 2] = -4.0
    joints, peaks = find_peaks(maps, "benchmark")
    assert joints.tolist() == [[2.0, 1.0]]
    assert peaks.tolist() == [-4.0]


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="tie rule 'octave'"):
        PeakSearch("octave")  # type: ignore[arg-type]
