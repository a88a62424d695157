"""MATLAB's `imresize` (bicubic), computing only the wanted part of the output.

Where in the flow: first step of every level of the test pyramid, and, as a matrix, the last two steps of the way back.

Conventions: arrays are `(H, W)` or `(H, W, C)`; uint8 in gives uint8 out, float32 float32, float64 float64. Sample
positions follow MATLAB: output sample `i` (0-based) of a resize by `s` looks at `(i + 0.5) / s - 0.5`; borders mirror
half-sample symmetrically (0..n-1, n-1..0); the output of a resize by a factor has `ceil(factor * n)` samples.

Source: documented behaviour of MATLAB's `imresize`, checked on pairs that MATLAB made (tests/imaging/test_resize.py):
the cubic kernel with a = -0.5; when a dimension shrinks by `s`, the kernel is widened by `1 / s` and lowered by `s`;
weights are normalised per output sample; the dimension with the smaller factor goes first (rows on a tie); the result
of each dimension's pass is rounded (half away from zero) and saturated to the image's own type.

The last bit of the weights matters: where the factor is a simple fraction (41/72), interpolated bytes fall exactly
between two integers, and rounding noise decides. The orders of evaluation below are the ones that give 0 differing
pixels on every level of the golden pyramids.

Knowingly different: a length that exceeds a whole number by rounding noise only (205.00000000000003, up to 2**-50 of
it) counts as that number; the golden `mpi_nadal` has such a level, and which length MATLAB takes there depends on the
last bit of the scale. Only uint8 and the two float types are taken; only the bicubic kernel is offered.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging import _kernels

__all__ = ["FACTOR_LIMIT", "Taps", "imresize", "resized_length", "taps"]

Taps = tuple[NDArray[np.int64], NDArray[np.float64]]

FACTOR_LIMIT = 1000.0
"""Resizing by more than this, or by less than its inverse, is refused: the kernel would be wider than any image."""


def resized_length(length: int, factor: float) -> int:
    """Return MATLAB's output length of a resize by a factor: `ceil(factor * length)`, but for rounding noise."""
    return max(1, math.ceil(factor * length * (1.0 - 2.0**-50)))


def taps(length: int, factor: float, start: int, stop: int, *, antialias: bool = True) -> Taps:
    """Return which input samples make up each of the output samples `start..stop-1`, and how much of each.

    Parameters
    ----------
    length : int
        Number of input samples.
    factor : float
        Output samples per input sample.
    start, stop : int
        The wanted range of output samples (0-based, `stop` excluded).
    antialias : bool
        Widen the kernel when `factor < 1`, as MATLAB does by default.

    Returns
    -------
    index : ndarray, shape (stop - start, T), int64
        Input samples, mirrored at the borders, in increasing unmirrored position.
    weight : ndarray, shape (stop - start, T), float64
        Each row sums to 1. Taps that weigh nothing in every row are left out.

    Raises
    ------
    UsageError
        `factor` is outside `1 / FACTOR_LIMIT .. FACTOR_LIMIT`.
    """
    _check_factor(factor)
    shrink = min(factor, 1.0) if antialias else 1.0
    support = 4.0 / shrink
    # 1-based positions, as MATLAB's own formula has them: the same float64 roundings give the same weights.
    position = np.arange(start + 1, stop + 1, dtype=np.float64) / factor + 0.5 * (1.0 - 1.0 / factor)
    nearest = np.floor(position - support / 2.0)
    sample = nearest[:, None] + np.arange(math.ceil(support) + 2, dtype=np.float64)
    weight = shrink * _cubic(shrink * (position[:, None] - sample))
    weight /= np.cumsum(weight, axis=1)[:, -1:]  # summed tap by tap: np.sum's order would differ in the last bit
    around = np.mod(sample.astype(np.int64) - 1, 2 * length)
    index = np.where(around < length, around, 2 * length - 1 - around)
    used = np.any(weight != 0.0, axis=0)
    return np.ascontiguousarray(index[:, used]), np.ascontiguousarray(weight[:, used])


def imresize(
    image: NDArray[Any],
    size: tuple[int, int] | None = None,
    *,
    factor: float | None = None,
    antialias: bool = True,
    window: tuple[int, int, int, int] | None = None,
) -> NDArray[Any]:
    """Resize an image as MATLAB's `imresize(image, factor)` or `imresize(image, size)` does.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C), uint8, float32 or float64
    size : (int, int), optional
        Output height and width; each dimension's factor is then output over input length.
    factor : float, optional
        One factor for both dimensions; exactly one of `size` and `factor` is given.
    antialias : bool
        As MATLAB's option of that name.
    window : (top, bottom, left, right), optional
        Compute only these output rows `top..bottom-1` and columns `left..right-1`: the same values as cutting them
        out of the whole result.

    Returns
    -------
    ndarray, shape (h, w) or (h, w, C), of the image's type

    Raises
    ------
    ShapeError
        The image is empty, has another number of dimensions or another type; or the window leaves the output.
    UsageError
        Not exactly one of `size` and `factor`, or a factor out of bounds.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise ShapeError(f"imresize: image is {image.shape}, expected (H, W) or (H, W, C), not empty")
    if image.dtype not in (np.uint8, np.float32, np.float64):
        raise ShapeError(f"imresize: image is {image.dtype}, expected uint8, float32 or float64")
    height, width = image.shape[:2]
    if size is not None and factor is None:
        (out_height, out_width), factors = size, (size[0] / height, size[1] / width)
    elif factor is not None and size is None:
        _check_factor(factor)
        out_height, out_width = resized_length(height, factor), resized_length(width, factor)
        factors = (factor, factor)
    else:
        raise UsageError("imresize: give either size or factor")
    top, bottom, left, right = window if window is not None else (0, out_height, 0, out_width)
    if not (0 <= top <= bottom <= out_height and 0 <= left <= right <= out_width):
        raise ShapeError(f"imresize: window {(top, bottom, left, right)} leaves the output, {(out_height, out_width)}")

    rows = taps(height, factors[0], top, bottom, antialias=antialias)
    columns = taps(width, factors[1], left, right, antialias=antialias)
    pixels = image if image.ndim == 3 else image[:, :, None]
    if factors[1] < factors[0]:  # the dimension that shrinks more goes first
        result = _resample(np.swapaxes(pixels, 0, 1), columns, rows).swapaxes(0, 1)
    else:
        result = _resample(pixels, rows, columns)
    return np.ascontiguousarray(result if image.ndim == 3 else result[:, :, 0])


def _check_factor(factor: float) -> None:
    if not 1.0 / FACTOR_LIMIT <= factor <= FACTOR_LIMIT:
        raise UsageError(f"resize by {factor}: expected a factor from {1 / FACTOR_LIMIT} to {FACTOR_LIMIT}")


def _resample(pixels: NDArray[Any], rows: Taps, columns: Taps) -> NDArray[Any]:
    """Resample the first dimension, then the second."""
    out = np.empty((len(rows[0]), len(columns[0]), pixels.shape[2]), pixels.dtype)
    if pixels.dtype == np.uint8:
        resample = _kernels.resample
    else:
        from cpm_port.imaging._real_kernels import resample
    resample(np.ascontiguousarray(pixels), *rows, *columns, pixels.dtype == np.uint8, out)
    return out


def _resample_reference(pixels: NDArray[Any], rows: Taps, columns: Taps) -> NDArray[Any]:
    """`_resample`, written for reading."""
    result = pixels
    for axis, (index, weight) in enumerate((rows, columns)):
        moved = np.moveaxis(result, axis, 0)
        resampled = np.zeros((len(index), *moved.shape[1:]))
        for tap in range(index.shape[1]):
            resampled += weight[:, tap, None, None] * moved[index[:, tap]].astype(np.float64)
        if pixels.dtype == np.uint8:
            resampled = np.clip(np.floor(resampled + 0.5), 0, 255)
        result = np.moveaxis(resampled.astype(pixels.dtype), 0, axis)
    return result


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5, zero from |x| = 2 on."""
    distance = np.abs(x)
    square = distance * distance
    cube = square * distance  # not distance**3, whose last bit differs
    near = 1.5 * cube - 2.5 * square + 1.0
    far = -0.5 * cube + 2.5 * square - 4.0 * distance + 2.0
    return np.where(distance <= 1.0, near, np.where(distance <= 2.0, far, 0.0))
