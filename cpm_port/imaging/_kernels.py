"""Compiled twins of the imaging functions: the resampling of `resize.py` and the product of `inference/beliefs.py`.

Of the resampling, only the one of bytes is compiled here, for a picture needs no other; `_real_kernels.py` compiles the
same function for maps.

Every kernel is pure: checked arguments in, results written to the last argument, no exceptions. They run on one thread
and release the GIL, so the levels of a pyramid run side by side on Python threads and a forked process is safe. Sums
are taken in the order of the taps, in float64, without `fastmath`: the last bit decides how a pixel rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, int64, types, uint8, void
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel

__all__ = ["LANES", "band_product", "resample", "resample_signature"]

LANES = 16  # output rows that the second pass handles side by side, so that it runs along memory too

_INDEX = types.Array(int64, 2, "C", readonly=True)
_WEIGHT = types.Array(float64, 2, "C", readonly=True)


def resample_signature(pixel: Any) -> Any:
    """Return the signature of `resample` for one type of pixels."""
    image = types.Array(pixel, 3, "C", readonly=True)
    return void(image, _INDEX, _WEIGHT, _INDEX, _WEIGHT, boolean, pixel[:, :, ::1])


@kernel(resample_signature(uint8), nogil=True)
def resample(
    image: NDArray[np.generic],
    row_index: NDArray[np.int64],
    row_weight: NDArray[np.float64],
    column_index: NDArray[np.int64],
    column_weight: NDArray[np.float64],
    rounds: bool,
    out: NDArray[np.generic],
) -> None:
    """Resample rows, then columns; each pass ends in the image's own type, as MATLAB's passes do.

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
    row_index, row_weight : ndarray, shape (R, T)
        Which rows of `image` make up each of the R output rows, and how much of each.
    column_index, column_weight : ndarray, shape (K, S)
        The same for the output's K columns.
    rounds : bool
        Round half up and clip to 0..255 after each pass (bytes), instead of only casting.
    out : ndarray, shape (R, K, C)
    """
    rows, columns, channels = out.shape
    if rows == 0 or columns == 0:
        return
    first, last = column_index.min(), column_index.max()
    width = (last - first + 1) * channels
    pixels = image.reshape(image.shape[0], image.shape[1] * channels)
    sums = np.empty(width, np.float64)
    tile = np.empty((width, LANES), image.dtype)  # the rows pass of LANES rows, transposed
    tile[:] = 0
    lane_sums = np.empty(LANES, np.float64)
    for block in range(0, rows, LANES):
        lanes = min(LANES, rows - block)
        for lane in range(lanes):
            sums[:] = 0.0
            for tap in range(row_index.shape[1]):
                weight = row_weight[block + lane, tap]
                line = pixels[row_index[block + lane, tap], first * channels : first * channels + width]
                for j in range(width):
                    sums[j] += weight * line[j]
            if rounds:
                for j in range(width):
                    sums[j] = min(max(np.floor(sums[j] + 0.5), 0.0), 255.0)
            for j in range(width):
                tile[j, lane] = sums[j]
        for column in range(columns):
            for channel in range(channels):
                lane_sums[:] = 0.0
                for tap in range(column_index.shape[1]):
                    weight = column_weight[column, tap]
                    j = (column_index[column, tap] - first) * channels + channel
                    for lane in range(LANES):
                        lane_sums[lane] += weight * tile[j, lane]
                if rounds:
                    for lane in range(LANES):
                        lane_sums[lane] = min(max(np.floor(lane_sums[lane] + 0.5), 0.0), 255.0)
                for lane in range(lanes):
                    out[block + lane, column, channel] = lane_sums[lane]


@kernel(void(_INDEX, _WEIGHT, types.Array(float64, 2, "C", readonly=True), float64[:, ::1]), nogil=True)
def band_product(
    index: NDArray[np.int64],
    weight: NDArray[np.float64],
    matrix: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Multiply a resampling, given by its taps, with a matrix.

    Parameters
    ----------
    index, weight : ndarray, shape (N, T)
        Taps into the rows of `matrix`.
    matrix : ndarray, shape (L, K)
    out : ndarray, shape (N, K)
    """
    out[:] = 0.0
    for row in range(index.shape[0]):
        for tap in range(index.shape[1]):
            value = weight[row, tap]
            source = index[row, tap]
            for column in range(matrix.shape[1]):
                out[row, column] += value * matrix[source, column]
