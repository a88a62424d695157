"""Compiled twins of `warp.py`: OpenCV 4's fixed-point cubic resize and affine warp on bytes, window by window.

Kernels are pure: checked arguments in, results written to the last argument, no exceptions; they run on one thread and
release the GIL. All sums are of integers, except the four products of the resize's vertical pass, whose order is
OpenCV's.

Two devices make them quick:

- `resize_window` packs the three channels of a pixel into one 64-bit integer, 21 bits each, so that one multiplication
  serves all three (horizontal sums need 20 bits and a sign);
- `warp_window` takes its 16 products as one vector (`_dot4x4`), written in LLVM's portable vector operations because
  Numba's own code for it stays scalar. Without the compiler (`NUMBA_DISABLE_JIT=1`) a plain sum stands in.
"""
# Numba gives its own types to the names in a kernel, and llvmlite has none:
# mypy: disallow-untyped-decorators=False, disable-error-code="arg-type,assignment,call-arg,import-untyped"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, float64, int16, int32, int64, njit, types, uint8, void
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel

__all__ = [
    "COORDINATE_BITS",
    "FRACTION_BITS",
    "RESIZE_BITS",
    "WEIGHT_BITS",
    "resize_taps",
    "resize_window",
    "warp_window",
]

COORDINATE_BITS = 10  # fixed-point bits of a warp's coordinates before they are cut to
FRACTION_BITS = 5  # 1/32 px, and
WEIGHT_BITS = 15  # of its two-dimensional weights
RESIZE_BITS = 11  # of a resize's one-dimensional weights
_LANE = 21
_LANE_MASK = (1 << _LANE) - 1
_LANE_BIAS = 1 << 17  # more than the largest negative sum, 255 * 2048 * 0.19
_BIASES = _LANE_BIAS | _LANE_BIAS << _LANE | _LANE_BIAS << 2 * _LANE


@kernel(void(float64, int64, int64[::1], int64[:, ::1]), nogil=True)
def resize_taps(step: float, start: int, first: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
    """Find the four taps of output pixels from `start` on, one input pixel being `1 / step` output pixels.

    Parameters
    ----------
    first : ndarray, shape (N,)
        Written: the source pixel of the first tap.
    weights : ndarray, shape (4, N)
        Written: the cubic weights (a = -0.75, float32 throughout) times 2048, rounded.
    """
    a, one = np.float32(-0.75), np.float32(1)
    unit = np.float32(1 << RESIZE_BITS)
    for i in range(first.size):
        position = np.float32((start + i + 0.5) * step - 0.5)
        whole = np.floor(position)
        near = position - whole
        far, rest = near + one, one - near
        outer = ((a * far - np.float32(5) * a) * far + np.float32(8) * a) * far - np.float32(4) * a
        inner = ((a + np.float32(2)) * near - (a + np.float32(3))) * near * near + one
        next_inner = ((a + np.float32(2)) * rest - (a + np.float32(3))) * rest * rest + one
        first[i] = np.int64(whole) - 1
        weights[0, i] = np.int64(np.rint(outer * unit))
        weights[1, i] = np.int64(np.rint(inner * unit))
        weights[2, i] = np.int64(np.rint(next_inner * unit))
        weights[3, i] = np.int64(np.rint((one - outer - inner - next_inner) * unit))


@kernel(
    void(
        types.Array(uint8, 3, "C", readonly=True),
        types.Array(int64, 1, "C", readonly=True),
        types.Array(int64, 2, "C", readonly=True),
        types.Array(int64, 1, "C", readonly=True),
        types.Array(int64, 2, "C", readonly=True),
        types.Array(int64, 1, "C", readonly=True),
        uint8[:, :, ::1],
    ),
    nogil=True,
)
def resize_window(
    planes: NDArray[np.uint8],
    first_column: NDArray[np.int64],
    column_weights: NDArray[np.int64],
    first_row: NDArray[np.int64],
    row_weights: NDArray[np.int64],
    vector_end: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Resize, for a window of the output: horizontal sums of four taps, then vertical ones, rounded once at the end.

    Parameters
    ----------
    planes : ndarray, shape (3, H, W)
        Taps outside repeat the border.
    first_column : ndarray, shape (w,)
        Source column of the first of the four taps of each output column; may lie outside.
    column_weights : ndarray, shape (4, w)
        Weights times 2048.
    first_row, row_weights : ndarray, shape (h,), (4, h)
        The same along y.
    vector_end : ndarray, shape (3,)
        Per channel the first column of the window whose vertical sum is taken in integers instead of floats.
    out : ndarray, shape (3, h, w)
    """
    height, width = planes.shape[1:]
    columns, rows = first_column.size, first_row.size
    if columns == 0 or rows == 0:
        return
    unit = np.float32(0.5 ** (2 * RESIZE_BITS))
    low, last = first_column[0], first_column[columns - 1] + 3
    first, stop = max(low, 0), min(last + 1, width)
    taps = (first_column - low).astype(np.uint64)
    packed = np.empty(last + 1 - low, np.int64)
    sums = np.empty(columns, np.int64)
    ring = np.empty((4, 3, columns), np.float32)  # horizontal sums of the last four source rows, by row modulo 4
    held = np.full(4, -1, np.int64)
    slot = np.empty(4, np.int64)
    for y in range(rows):
        for tap in range(4):
            row = min(max(first_row[y] + tap, 0), height - 1)
            at = row & 3
            slot[tap] = at
            if held[at] == row:
                continue
            held[at] = row
            blue = planes[0, row, first:stop]
            green = planes[1, row, first:stop]
            red = planes[2, row, first:stop]
            inner = packed[first - low : stop - low]
            for x in range(inner.size):
                inner[x] = np.int64(blue[x]) | np.int64(green[x]) << _LANE | np.int64(red[x]) << 2 * _LANE
            packed[: first - low] = inner[0]
            packed[stop - low :] = inner[inner.size - 1]
            for x in range(columns):
                i = taps[x]
                sums[x] = (
                    packed[i] * column_weights[0, x]
                    + packed[i + np.uint64(1)] * column_weights[1, x]
                    + packed[i + np.uint64(2)] * column_weights[2, x]
                    + packed[i + np.uint64(3)] * column_weights[3, x]
                    + _BIASES
                )
            for x in range(columns):
                ring[at, 0, x] = np.float32(np.int32((sums[x] & _LANE_MASK) - _LANE_BIAS))
                ring[at, 1, x] = np.float32(np.int32((sums[x] >> _LANE & _LANE_MASK) - _LANE_BIAS))
                ring[at, 2, x] = np.float32(np.int32((sums[x] >> 2 * _LANE & _LANE_MASK) - _LANE_BIAS))
        w0, w1, w2, w3 = row_weights[0, y], row_weights[1, y], row_weights[2, y], row_weights[3, y]
        f0, f1, f2, f3 = np.float32(w0) * unit, np.float32(w1) * unit, np.float32(w2) * unit, np.float32(w3) * unit
        for c in range(3):
            r0, r1, r2, r3 = ring[slot[0], c], ring[slot[1], c], ring[slot[2], c], ring[slot[3], c]
            for x in range(vector_end[c]):
                value = np.rint(r0[x] * f0 + (r1[x] * f1 + (r2[x] * f2 + r3[x] * f3)))
                out[c, y, x] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))
            for x in range(vector_end[c], columns):
                total = np.int64(r0[x]) * w0 + np.int64(r1[x]) * w1 + np.int64(r2[x]) * w2 + np.int64(r3[x]) * w3
                out[c, y, x] = np.uint8(min(max((total + (1 << 2 * RESIZE_BITS - 1)) >> 2 * RESIZE_BITS, 0), 255))


def _dot4x4_plain(
    pixels: NDArray[np.uint8], start: int, stride: int, weights: NDArray[np.int16], first_weight: int
) -> Any:
    """Sum 4 x 4 products: pixels of four rows `stride` apart, 16 weights in a row (the plain twin of `_dot4x4`)."""
    at = start + np.arange(4)[:, None] * stride + np.arange(4)
    return (pixels[at].astype(np.int64) * weights[first_weight : first_weight + 16].reshape(4, 4)).sum()


@intrinsic
def _dot4x4_vector(
    typing_context: Any, pixels: Any, start: Any, stride: Any, weights: Any, first_weight: Any
) -> tuple[Any, Any]:
    """Sum 4 x 4 products as one vector of 16; arguments as `_dot4x4_plain`, flat arrays, nothing checked."""
    signature = int32(pixels, int64, int64, weights, int64)
    wide = ir.VectorType(ir.IntType(32), 16)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixel_array = context.make_array(signature.args[0])(context, builder, arguments[0])
        weight_array = context.make_array(signature.args[3])(context, builder, arguments[3])
        rows = []
        position = arguments[1]
        for _ in range(4):
            address = builder.gep(pixel_array.data, [position])
            row = builder.load(builder.bitcast(address, ir.VectorType(ir.IntType(8), 4).as_pointer()))
            row.align = 1
            rows.append(row)
            position = builder.add(position, arguments[2])
        patch = _join(builder, _join(builder, rows[0], rows[1], 8), _join(builder, rows[2], rows[3], 8), 16)
        address = builder.gep(weight_array.data, [arguments[4]])
        factors = builder.load(builder.bitcast(address, ir.VectorType(ir.IntType(16), 16).as_pointer()))
        factors.align = 2
        products = builder.mul(builder.zext(patch, wide), builder.sext(factors, wide))
        reduce = ir.FunctionType(ir.IntType(32), [wide])
        add = cgutils.get_or_insert_function(builder.module, reduce, "llvm.vector.reduce.add.v16i32")  # type: ignore[no-untyped-call]
        return builder.call(add, [products])

    return signature, generate


def _join(builder: Any, left: Any, right: Any, lanes: int) -> Any:
    """Put two vectors one after the other."""
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes)))
    return builder.shuffle_vector(left, right, order)


_dot4x4 = _dot4x4_plain if getattr(config, "DISABLE_JIT", False) else _dot4x4_vector


@njit(error_model="numpy", nogil=True)
def _edge_pixel(
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    corner: tuple[int, int],
    origin: int,
    stride: int,
    plane: int,
    weights: NDArray[np.int16],
    table: int,
    border: int,
    line: NDArray[np.uint8],
    x: int,
) -> None:
    """Weigh 4 x 4 taps of which some lie outside the source of `size` (width, height); the first tap is `corner`."""
    (width, height), (left, top) = size, corner
    for c in range(3):
        total = (border << WEIGHT_BITS) + (1 << WEIGHT_BITS - 1)
        for i in range(max(0, -top), min(4, height - top)):
            start = origin + (top + i) * stride + left + c * plane
            for j in range(max(0, -left), min(4, width - left)):
                total += (np.int64(pixels[start + j]) - border) * np.int64(weights[table + 4 * i + j])
        line[c, x] = np.uint8(min(max(total >> WEIGHT_BITS, 0), 255))


@kernel(
    void(
        types.Array(uint8, 1, "C", readonly=True),
        int64[::1],
        types.Array(int16, 1, "C", readonly=True),
        types.Array(int32, 2, "C", readonly=True),
        types.Array(int32, 2, "C", readonly=True),
        int64,
        int64,
        int64,
        uint8[:, :, ::1],
    ),
    nogil=True,
)
def warp_window(
    pixels: NDArray[np.uint8],
    held: NDArray[np.int64],
    weights: NDArray[np.int16],
    column_steps: NDArray[np.int32],
    row_starts: NDArray[np.int32],
    border: int,
    out_x: int,
    out_y: int,
    out: NDArray[np.uint8],
) -> None:
    """Warp, for a window of the output: 4 x 4 taps about each source position, a constant border outside the source.

    Parameters
    ----------
    pixels : ndarray, shape (3 * h * w,)
        Planes of the part of the source that is held: every tap inside the source must be in it.
    held : ndarray, shape (6,)
        Width and height of the whole source; x, y, width and height of the part.
    weights : ndarray, shape (1024 * 16,)
        Weights times 2**15, for each of 32 x 32 fractions (y, x), for 4 x 4 taps.
    column_steps : ndarray, shape (2, W)
        What each output column adds to the source's x and y, in 1/1024 px.
    row_starts : ndarray, shape (2, H)
        The source's x and y where each output row starts, in 1/1024 px, half a unit of 1/32 added.
    border : int
        Value outside the source, 0 to 255.
    out_x, out_y : int
        Where in `out` the window's first pixel goes.
    out : ndarray, shape (3, >= out_y + H, >= out_x + W)
    """
    width, height, part_x, part_y, part_width, part_height = held
    plane = part_width * part_height
    origin = -(part_y * part_width + part_x)  # where pixel (0, 0) of the whole source would lie
    shift = COORDINATE_BITS - FRACTION_BITS
    mask = (1 << FRACTION_BITS) - 1
    half = 1 << WEIGHT_BITS - 1
    columns = column_steps.shape[1]
    for y in range(row_starts.shape[1]):
        line = out[:, out_y + y, out_x : out_x + columns]
        for x in range(columns):
            position_x = np.int32(row_starts[0, y] + column_steps[0, x]) >> shift
            position_y = np.int32(row_starts[1, y] + column_steps[1, x]) >> shift
            left = (position_x >> FRACTION_BITS) - 1
            top = (position_y >> FRACTION_BITS) - 1
            table = ((position_y & mask) << FRACTION_BITS | position_x & mask) * 16
            if left >= 0 and top >= 0 and left < width - 3 and top < height - 3:
                start = origin + top * part_width + left
                for c in range(3):
                    total = np.int32(_dot4x4(pixels, start + c * plane, part_width, weights, table) + half)
                    line[c, x] = np.uint8(min(max(total >> WEIGHT_BITS, 0), 255))
            elif left >= width or top >= height or left <= -4 or top <= -4:
                for c in range(3):
                    line[c, x] = np.uint8(border)
            else:
                _edge_pixel(
                    pixels, (width, height), (left, top), origin, part_width, plane, weights, table, border, line, x
                )
