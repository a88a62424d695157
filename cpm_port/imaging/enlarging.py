"""Float maps enlarged by a whole factor, as OpenCV's cubic `resize` enlarges them.

Where in the flow: the release's notebook for several people enlarges its nets' maps so before it takes their peaks.

Conventions: maps are (..., h, w), float32. Output sample i lies at `(i + 0.5) / factor - 0.5`; four taps of the cubic
kernel with a = -0.75; taps outside repeat the border. Rows are enlarged first (along the width), then columns, each sum
in float32.

Source: what OpenCV's documentation says of `INTER_CUBIC`; checked on the notebook's peaks (tests/inference). OpenCV's
own order of a sum differs by version, so its last bits may, too. Knowingly different from `imaging/resize.py`, which is
MATLAB's (another kernel, other borders), and from `imaging/warp.py`, which is OpenCV's arithmetic on bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError, UsageError

__all__ = ["enlarge"]

_A = -0.75


def enlarge(maps: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Enlarge maps by a whole factor.

    Parameters
    ----------
    maps : ndarray, shape (..., h, w), float
    factor : int
        At least 1.

    Returns
    -------
    ndarray, shape (..., factor * h, factor * w), float32

    Raises
    ------
    ShapeError
        Fewer than two dimensions, or no values.
    UsageError
        The factor is below 1.
    """
    if maps.ndim < 2 or maps.size == 0:
        raise ShapeError(f"maps are {maps.shape}, expected (..., h, w), not empty")
    if factor < 1:
        raise UsageError(f"factor is {factor}, expected a whole number from 1")
    wide = _along_last(np.asarray(maps, np.float32), factor)
    return np.ascontiguousarray(np.swapaxes(_along_last(np.swapaxes(wide, -1, -2), factor), -1, -2))


def _along_last(maps: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    index, weight = _taps(maps.shape[-1], factor)
    total: NDArray[np.float32] = maps[..., index[:, 0]] * weight[:, 0]
    for tap in range(1, 4):
        total += maps[..., index[:, tap]] * weight[:, tap]
    return total


@lru_cache(maxsize=16)
def _taps(length: int, factor: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which samples make up each output sample, (n, 4), and how much of each, (n, 4)."""
    position = ((np.arange(length * factor) + 0.5) / factor - 0.5).astype(np.float32)
    first = np.floor(position)
    x = position - first
    one, a = np.float32(1), np.float32(_A)
    weight = np.empty((len(x), 4), np.float32)
    weight[:, 0] = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    weight[:, 1] = ((a + 2) * x - (a + 3)) * x * x + one
    weight[:, 2] = ((a + 2) * (one - x) - (a + 3)) * (one - x) * (one - x) + one
    weight[:, 3] = one - weight[:, 0] - weight[:, 1] - weight[:, 2]
    index = np.clip(first.astype(np.int64)[:, None] + np.arange(-1, 3), 0, length - 1)
    index.setflags(write=False)
    weight.setflags(write=False)
    return index, weight
