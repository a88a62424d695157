"""OpenCV 4's cubic resize and affine warp of bytes, to the bit, whichever OpenCV is installed.

IMAGE -> TRAINING CROP. The authors' data layer resizes every training image and turns it with `cv::resize` and
`cv::warpAffine`, both `INTER_CUBIC`. What `cv2` computes for these calls depends on its version (5 has other code: up
to five grey levels apart) and on a process-wide switch (IPP); the functions here are OpenCV 4's own C++ arithmetic,
always.

Conventions: images are planes, `(3, H, W)` uint8, whatever the channels mean. Coordinates are `(x, y)` with pixel
centers at whole numbers. A `Window` asks for a part of an output; its pixels equal the same pixels of the whole output,
and only they are computed.

The arithmetic, in words:

- resize: output pixel x looks at `(x + 0.5) / scale - 0.5` (float32); four taps with a = -0.75, rounded to 1/2048; taps
  outside repeat the border. Horizontal sums are integers. The vertical sum is taken in float32 (`t0 + (t1 + (t2 +
  t3))`, rounded half to even) for the elements of an output row of interleaved channels that fill whole groups of
  eight, and in integers (half up) for the last `3 W mod 8` elements: OpenCV's vector loop, and the loop that finishes
  the row. Equal sizes mean a copy, whatever the scale;
- warp: the matrix is inverted in float64; source positions are sums of two numbers in 1/1024 px, one per row and one
  per column, cut to 1/32 px; 4 x 4 integer weights come from a table of 32 x 32 fractions, each corrected to sum to
  2**15; half rounds up.

*Source*: opencv/opencv@4.6.0 `modules/imgproc/src/resize.cpp` and `imgwarp.cpp`, built for x86 without FMA in its
baseline, as the wheels on PyPI are. Equal to `cv2` 4.8, 4.10, 4.12 and 4.14 with `cv2.ipp.setUseIPP(False)`.

Differs knowingly: on machines whose OpenCV fuses multiplication and addition (ARM), `cv2`'s resize may differ in the
last bit; these functions stay the same.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging._warp_kernels import (
    COORDINATE_BITS,
    FRACTION_BITS,
    WEIGHT_BITS,
    resize_taps,
    resize_window,
    warp_window,
)

__all__ = ["Window", "resize_and_warp", "resize_cubic", "resized_size", "warp_affine_cubic"]

MAX_SIDE = 32767 - 3  # OpenCV keeps a warp's source positions in 16 bits


class Window(NamedTuple):
    """A rectangle of pixels: first column and row, number of columns and rows. It may reach outside the image."""

    x: int
    y: int
    width: int
    height: int


def resized_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return the width and height that OpenCV gives an image resized by `scale`: rounded, halves to even.

    Raises
    ------
    UsageError
        The scale is not a positive number, or leaves no pixel, or more than OpenCV's warp can address.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"scale {scale}: expected a positive number")
    size = round(width * scale), round(height * scale)
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise UsageError(
            f"an image of {width} x {height} scaled by {scale:g} is {size[0]} x {size[1]}; expected 1 to {MAX_SIDE} px"
        )
    return size


def resize_cubic(planes: NDArray[np.uint8], scale: float, window: Window | None = None) -> NDArray[np.uint8]:
    """Resize both axes by one factor, as `cv2.resize(image, None, fx=scale, fy=scale, interpolation=INTER_CUBIC)`.

    Parameters
    ----------
    planes : ndarray, shape (3, H, W), uint8
        Any strides.
    scale : float
        Output size over input size; the size is rounded (`resized_size`), the sampling uses `scale` itself.
    window : Window, optional
        The part of the output to compute, inside it; None means all.

    Returns
    -------
    ndarray, shape (3, h, w), uint8

    Raises
    ------
    ShapeError
        Not three planes of bytes, or an empty image.
    UsageError
        A scale that `resized_size` refuses, or a window that is not inside the output.
    """
    _require_planes(planes)
    height, width = planes.shape[1:]
    size = resized_size(width, height, scale)
    window = Window(0, 0, *size) if window is None else window
    if min(window.x, window.y) < 0 or window.x + window.width > size[0] or window.y + window.height > size[1]:
        raise UsageError(f"{window} is not inside the resized image of {size[0]} x {size[1]}")
    if size == (width, height):
        return np.ascontiguousarray(planes[:, window.y : window.y + window.height, window.x : window.x + window.width])
    first_column, column_weights = _resize_taps(window.x, window.width, scale)
    first_row, row_weights = _resize_taps(window.y, window.height, scale)
    whole_groups = size[0] * 3 // 8 * 8
    ends = [min(max((whole_groups - c + 2) // 3 - window.x, 0), window.width) for c in range(3)]
    out = np.empty((3, max(window.height, 0), max(window.width, 0)), np.uint8)
    resize_window(
        np.ascontiguousarray(planes),
        first_column,
        column_weights,
        first_row,
        row_weights,
        np.array(ends, np.int64),
        out,
    )
    return out


def warp_affine_cubic(
    planes: NDArray[np.uint8], matrix: NDArray[np.float64], window: Window, border: int = 128
) -> NDArray[np.uint8]:
    """Warp, as `cv2.warpAffine(image, matrix, size, flags=INTER_CUBIC, borderMode=BORDER_CONSTANT)` does.

    Parameters
    ----------
    planes : ndarray, shape (3, H, W), uint8
    matrix : ndarray, shape (2, 3), float64
        Source pixel -> output pixel.
    window : Window
        Which output pixels to compute; `Window(0, 0, *size)` gives cv2's output of that size.
    border : int
        Value outside the source.

    Returns
    -------
    ndarray, shape (3, window.height, window.width), uint8

    Raises
    ------
    ShapeError
        Not three planes of bytes, an empty image, or one beyond `MAX_SIDE`.
    UsageError
        A matrix that is not finite, or a border that is no byte.
    """
    _require_planes(planes)
    height, width = planes.shape[1:]
    out = np.empty((3, max(window.height, 0), max(window.width, 0)), np.uint8)
    if out.size:
        steps, starts = _warp_positions(matrix, window)
        _warp_into(planes, (width, height), Window(0, 0, width, height), steps, starts, border, (0, 0), out)
    return out


def resize_and_warp(
    planes: NDArray[np.uint8],
    scale: float,
    matrix: NDArray[np.float64],
    warped_size: tuple[int, int],
    window: Window,
    border: int = 128,
) -> NDArray[np.uint8]:
    """Resize, warp into an image of `warped_size` and cut out a window, computing only what the window needs.

    Equals `warp_affine_cubic(resize_cubic(planes, scale), matrix, Window(0, 0, *warped_size))` cut to `window`, which
    may reach outside the warped image: those pixels are `border`.

    Parameters
    ----------
    planes, scale
        As in `resize_cubic`.
    matrix, border
        As in `warp_affine_cubic`; the matrix takes resized pixels to warped pixels.
    warped_size : (int, int)
        Width and height of the warped image.
    window : Window
        In warped pixels.

    Returns
    -------
    ndarray, shape (3, window.height, window.width), uint8
    """
    _require_planes(planes)
    size = resized_size(planes.shape[2], planes.shape[1], scale)
    left, top = max(window.x, 0), max(window.y, 0)
    right, bottom = min(window.x + window.width, warped_size[0]), min(window.y + window.height, warped_size[1])
    out = np.empty((3, window.height, window.width), np.uint8)
    inside = left < right and top < bottom
    if not inside or (right - left, bottom - top) != (window.width, window.height):
        out.fill(border)
    if inside:
        steps, starts = _warp_positions(matrix, Window(left, top, right - left, bottom - top))
        part = _part_needed(steps, starts, size)
        resized = resize_cubic(planes, scale, part)
        _warp_into(resized, size, part, steps, starts, border, (left - window.x, top - window.y), out)
    return out


def _require_planes(planes: NDArray[np.uint8]) -> None:
    if planes.dtype != np.uint8 or planes.ndim != 3 or planes.shape[0] != 3 or planes.size == 0:
        raise ShapeError(f"expected planes of shape (3, H, W) and type uint8, found {planes.shape} {planes.dtype}")
    if max(planes.shape[1:]) > MAX_SIDE:
        raise ShapeError(f"an image of {planes.shape[2]} x {planes.shape[1]}: expected at most {MAX_SIDE} px a side")


def _cubic_weights(fraction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights of the taps at -1, 0, 1, 2 for positions `fraction` past tap 0, shape (N, 4); a = -0.75."""
    a, one = np.float32(-0.75), np.float32(1)
    near, far, rest = fraction, fraction + one, one - fraction
    outer = ((a * far - np.float32(5) * a) * far + np.float32(8) * a) * far - np.float32(4) * a
    inner = ((a + np.float32(2)) * near - (a + np.float32(3))) * near * near + one
    next_inner = ((a + np.float32(2)) * rest - (a + np.float32(3))) * rest * rest + one
    return np.stack([outer, inner, next_inner, one - outer - inner - next_inner], axis=1)


def _resize_taps(start: int, count: int, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first tap and the four weights (times 2048) of `count` output pixels from `start` on."""
    first, weights = np.empty(count, np.int64), np.empty((4, count), np.int64)
    resize_taps(1.0 / scale, start, first, weights)
    return first, weights


@functools.cache
def _warp_weights() -> NDArray[np.int16]:
    """Return the table of 4 x 4 weights for 32 x 32 fractions, flat, times 2**15; each of them sums to 2**15.

    What rounding leaves goes to one of the four taps from (2, 2) on (right of and below the middle): the largest if the
    sum is short, the smallest if it is over. So the weight 1 at fraction (0, 0), which 16 bits cannot hold, is 32767 at
    the pixel itself and 1 at its lower right neighbour.
    """
    steps = 1 << FRACTION_BITS
    line = _cubic_weights(np.arange(steps, dtype=np.float32) / np.float32(steps))
    exact = line[:, None, :, None] * line[None, :, None, :]
    table = np.clip(np.rint(exact * np.float32(1 << WEIGHT_BITS)), -32768, 32767).astype(np.int64)
    over = table.sum(axis=(2, 3)) - (1 << WEIGHT_BITS)
    lower_right = table[:, :, 2:, 2:].reshape(steps, steps, 4)
    tap = np.where(over < 0, lower_right.argmax(axis=2), lower_right.argmin(axis=2))
    y, x = np.nonzero(over)
    table[y, x, 2 + tap[y, x] // 2, 2 + tap[y, x] % 2] -= over[y, x]
    result: NDArray[np.int16] = table.astype(np.int16).ravel()
    result.flags.writeable = False
    return result


def _warp_positions(matrix: NDArray[np.float64], window: Window) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return a window's source positions in 1/1024 px: what each column adds (2, W), where each row starts (2, H)."""
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise UsageError(f"expected a finite 2 x 3 matrix, found shape {matrix.shape}: {matrix.tolist()}")
    (a, b, tx), (c, d, ty) = (tuple(map(float, row)) for row in matrix)
    determinant = a * d - b * c
    factor = 1.0 / determinant if determinant != 0 else 0.0
    ia, ib, ic, id_ = d * factor, b * -factor, c * -factor, a * factor
    offset_x = -ia * tx - ib * ty
    offset_y = -ic * tx - id_ * ty
    unit = 1 << COORDINATE_BITS
    columns = np.arange(window.x, window.x + window.width, dtype=np.float64)
    rows = np.arange(window.y, window.y + window.height, dtype=np.float64)
    half = unit >> FRACTION_BITS + 1
    steps = np.stack([ia * columns * unit, ic * columns * unit])
    starts = np.stack([(ib * rows + offset_x) * unit, (id_ * rows + offset_y) * unit])
    limit = float(1 << 30)  # far outside every image, and the sum of two still fits 32 bits
    return (
        np.rint(np.clip(steps, -limit, limit)).astype(np.int32),
        np.rint(np.clip(starts, -limit, limit - half)).astype(np.int32) + np.int32(half),
    )


def _part_needed(steps: NDArray[np.int32], starts: NDArray[np.int32], size: tuple[int, int]) -> Window:
    """Return the rectangle of a source of `size` that holds every tap of a window (at least one pixel)."""
    bounds = []
    for axis in range(2):
        low = int(steps[axis].min()) + int(starts[axis].min()) >> COORDINATE_BITS
        high = int(steps[axis].max()) + int(starts[axis].max()) >> COORDINATE_BITS
        first = min(max(low - 1, 0), size[axis] - 1)
        bounds.append((first, min(max(high + 2, first), size[axis] - 1)))
    (x0, x1), (y0, y1) = bounds
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)


def _warp_into(
    part_planes: NDArray[np.uint8],
    size: tuple[int, int],
    part: Window,
    steps: NDArray[np.int32],
    starts: NDArray[np.int32],
    border: int,
    at: tuple[int, int],
    out: NDArray[np.uint8],
) -> None:
    if not 0 <= border <= 255:
        raise UsageError(f"border {border}: expected 0 to 255")
    pixels = np.ascontiguousarray(part_planes).reshape(-1)
    warp_window(pixels, np.array([*size, *part], np.int64), _warp_weights(), steps, starts, border, *at, out)


def _resize_reference(planes: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Do what `resize_cubic` does to a whole image, written for reading."""
    height, width = planes.shape[1:]
    new_width, new_height = resized_size(width, height, scale)
    if (new_width, new_height) == (width, height):
        return planes.copy()
    columns, column_weights = _taps_reference(new_width, scale, width)
    rows, row_weights = _taps_reference(new_height, scale, height)
    across = (planes[:, :, columns].astype(np.int64) * column_weights).sum(axis=3)  # (3, H, new_width)
    four = across[:, rows]  # (3, new_height, 4, new_width)
    t = four.astype(np.float32) * (row_weights.astype(np.float32) * np.float32(0.5**22))[:, :, None]
    by_floats = np.rint(t[:, :, 0] + (t[:, :, 1] + (t[:, :, 2] + t[:, :, 3])))
    by_integers = ((four * row_weights[:, :, None]).sum(axis=2) + (1 << 21)) >> 22
    element = 3 * np.arange(new_width) + np.arange(3)[:, None]  # place in a row of interleaved channels
    in_a_group_of_eight = (element < 3 * new_width // 8 * 8)[:, None]
    result: NDArray[np.uint8] = np.clip(np.where(in_a_group_of_eight, by_floats, by_integers), 0, 255).astype(np.uint8)
    return result


def _taps_reference(count: int, scale: float, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the four input pixels of each of `count` output pixels, border repeated, and their weights times 2048."""
    position = ((np.arange(count) + 0.5) * (1.0 / scale) - 0.5).astype(np.float32)
    whole = np.floor(position)
    taps = np.clip(whole.astype(np.int64)[:, None] + np.arange(-1, 3), 0, size - 1)
    return taps, np.rint(_cubic_weights(position - whole) * np.float32(2048)).astype(np.int64)


def _warp_reference(
    planes: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int], border: int = 128
) -> NDArray[np.uint8]:
    """Do what `warp_affine_cubic` does for a window from (0, 0) on, written for reading."""
    height, width = planes.shape[1:]
    steps, starts = _warp_positions(matrix, Window(0, 0, *size))
    x, y = ((steps[axis][None, :].astype(np.int64) + starts[axis][:, None]) >> 5 for axis in range(2))  # in 1/32 px
    weights = _warp_weights().reshape(32, 32, 4, 4)[y % 32, x % 32].astype(np.int64)
    total = np.full((3, *x.shape), 1 << 14, np.int64)
    for i in range(4):
        for j in range(4):
            row, column = y // 32 - 1 + i, x // 32 - 1 + j
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = planes[:, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            total += np.where(inside, pixel, border) * weights[:, :, i, j]
    result: NDArray[np.uint8] = np.clip(total >> 15, 0, 255).astype(np.uint8)
    return result
