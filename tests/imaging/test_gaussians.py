"""Claim: the center map is the note's formula. Oracle: the formula at single pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpm_port.imaging.gaussians import centered_map
from cpm_port.release import center_sigma


def test_the_center_map_peaks_at_matlabs_pixel_184_184() -> None:
    result = centered_map(368)
    assert result.shape == (368, 368)
    assert result.dtype == np.float32
    assert result[183, 183] == 1.0
    assert np.argmax(result) == 183 * 368 + 183
    for y, x in ((0, 0), (367, 183), (200, 150)):
        squared = (y - 183) ** 2 + (x - 183) ** 2
        assert result[y, x] == pytest.approx(math.exp(-squared / (2 * 21.0**2)), rel=1e-6)


@pytest.mark.parametrize("box_size", [128, 184, 368])
def test_sigma_keeps_its_share_of_the_box(box_size: int) -> None:
    sigma = 21.0 * box_size / 368
    assert center_sigma(box_size) == pytest.approx(sigma, rel=1e-12)
    middle = box_size // 2 - 1
    assert centered_map(box_size)[middle, middle] == 1.0
    assert centered_map(box_size)[middle + 10, middle - 5] == pytest.approx(math.exp(-125 / (2 * sigma**2)), rel=1e-6)
    assert centered_map(box_size, 21.0)[middle, middle + 21] == pytest.approx(math.exp(-0.5), rel=1e-6)


def test_the_shared_map_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        centered_map(16)[0, 0] = 1.0
