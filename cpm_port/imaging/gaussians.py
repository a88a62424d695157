"""The center map: it tells the net which person in the box to find.

Conventions: box px, 0-based; row `y`, column `x`. float32.

Source: the reference notes (`release_testing.md`) section 2, after the release's `applyModel.m`:
`exp(-d^2 / (2 sigma^2))` with sigma 21, centred on the 1-based pixel (184, 184) of a 368-pixel box, so on index
`box_size / 2 - 1` here. In testing it is never cut off.

For a net with another box, sigma keeps its share of the box (`release.center_sigma`), as in the generated train nets
(`models/prototxt.py`). For a net that was trained with another sigma, give it (`read_interface(net, sigma=...)`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cpm_port.release import center_sigma

__all__ = ["centered_map"]


@lru_cache(maxsize=8)
def centered_map(box_size: int, sigma: float | None = None, pixel: int | None = None) -> NDArray[np.float32]:
    """Return the center map of a box that is centered on the person, as in testing.

    (Training moves the person about in the box: `training/labels.py`, `center_map_at`.)

    Parameters
    ----------
    box_size : int
        Side of the box, even.
    sigma : float, optional
        Standard deviation, box px; by default `release.center_sigma(box_size)`.
    pixel : int, optional
        Row and column of the person's center; by default `box_size / 2 - 1`, as MATLAB's code has it. The release's
        notebook for several people has `box_size / 2`.

    Returns
    -------
    ndarray, shape (box_size, box_size), float32, read-only
        1 at the centre.
    """
    sigma = center_sigma(box_size) if sigma is None else sigma
    offset = np.arange(box_size, dtype=np.float64) - (box_size // 2 - 1 if pixel is None else pixel)
    squared = offset[:, None] ** 2 + offset[None, :] ** 2
    result = np.exp(-squared / (2.0 * sigma**2)).astype(np.float32)
    result.setflags(write=False)
    return result
