"""Claim: the center map is the note's formula. Oracle: the formula at single pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpm_port.imaging.gaussians import center_map


def test_the_center_map_peaks_at_matlabs_pixel_184_184() -> None:
    result = center_map(368)
    assert result.shape == (368, 368)
    assert result.dtype == np.float32
    assert result[183, 183] == 1.0
    assert np.argmax(result) == 183 * 368 + 183
    for y, x in ((0, 0), (367, 183), (200, 150)):
        squared = (y - 183) ** 2 + (x - 183) ** 2
        assert result[y, x] == pytest.approx(math.exp(-squared / (2 * 21.0**2)), rel=1e-6)


def test_the_shared_map_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        center_map(16)[0, 0] = 1.0
