"""The Fourier convolution's passes over tiles: transform, and transform back with bias, maximum and ReLU.

Between the two lies the product of spectra and weights (`_products.py`).

Layouts, all float32, with T the tile size, F = T (T/2 + 1) frequencies, f = ky (T/2 + 1) + kx, kx <= T/2:

- maps: (N, H, W, C), C-contiguous, C a multiple of 16
- spectra: `f * stride + (row * 2 + part) * C + c`; a row is a tile, part 0 the real and 1 the imaginary values. The
  stride from one frequency to the next is one cache line more than a frequency needs, or power-of-two sizes would put
  all frequencies into the same few sets of the cache.

Where a map has at most four channels, the lanes of a vector are four pairs of tiles times four channels, and the
product is taken on the way back: every output channel costs a transform, the few products hide behind it, and no
spectrum of all outputs passes through memory. For that:

- maps: (N, C, H, W), C-contiguous
- spectra: (pairs / 4, F, 2 tiles, 2 parts, 4 pairs, 4 channels)
- weights: (O / 16, F, 2, C, 16)

Two tiles a and b are transformed as one complex tile a + i b: their convolution with a real kernel is that of a plus i
that of b. With Z its spectrum, row a of frequency f holds Z[f] and row b the conjugate of Z[-f]; both are multiplied by
the same weight, and the way back undoes the step. So no spectrum is ever taken apart, and half the frequencies suffice.

Every kernel works on a range of pairs or frequencies given by the caller, releases the GIL, and shares nothing but its
output's disjoint parts. The inverse transforms lack their factor 1 / T^2, which is in the weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import broadcast, copy, fma, load, maximum, store, zeros
from cpm_port.engine._lines import inline, transform

__all__ = [
    "TileTarget",
    "Tiles",
    "forward",
    "forward_few",
    "inverse",
    "inverse_few",
    "scratch_floats",
]


class Tiles(NamedTuple):
    """How maps are cut into tiles.

    Tile (row, column) of an image starts at pixel (row * step - pad, column * step - pad); beyond the map, and beyond
    the tile's first `extent` rows and columns, there are zeros. Tiles are numbered image by image, row by row; tiles
    2 i and 2 i + 1 are pair i.
    """

    images: int
    height: int
    width: int
    rows: int
    columns: int
    step: int
    pad: int
    extent: int
    size: int
    radix_1: int
    radix_2: int


class TileTarget(NamedTuple):
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
_TARGET = _named_tuple(types.int64, len(TileTarget._fields), TileTarget)
_READ = types.Array(types.float32, 1, "C", readonly=True)
_WRITE = types.Array(types.float32, 1, "C")
_I = types.int64


def scratch_floats(size: int) -> int:
    """Return how many floats of scratch memory one worker needs for tiles of `size`."""
    return size * (size + 1) * 32 + 2 * size * 32 + 16


@inline
def _grid_row(size: int) -> int:
    """Return the distance between a tile's rows in scratch, floats: one vector more than it holds (see `stride`)."""
    return (size + 1) * 32


@inline
def _place(tiles: Tiles, tile: int, y: int) -> Any:
    """Return a tile's image, where its row `y` and its columns begin on the map, and which columns are on the map."""
    per_image = tiles.rows * tiles.columns
    image, place = tile // per_image, tile % per_image
    y_map = place // tiles.columns * tiles.step - tiles.pad + y
    x_map = place % tiles.columns * tiles.step - tiles.pad
    left, right = max(0, -x_map), min(tiles.extent, tiles.width - x_map)
    outside = tile >= tiles.images * per_image or y >= tiles.extent or y_map < 0 or y_map >= tiles.height
    if outside or right < left:
        right = left
    return image, y_map, x_map, left, right


@inline
def _finish_forward(
    grid: int, tiles: Tiles, out: int, row_a: int, row_b: int, part_step: int, stride: int, tw: int, cs: int
) -> None:
    """Transform the grid's columns and write them at rows a and b of their frequencies, `stride` floats apart."""
    size, half, grid_row = tiles.size, tiles.size // 2 + 1, _grid_row(tiles.size)
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    for kx in range(size):
        transform(grid + 4 * kx * 32, grid_row, line, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
        if kx < half:
            for ky in range(size):
                at = (ky * half + kx) * stride + row_a
                store(out, at, load(line, ky * 32))
                store(out, at + part_step, load(line, ky * 32 + 16))
        mirrored = (size - kx) % size
        if mirrored < half:
            for ky in range(size):
                at = ((size - ky) % size * half + mirrored) * stride + row_b
                store(out, at, load(line, ky * 32))
                store(out, at + part_step, zeros() - load(line, ky * 32 + 16))


@inline
def _finish_inverse(
    grid: int, tiles: Tiles, target: TileTarget, pair: int, block: int, shift: Any, out: int, tw: int, cs: int
) -> None:
    """Transform the grid's rows; add the bias to the maxima of both tiles' windows, rectify and write them."""
    grid_row, zero = _grid_row(tiles.size), zeros()
    work = grid + 4 * tiles.size * (grid_row + 32)
    per_image = tiles.rows * tiles.columns
    for y in range((target.per_tile - 1) * target.stride + target.kernel):
        row = grid + 4 * y * grid_row
        transform(row, 32, row, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
    for part in range(2):
        tile = 2 * pair + part
        image, place = tile // per_image, tile % per_image
        tile_row, tile_column = place // tiles.columns, place % tiles.columns
        y_left, x_left = tiles.height - tile_row * tiles.step, tiles.width - tile_column * tiles.step
        y_out, x_out = tile_row * target.per_tile, tile_column * target.per_tile
        values = grid + 4 * 16 * (1 - part)
        rows = min(target.per_tile, target.height - y_out) if tile < tiles.images * per_image else 0
        for py in range(rows):
            to = ((image * target.height + y_out + py) * target.width + x_out) * target.channels + block
            y_start = py * target.stride
            y_stop = min(y_start + target.kernel, y_left)
            for px in range(min(target.per_tile, target.width - x_out)):
                x_start = px * target.stride
                x_stop = min(x_start + target.kernel, x_left)
                best = load(values, y_start * grid_row + x_start * 32)
                for y in range(y_start, y_stop):
                    for x in range(x_start, x_stop):
                        best = maximum(best, load(values, y * grid_row + x * 32))
                best = best + shift
                if target.rectify:
                    best = maximum(zero, best)
                store(out, to + px * target.channels, best)


@kernel(types.void(_READ, _TILES, _I, _WRITE, _I, _READ, _READ, _WRITE, _I, _I, _I), nogil=True)
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
    size, grid_row, zero = tiles.size, _grid_row(tiles.size), zeros()
    x, out, grid = maps.ctypes.data, spectra.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    for pair in range(start, stop):
        row_a = 2 * (pair - first) * 2 * channels
        for block in range(0, channels, 16):
            for y in range(size):
                inside = 0
                for part in range(2):
                    image, y_map, x_map, left, right = _place(tiles, 2 * pair + part, y)
                    source = ((image * tiles.height + y_map) * tiles.width + x_map) * channels + block
                    inside += right - left
                    for n in range(left):
                        store(line, n * 32 + part * 16, zero)
                    for n in range(left, right):
                        store(line, n * 32 + part * 16, load(x, source + n * channels))
                    for n in range(right, size):
                        store(line, n * 32 + part * 16, zero)
                row = grid + 4 * y * grid_row
                if inside:
                    transform(line, 32, row, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
                else:
                    for n in range(2 * size):
                        store(row, n * 16, zero)
            a, b = row_a + block, row_a + 2 * channels + block
            _finish_forward(grid, tiles, out, a, b, channels, stride, tw, cs)


@kernel(types.void(_READ, _TILES, _I, _WRITE, _READ, _READ, _WRITE, _I, _I, _I), nogil=True)
def forward_few(
    maps: Any,
    tiles: Tiles,
    channels: int,
    spectra: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    first: int,
    start: int,
    stop: int,
) -> None:
    """Write the spectra of groups `start` to `stop` (group i is the pairs 4 i to 4 i + 3) as groups from `first` on."""
    size, grid_row = tiles.size, _grid_row(tiles.size)
    x, out, grid = maps.ctypes.data, spectra.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    for group in range(start, stop):
        for y in range(size):
            for n in range(2 * size):
                store(line, n * 16, zeros())
            for tile in range(8):
                image, y_map, x_map, left, right = _place(tiles, 8 * group + tile, y)
                for c in range(channels):
                    source = ((image * channels + c) * tiles.height + y_map) * tiles.width + x_map
                    lane = tile % 2 * 16 + tile // 2 * 4 + c
                    for n in range(left, right):
                        copy(line, n * 32 + lane, x, source + n)
            transform(line, 32, grid + 4 * y * grid_row, 32, work, tiles.radix_1, tiles.radix_2, tw, cs)
        to = out + 4 * (group - first) * size * (size // 2 + 1) * 64
        _finish_forward(grid, tiles, to, 0, 32, 16, 64, tw, cs)


@kernel(types.void(_READ, _I, _TILES, _TARGET, _READ, _WRITE, _READ, _READ, _WRITE, _I, _I, _I), nogil=True)
def inverse(
    spectra: Any,
    stride: int,
    tiles: Tiles,
    target: TileTarget,
    bias: Any,
    maps: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    first: int,
    start: int,
    stop: int,
) -> None:
    """Write the outputs of pairs `start` to `stop`, whose products are rows 2 (pair - first) and the next.

    The conjugate of row b at -f stands for row a at f; real and imaginary parts change places.
    """
    size, half, grid_row = tiles.size, tiles.size // 2 + 1, _grid_row(tiles.size)
    x, out, grid = spectra.ctypes.data, maps.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    for pair in range(start, stop):
        row = 2 * (pair - first) * 2 * target.channels
        for block in range(0, target.channels, 16):
            for kx in range(size):
                for ky in range(size):
                    if kx < half:
                        at = (ky * half + kx) * stride + row + block
                        store(line, ky * 32, load(x, at + target.channels))
                    else:
                        at = ((size - ky) % size * half + size - kx) * stride + row + 2 * target.channels + block
                        store(line, ky * 32, zeros() - load(x, at + target.channels))
                    store(line, ky * 32 + 16, load(x, at))
                transform(line, 32, grid + 4 * kx * 32, grid_row, work, tiles.radix_1, tiles.radix_2, tw, cs)
            _finish_inverse(grid, tiles, target, pair, block, load(bias.ctypes.data, block), out, tw, cs)


@inline
def _product_at(a: int, b: int, channels: int) -> Any:
    """Return the product of one tile and 16 output channels at one frequency."""
    real, imaginary = zeros(), zeros()
    for c in range(channels):
        ar, ai = broadcast(a, c), broadcast(a, 16 + c)
        br, bi = load(b, c * 16), load(b, (channels + c) * 16)
        real = fma(ar, br, real) - ai * bi
        imaginary = fma(ai, br, fma(ar, bi, imaginary))
    return real, imaginary


@kernel(types.void(_READ, _I, _READ, _TILES, _TARGET, _READ, _WRITE, _READ, _READ, _WRITE, _I, _I, _I), nogil=True)
def inverse_few(
    spectra: Any,
    channels: int,
    weights: Any,
    tiles: Tiles,
    target: TileTarget,
    bias: Any,
    maps: Any,
    twiddles: Any,
    constants: Any,
    scratch: Any,
    first: int,
    start: int,
    stop: int,
) -> None:
    """Write the outputs of pairs `start` to `stop` from what `forward_few` wrote, where pair `first` comes first."""
    size, half, grid_row = tiles.size, tiles.size // 2 + 1, _grid_row(tiles.size)
    x, w, out, grid = spectra.ctypes.data, weights.ctypes.data, maps.ctypes.data, scratch.ctypes.data
    tw, cs = twiddles.ctypes.data, constants.ctypes.data
    line = grid + 4 * size * grid_row
    work = line + 4 * size * 32
    for block in range(0, target.channels, 16):
        w_block = w + 4 * block * size * half * 2 * channels
        for pair in range(start, stop):
            lane = (pair - first) % 4 * 4
            a = x + 4 * ((pair - first) // 4 * size * half * 64 + lane)
            for kx in range(size):
                for ky in range(size):
                    if kx < half:
                        f = ky * half + kx
                        real, imaginary = _product_at(a + 4 * f * 64, w_block + 4 * f * channels * 32, channels)
                    else:
                        f = (size - ky) % size * half + size - kx
                        real, imaginary = _product_at(a + 4 * (f * 64 + 32), w_block + 4 * f * channels * 32, channels)
                        imaginary = zeros() - imaginary
                    store(line, ky * 32, imaginary)
                    store(line, ky * 32 + 16, real)
                transform(line, 32, grid + 4 * kx * 32, grid_row, work, tiles.radix_1, tiles.radix_2, tw, cs)
            _finish_inverse(grid, tiles, target, pair, block, load(bias.ctypes.data, block), out, tw, cs)
