"""The center map: where in the box the person is whose joints the net shall find.

Conventions: box px, 0-based; row `y`, column `x`. float32.

Source: the reference notes (`release_testing.md`) section 2, after the release's `applyModel.m`:
`exp(-d^2 / (2 sigma^2))` with sigma 21, centred on the 1-based pixel (184, 184) of a 368-pixel box, so on index
`box_size / 2 - 1` here. In testing it is never cut off.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CENTER_SIGMA", "center_map"]

CENTER_SIGMA = 21.0
"""Standard deviation of the center map, box px, in all four released models."""


@lru_cache(maxsize=8)
def center_map(box_size: int, sigma: float = CENTER_SIGMA) -> NDArray[np.float32]:
    """Return the center map of the test pipeline.

    Parameters
    ----------
    box_size : int
        Side of the box, even.
    sigma : float
        Standard deviation, box px.

    Returns
    -------
    ndarray, shape (box_size, box_size), float32, read-only
        1 at the centre.
    """
    offset = np.arange(box_size, dtype=np.float64) - (box_size // 2 - 1)
    squared = offset[:, None] ** 2 + offset[None, :] ** 2
    result = np.exp(-squared / (2.0 * sigma**2)).astype(np.float32)
    result.setflags(write=False)
    return result
