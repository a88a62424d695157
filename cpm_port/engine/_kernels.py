"""The Fourier convolution's three passes over tiles: transform, product, transform back with bias, maximum and ReLU.

Layouts, all float32, with T the tile size, F = T (T/2 + 1) frequencies, f = ky (T/2 + 1) + kx, kx <= T/2:

- maps: (N, H, W, C), C-contiguous, C a multiple of 16
- spectra: `f * stride + (row * 2 + part) * C + c`; a row is a tile, part 0 the real and 1 the imaginary values. The
  stride from one frequency to the next is one cache line more than a frequency needs, or power-of-two sizes would put
  all frequencies into the same few sets of the cache.
- weights: (F, 2, O / L, C, L), L = 16 or 32 output channels side by side.

Two tiles a and b ride as one complex tile a + i b: their convolution with a real kernel is that of a plus i that of b.
With Z its spectrum, row a of frequency f holds Z[f] and row b the conjugate of Z[-f]; both are multiplied by the same
weight, and the way back undoes the step. So no spectrum is ever taken apart, and half the frequencies suffice.

A line of T = r1 r2 complex vectors is transformed as r2 butterflies of r1 and r1 of r2 (Cooley-Tukey), r1 and r2 in
{4, 6, 8}. The inverse is the same code with real and imaginary parts exchanged; its 1 / T^2 is in the weights.

Every kernel works on a range of pairs or frequencies given by the caller, releases the GIL, and shares nothing but its
output's disjoint parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numba import types

from cpm_port.engine._simd import WIDE, broadcast, complex_block, fma, load, maximum, store, zeros

__all__ = ["CONSTANTS", "Target", "Tiles", "forward", "inverse", "product", "scratch_floats"]


class Tiles(NamedTuple):
    """How maps are cut into tiles.

    Tile (row, column) of an image starts at pixel (row * step - pad, column * step - pad); beyond the map there are
    zeros. Tiles are numbered image by image, row by row; tile 2 i and 2 i + 1 are pair i.
    """

    images: int
    height: int
    width: int
    rows: int
    columns: int
    step: int
    pad: int
    size: int
    radix_1: int
    radix_2: int


class Target(NamedTuple):
    """Where the values of a tile go: maxima over windows of `kernel` with `stride`, `per_tile` of them along a side.

    `height` and `width` are the output map's; without pooling kernel and stride are 1.
    """

    height: int
    width: int
    channels: int
    kernel: int
    stride: int
    per_tile: int
    rectify: int


_named_tuple: Any = types.NamedUniTuple
_TILES = _named_tuple(types.int64, len(Tiles._fields), Tiles)
_TARGET = _named_tuple(types.int64, len(Target._fields), Target)
_READ = types.Array(types.float32, 1, "C", readonly=True)
_WRITE = types.Array(types.float32, 1, "C")
_I = types.int64
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_inline: Any = nb.njit(error_model="numpy", forceinline=True)

CONSTANTS = np.array([np.sqrt(0.5), np.sqrt(0.75), 0.5], np.float32)  # of the butterflies
_TALL, _MIDDLE = (6, 4) if WIDE else (2, 2)  # rows of one product block: what the registers hold


def scratch_floats(size: int) -> int:
    """Return how many floats of scratch memory one worker needs for tiles of `size`."""
    return size * (size + 1) * 32 + 2 * size * 32 + 16


@_inline
def _put(out: int, at: int, real: Any, imaginary: Any, twiddles: int, k: int) -> None:
    """Store one complex vector, times twiddle k unless there are none (address 0)."""
    if twiddles == 0 or k == 0:
        store(out, at, real)
        store(out, at + 16, imaginary)
    else:
        c, s = broadcast(twiddles, 2 * k), broadcast(twiddles, 2 * k + 1)
        store(out, at, real * c - imaginary * s)
        store(out, at + 16, fma(real, s, imaginary * c))


@_inline
def _butterfly_4(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int) -> None:
    ar, ai = load(x, i), load(x, i + 16)
    br, bi = load(x, i + step), load(x, i + step + 16)
    cr, ci = load(x, i + 2 * step), load(x, i + 2 * step + 16)
    dr, di = load(x, i + 3 * step), load(x, i + 3 * step + 16)
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    _put(out, o, er + gr, ei + gi, twiddles, 0)
    _put(out, o + out_step, fr + hi, fi - hr, twiddles, 1)
    _put(out, o + 2 * out_step, er - gr, ei - gi, twiddles, 2)
    _put(out, o + 3 * out_step, fr - hi, fi + hr, twiddles, 3)


@_inline
def _three(ar: Any, ai: Any, br: Any, bi: Any, cr: Any, ci: Any, root: Any, half: Any) -> Any:
    """Return the three-point transform."""
    sr, si = br + cr, bi + ci
    dr, di = (br - cr) * root, (bi - ci) * root
    mr, mi = ar - half * sr, ai - half * si
    return ar + sr, ai + si, mr + di, mi - dr, mr - di, mi + dr


@_inline
def _butterfly_6(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int) -> None:
    """Two transforms of three points, then two-point ones: n = 3 n1 + 2 n2 and k = 3 k1 + 4 k2 (mod 6), no twiddles."""
    root, half = broadcast(constants, 1), broadcast(constants, 2)
    x0, x1, x2, x3, x4, x5 = i, i + step, i + 2 * step, i + 3 * step, i + 4 * step, i + 5 * step
    ar, ai, br, bi, cr, ci = _three(
        load(x, x0), load(x, x0 + 16), load(x, x2), load(x, x2 + 16), load(x, x4), load(x, x4 + 16), root, half
    )
    dr, di, er, ei, fr, fi = _three(
        load(x, x3), load(x, x3 + 16), load(x, x5), load(x, x5 + 16), load(x, x1), load(x, x1 + 16), root, half
    )
    _put(out, o, ar + dr, ai + di, twiddles, 0)
    _put(out, o + 3 * out_step, ar - dr, ai - di, twiddles, 3)
    _put(out, o + 4 * out_step, br + er, bi + ei, twiddles, 4)
    _put(out, o + out_step, br - er, bi - ei, twiddles, 1)
    _put(out, o + 2 * out_step, cr + fr, ci + fi, twiddles, 2)
    _put(out, o + 5 * out_step, cr - fr, ci - fi, twiddles, 5)


@_inline
def _four(ar: Any, ai: Any, br: Any, bi: Any, cr: Any, ci: Any, dr: Any, di: Any) -> Any:
    """Return the four-point transform."""
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    return er + gr, ei + gi, fr + hi, fi - hr, er - gr, ei - gi, fr - hi, fi + hr


@_inline
def _butterfly_8(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int) -> None:
    """Transforms of the four even and the four odd points, joined by the eighth roots of one."""
    root = broadcast(constants, 0)
    x0, x1, x2, x3 = i, i + step, i + 2 * step, i + 3 * step
    x4, x5, x6, x7 = i + 4 * step, i + 5 * step, i + 6 * step, i + 7 * step
    ar, ai, br, bi, cr, ci, dr, di = _four(
        load(x, x0), load(x, x0 + 16), load(x, x2), load(x, x2 + 16),
        load(x, x4), load(x, x4 + 16), load(x, x6), load(x, x6 + 16),
    )  # fmt: skip
    er, ei, fr, fi, gr, gi, hr, hi = _four(
        load(x, x1), load(x, x1 + 16), load(x, x3), load(x, x3 + 16),
        load(x, x5), load(x, x5 + 16), load(x, x7), load(x, x7 + 16),
    )  # fmt: skip
    fr, fi = (fr + fi) * root, (fi - fr) * root
    gr, gi = gi, zeros() - gr
    hr, hi = (hi - hr) * root, (zeros() - (hr + hi)) * root
    _put(out, o, ar + er, ai + ei, twiddles, 0)
    _put(out, o + 4 * out_step, ar - er, ai - ei, twiddles, 4)
    _put(out, o + out_step, br + fr, bi + fi, twiddles, 1)
    _put(out, o + 5 * out_step, br - fr, bi - fi, twiddles, 5)
    _put(out, o + 2 * out_step, cr + gr, ci + gi, twiddles, 2)
    _put(out, o + 6 * out_step, cr - gr, ci - gi, twiddles, 6)
    _put(out, o + 3 * out_step, dr + hr, di + hi, twiddles, 3)
    _put(out, o + 7 * out_step, dr - hr, di - hi, twiddles, 7)


@_inline
def _butterflies(
    radix: int, x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int
) -> None:
    if radix == 4:
        _butterfly_4(x, i, step, out, o, out_step, twiddles)
    elif radix == 6:
        _butterfly_6(x, i, step, out, o, out_step, twiddles, constants)
    else:
        _butterfly_8(x, i, step, out, o, out_step, twiddles, constants)


@nb.njit(types.void(*[_I] * 9), **_OPTIONS)
def _transform(x: int, step: int, out: int, out_step: int, work: int, r1: int, r2: int, twiddles: int, cs: int) -> None:
    """Transform one line of r1 r2 complex vectors, `step` floats apart, from x into out (x itself is fine).

    `work` holds r1 r2 complex vectors; `twiddles` is (r2, r1) complex, exp(-2 pi i n k / (r1 r2)).
    """
    for n in range(r2):
        _butterflies(r1, x, n * step, r2 * step, work, n * 32, r2 * 32, twiddles + n * r1 * 8, cs)
    for k in range(r1):
        _butterflies(r2, work, k * r2 * 32, 32, out, k * out_step, r1 * out_step, 0, cs)


@nb.njit(types.void(_READ, _TILES, _I, _WRITE, _I, _READ, _READ, _WRITE, _I, _I, _I), **_OPTIONS)
def forward(
    maps: Any,
    tiles: Tiles,
    channels: int,
    spectra: Any,
    stride: int,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    first: int,
    start: int,
    stop: int,
) -> None:
    """Write the spectra of pairs `start` to `stop` as rows 2 (pair - first) and the next."""
    size, half = tiles.size, tiles.size // 2 + 1
    per_image, count = tiles.rows * tiles.columns, tiles.images * tiles.rows * tiles.columns
    x, out, grid = maps.ctypes.data, spectra.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    grid_row = (size + 1) * 32
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    zero = zeros()
    for pair in range(start, stop):
        row_a = 2 * (pair - first)
        for block in range(0, channels, 16):
            for y in range(size):
                empty = True
                for part in range(2):
                    tile = 2 * pair + part
                    image, place = tile // per_image, tile % per_image
                    y_map = place // tiles.columns * tiles.step - tiles.pad + y
                    x_map = place % tiles.columns * tiles.step - tiles.pad
                    left, right = max(0, -x_map), min(size, tiles.width - x_map)
                    if tile >= count or y_map < 0 or y_map >= tiles.height or right <= left:
                        left = right = size
                    else:
                        empty = False
                    source = ((image * tiles.height + y_map) * tiles.width + x_map) * channels + block
                    for n in range(left):
                        store(line, n * 32 + part * 16, zero)
                    for n in range(left, right):
                        store(line, n * 32 + part * 16, load(x, source + n * channels))
                    for n in range(right, size):
                        store(line, n * 32 + part * 16, zero)
                row = grid + 4 * y * grid_row
                if empty:
                    for n in range(2 * size):
                        store(row, n * 16, zero)
                else:
                    _transform(line, 32, row, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
            for kx in range(size):
                _transform(grid + 4 * kx * 32, grid_row, line, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
                if kx < half:
                    for ky in range(size):
                        at = (ky * half + kx) * stride + row_a * 2 * channels + block
                        store(out, at, load(line, ky * 32))
                        store(out, at + channels, load(line, ky * 32 + 16))
                mirrored = (size - kx) % size
                if mirrored < half:
                    for ky in range(size):
                        at = ((size - ky) % size * half + mirrored) * stride + (row_a + 1) * 2 * channels + block
                        store(out, at, load(line, ky * 32))
                        store(out, at + channels, zero - load(line, ky * 32 + 16))


@nb.njit(types.void(_READ, _I, _I, _I, _READ, _I, _I, _WRITE, _I, _I, _I, _I), **_OPTIONS)
def product(
    spectra: Any,
    stride: int,
    channels: int,
    depth: int,
    weights: Any,
    panel: int,
    outputs: int,
    results: Any,
    result_stride: int,
    rows: int,
    start: int,
    stop: int,
) -> None:
    """Multiply the `rows` rows (an even number) of frequencies `start` to `stop` by their weights.

    `channels` is the distance between the two parts of a row, `depth` <= channels how many of them count.
    """
    a, b, out = spectra.ctypes.data, weights.ctypes.data, results.ctypes.data
    plane, a_row, out_row = depth * outputs, 2 * channels, 2 * outputs
    for f in range(start, stop):
        for column in range(0, outputs, panel):
            w = b + 4 * (2 * f * plane + column * depth)
            row = 0
            while row < rows:
                x = a + 4 * (f * stride + row * a_row)
                y = out + 4 * (f * result_stride + row * out_row + column)
                if panel == 16:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, 2, 1)
                    row += 2
                elif rows - row >= _TALL:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, _TALL, 2)
                    row += _TALL
                elif rows - row >= _MIDDLE:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, _MIDDLE, 2)
                    row += _MIDDLE
                else:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, 2, 2)
                    row += 2


@_inline
def _product_at(a: int, channels: int, depth: int, b: int, panel: int, plane: int) -> Any:
    """Return one row's product at one frequency for 16 output channels: for few input channels."""
    real, imaginary = zeros(), zeros()
    for c in range(depth):
        ar, ai = broadcast(a, c), broadcast(a, channels + c)
        br, bi = load(b, c * panel), load(b, plane + c * panel)
        real = fma(ar, br, real) - ai * bi
        imaginary = fma(ai, br, fma(ar, bi, imaginary))
    return real, imaginary


@nb.njit(types.void(_READ, _I, _I, _I, _READ, _I, _TILES, _TARGET, _READ, _WRITE, _READ, _READ, _WRITE, _I, _I, _I),
         **_OPTIONS)  # fmt: skip
def inverse(
    spectra: Any,
    stride: int,
    channels: int,
    depth: int,
    weights: Any,
    panel: int,
    tiles: Tiles,
    target: Target,
    bias: Any,
    maps: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    first: int,
    start: int,
    stop: int,
) -> None:
    """Write the outputs of pairs `start` to `stop`, whose spectra are rows 2 (pair - first) and the next.

    With `depth` 0 the spectra are results of `product`. With `depth` > 0 they are those of `forward`, and the product
    is taken on the way, 16 output channels at a time: for a few input channels that is cheaper than a pass through
    memory.
    """
    size, half, outputs = tiles.size, tiles.size // 2 + 1, target.channels
    per_image, count = tiles.rows * tiles.columns, tiles.images * tiles.rows * tiles.columns
    valid = (target.per_tile - 1) * target.stride + target.kernel
    plane = depth * outputs
    x, w, b, out = spectra.ctypes.data, weights.ctypes.data, bias.ctypes.data, maps.ctypes.data
    tw, cs, grid = twiddles.ctypes.data, constants.ctypes.data, scratch.ctypes.data
    grid_row = (size + 1) * 32
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    zero = zeros()
    for block in range(0, outputs, 16):
        w_block = w + 4 * (block // panel * panel * depth + block % panel)
        shift = load(b, block)
        for pair in range(start, stop):
            row_a = 2 * (pair - first)
            for kx in range(size):
                mirrored = kx >= half
                for ky in range(size):
                    # the conjugate of row b at -f stands for row a at f; real and imaginary parts change places
                    if mirrored:
                        f, row = (size - ky) % size * half + size - kx, row_a + 1
                    else:
                        f, row = ky * half + kx, row_a
                    at = f * stride + row * 2 * channels
                    if depth:
                        real, imaginary = _product_at(
                            x + 4 * at, channels, depth, w_block + 4 * (2 * f * plane), panel, plane
                        )
                    else:
                        real, imaginary = load(x, at + block), load(x, at + channels + block)
                    if mirrored:
                        imaginary = zero - imaginary
                    store(line, ky * 32, imaginary)
                    store(line, ky * 32 + 16, real)
                _transform(line, 32, grid + 4 * kx * 32, grid_row, work, tiles.radix_1, tiles.radix_2, tw, cs)
            for y in range(valid):
                row_y = grid + 4 * y * grid_row
                _transform(row_y, 32, row_y, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
            for part in range(2):
                tile = 2 * pair + part
                if tile >= count:
                    continue
                image, place = tile // per_image, tile % per_image
                tile_row, tile_column = place // tiles.columns, place % tiles.columns
                y_left = tiles.height - tile_row * tiles.step
                x_left = tiles.width - tile_column * tiles.step
                y_out, x_out = tile_row * target.per_tile, tile_column * target.per_tile
                values = grid + 4 * 16 * (1 - part)
                for py in range(min(target.per_tile, target.height - y_out)):
                    to = ((image * target.height + y_out + py) * target.width + x_out) * outputs + block
                    y_start = py * target.stride
                    y_stop = min(y_start + target.kernel, y_left)
                    for px in range(min(target.per_tile, target.width - x_out)):
                        x_start = px * target.stride
                        x_stop = min(x_start + target.kernel, x_left)
                        best = load(values, y_start * grid_row + x_start * 32)
                        for y in range(y_start, y_stop):
                            for x_here in range(x_start, x_stop):
                                best = maximum(best, load(values, y * grid_row + x_here * 32))
                        best = best + shift
                        if target.rectify:
                            best = maximum(zero, best)
                        store(out, to + px * outputs, best)
