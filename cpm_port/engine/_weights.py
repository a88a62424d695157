"""The way back's loops: weights to spectra, spectra to weights' gradients, a ReLU's and a max-pooling's gradient.

Weights change with every step of a training, so they are transformed as fast as maps are: the lanes of a vector are 16
channels on one side of the weights (the product's columns), and two channels of the other side (its depth, on the way
back its rows) are transformed as one complex tile, as in `_kernels.py`.

Layouts, float32, C-contiguous, with L the panel (`_products.panel_of`) and f as in `_kernels.py`:

- weights: (O, C, K, K), as Caffe has them
- their spectra, conjugate and over T^2: `f * stride + part * plane + (column / L * depth + d) * L + column % L`
- spectra of a gradient, multiplied by i: `f * stride + (row * 2 + part) * columns + column`

Kernels work on a range given by the caller, release the GIL, and share nothing but their output's disjoint parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import broadcast, copy, load, store, where_equal, where_greater, where_positive, zeros
from cpm_port.engine._kernels import scratch_floats
from cpm_port.engine._lines import transform

__all__ = [
    "KernelBlock",
    "gradient_of",
    "pooled",
    "rectified_gradient",
    "spectra_of",
    "unpooled_gradient",
    "weight_scratch_floats",
]


class KernelBlock(NamedTuple):
    """A block of weights as a matrix of kernels, (depth, columns), and the tiles that they are transformed in.

    Kernel (d, column) begins `d * depth_step + (first + column) * column_step` floats behind the first weight; it is
    turned by half a circle where `turned`. Columns from `columns` on are zeros.
    """

    kernel: int
    depth: int
    columns: int
    first: int
    depth_step: int
    column_step: int
    turned: int
    size: int
    radix_1: int
    radix_2: int


_named_tuple: Any = types.NamedUniTuple
_WEIGHTS = _named_tuple(types.int64, len(KernelBlock._fields), KernelBlock)
_READ = types.Array(types.float32, 1, "C", readonly=True)
_WRITE = types.Array(types.float32, 1, "C")
_I = types.int64


def weight_scratch_floats(size: int) -> int:
    """Return how many floats of scratch memory one worker needs for weights and maps in tiles of `size`."""
    return scratch_floats(size) + size * 32


@kernel(types.void(_READ, _WEIGHTS, _WRITE, _I, _I, _I, _READ, _READ, _READ, _WRITE, _I, _I), nogil=True)
def spectra_of(
    weights: Any,
    block: KernelBlock,
    spectra: Any,
    stride: int,
    plane: int,
    panel: int,
    factor: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    start: int,
    stop: int,
) -> None:
    """Write spectra, times the one number in `factor`, of groups `start` to `stop`: 16 columns times two of the depth.

    Groups are counted along the depth first.
    """
    size, half, taps = block.size, block.size // 2 + 1, block.kernel
    grid_row, zero = (size + 1) * 32, zeros()
    w, out, grid = weights.ctypes.data, spectra.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    here = grid + 4 * size * grid_row
    there = here + 4 * size * 32
    work = there + 4 * size * 32
    pairs = (block.depth + 1) // 2
    scale = broadcast(factor.ctypes.data, 0)
    for y in range(taps, size):
        for n in range(2 * size):
            store(grid, y * grid_row + n * 16, zero)
    for group in range(start, stop):
        d, lanes = group % pairs * 2, group // pairs * 16
        both = d + 1 < block.depth
        for y in range(taps):
            line = grid + 4 * y * grid_row
            for n in range(2 * size):
                store(line, n * 16, zero)
            for part in range(2 if both else 1):
                for lane in range(min(16, block.columns - lanes)):
                    source = (d + part) * block.depth_step + (block.first + lanes + lane) * block.column_step
                    if block.turned:
                        source += (taps - 1 - y) * taps + taps - 1
                        for x in range(taps):
                            copy(line, x * 32 + part * 16 + lane, w, source - x)
                    else:
                        source += y * taps
                        for x in range(taps):
                            copy(line, x * 32 + part * 16 + lane, w, source + x)
            transform(line, 32, line, 32, work, block.radix_1, block.radix_2, tw, cs)
        at = lanes // panel * block.depth * panel + d * panel + lanes % panel
        for kx in range(half):
            mirrored = (size - kx) % size
            transform(grid + 4 * kx * 32, grid_row, here, 32, work, block.radix_1, block.radix_2, tw, cs)
            other = here
            if mirrored != kx:
                other = there
                transform(grid + 4 * mirrored * 32, grid_row, there, 32, work, block.radix_1, block.radix_2, tw, cs)
            for ky in range(size):
                opposite = (size - ky) % size
                real, imaginary = load(here, ky * 32), load(here, ky * 32 + 16)
                real_2, imaginary_2 = load(other, opposite * 32), load(other, opposite * 32 + 16)
                to = (ky * half + kx) * stride + at
                store(out, to, (real + real_2) * scale)
                store(out, to + plane, (imaginary_2 - imaginary) * scale)
                if both:
                    store(out, to + panel, (imaginary + imaginary_2) * scale)
                    store(out, to + plane + panel, (real - real_2) * scale)


@kernel(types.void(_READ, _I, _I, _WEIGHTS, _WRITE, _READ, _READ, _READ, _WRITE, _I, _I), nogil=True)
def gradient_of(
    spectra: Any,
    stride: int,
    columns: int,
    block: KernelBlock,
    weights: Any,
    factor: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    start: int,
    stop: int,
) -> None:
    """Add gradients, times the one number in `factor`, to the weights of groups `start` to `stop` (see `spectra_of`).

    The spectra hold i D for a gradient D. The way back exchanges real and imaginary parts, as in `_kernels.inverse`.
    """
    size, half, taps = block.size, block.size // 2 + 1, block.kernel
    grid_row, zero = (size + 1) * 32, zeros()
    x, grid = spectra.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    values = (line - grid) // 4
    pairs = (block.depth + 1) // 2
    scale = factor[0]
    for group in range(start, stop):
        d, lanes = group % pairs * 2, group // pairs * 16
        both = d + 1 < block.depth
        row = 2 * d * columns + lanes
        for kx in range(size):
            for ky in range(size):
                if kx < half:
                    at = (ky * half + kx) * stride + row
                    real, imaginary = load(x, at + columns), zero - load(x, at)
                    real_2, imaginary_2 = zero, zero
                    if both:
                        real_2, imaginary_2 = load(x, at + 3 * columns), zero - load(x, at + 2 * columns)
                else:
                    at = ((size - ky) % size * half + size - kx) * stride + row
                    real, imaginary = load(x, at + columns), load(x, at)
                    real_2, imaginary_2 = zero, zero
                    if both:
                        real_2, imaginary_2 = load(x, at + 3 * columns), load(x, at + 2 * columns)
                store(line, ky * 32, imaginary + real_2)
                store(line, ky * 32 + 16, real - imaginary_2)
            transform(line, 32, grid + 4 * kx * 32, grid_row, work, block.radix_1, block.radix_2, tw, cs)
        for y in range(taps):
            transform(grid + 4 * y * grid_row, 32, line, 32, work, block.radix_1, block.radix_2, tw, cs)
            for part in range(2 if both else 1):
                for lane in range(min(16, block.columns - lanes)):
                    to = (d + part) * block.depth_step + (block.first + lanes + lane) * block.column_step
                    source = values + (1 - part) * 16 + lane
                    if block.turned:
                        to += (taps - 1 - y) * taps + taps - 1
                        for n in range(taps):
                            weights[to - n] += scale * scratch[source + n * 32]
                    else:
                        to += y * taps
                        for n in range(taps):
                            weights[to + n] += scale * scratch[source + n * 32]


@kernel(types.void(_READ, _READ, _WRITE, _WRITE, _I, _I, _I, _I), nogil=True)
def rectified_gradient(
    gradient: Any, results: Any, out: Any, sums: Any, width: int, channels: int, start: int, stop: int
) -> None:
    """Keep a gradient where the ReLU's results are positive; add up each channel of rows `start` to `stop` of pixels.

    `sums` is (rows, channels). Without results (none of them: an empty array) nothing is written but the sums.
    """
    g, y, kept, total = gradient.ctypes.data, results.ctypes.data, out.ctypes.data, sums.ctypes.data
    for row in range(start, stop):
        for c in range(0, channels, 16):
            added = zeros()
            for at in range(row * width * channels + c, (row + 1) * width * channels, channels):
                value = load(g, at)
                if len(results):
                    value = where_positive(load(y, at), value)
                    store(kept, at, value)
                added = added + value
            store(total, row * channels + c, added)


class Windows(NamedTuple):
    """A max-pooling of maps (N, height, width, channels) to (N, rows, columns, channels), without padding."""

    height: int
    width: int
    rows: int
    columns: int
    channels: int
    kernel: int
    stride: int
    rectified: int


_WINDOWS = _named_tuple(types.int64, len(Windows._fields), Windows)


@kernel(types.void(_READ, _WINDOWS, _READ, _WRITE, _WRITE, _I, _I), nogil=True)
def pooled(maps: Any, windows: Windows, numbers: Any, results: Any, places: Any, start: int, stop: int) -> None:
    """Write the maxima of rows `start` to `stop` of windows, and at which place of its window each one was found.

    Places are counted row by row, and the first of several maxima counts; `numbers` is -1, 0, 1, ... Where maps were
    `rectified` and nothing in a window is positive, its place is -1: no gradient goes through.
    """
    x, number, y, place = maps.ctypes.data, numbers.ctypes.data, results.ctypes.data, places.ctypes.data
    channels, nowhere, zero = windows.channels, broadcast(number, 0), zeros()
    for row in range(start, stop):
        image, top = row // windows.rows, row % windows.rows * windows.stride
        for column in range(windows.columns):
            left = column * windows.stride
            for c in range(0, channels, 16):
                corner = ((image * windows.height + top) * windows.width + left) * channels + c
                best, found = load(x, corner), zero
                for dy in range(min(windows.kernel, windows.height - top)):
                    for dx in range(min(windows.kernel, windows.width - left)):
                        value = load(x, corner + (dy * windows.width + dx) * channels)
                        found = where_greater(value, best, broadcast(number, 1 + dy * windows.kernel + dx), found)
                        best = where_greater(value, best, value, best)
                if windows.rectified:
                    found = where_greater(best, zero, found, nowhere)
                to = (row * windows.columns + column) * channels + c
                store(y, to, best)
                store(place, to, found)


@kernel(types.void(_READ, _READ, _WINDOWS, _READ, _WRITE, _WRITE, _I, _I), nogil=True)
def unpooled_gradient(
    gradient: Any, places: Any, windows: Windows, numbers: Any, out: Any, sums: Any, start: int, stop: int
) -> None:
    """Hand a gradient to the places of the maxima: write rows `start` to `stop`, and each one's sums by channel."""
    g, place, number = gradient.ctypes.data, places.ctypes.data, numbers.ctypes.data
    to, total = out.ctypes.data, sums.ctypes.data
    channels, kernel, stride = windows.channels, windows.kernel, windows.stride
    for row in range(start, stop):
        image, y = row // windows.height, row % windows.height
        first_row, last_row = max(0, (y - kernel + stride) // stride), min(windows.rows - 1, y // stride)
        for c in range(0, channels, 16):
            added = zeros()
            for x in range(windows.width):
                first, last = max(0, (x - kernel + stride) // stride), min(windows.columns - 1, x // stride)
                value = zeros()
                for window_row in range(first_row, last_row + 1):
                    for window in range(first, last + 1):
                        at = ((image * windows.rows + window_row) * windows.columns + window) * channels + c
                        here = broadcast(number, 1 + (y - window_row * stride) * kernel + x - window * stride)
                        value = value + where_equal(load(place, at), here, load(g, at))
                store(to, (row * windows.width + x) * channels + c, value)
                added = added + value
            store(total, row * channels + c, added)
