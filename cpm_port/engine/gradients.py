"""A stride-1 convolution in the frequency domain that can be trained: forward, and both gradients on the way back.

All three are products of spectra, frequency by frequency, over the same tiles as in `fft.py`. With S = T - K + 1:

- forward: tiles of T x T pixels of the input, S apart, times the weights' spectra
- gradient to the input: the same convolution of the gradient, its kernels turned by half a circle, input and output
  exchanged; each tile gives S x S pixels of it
- gradient to the weights: a tile of the gradient's, times the conjugate spectrum of those S x S pixels of the input
  (the rest of the tile is zeros), summed over tiles: K x K values of what comes back. The gradient's spectra serve both

Weights are transformed once a pass: in blocks that stay in the cache where all tiles fit into the workspace, else all
at once. A ReLU and a max-pooling behind the convolution are part of it: of pooled maps
only the places of the maxima are kept for the way back.

Conventions: as in `fft.py`. Results agree with direct sums to about 1e-6 of each tensor's largest value. There is no
second derivative: asking for one raises torch's RuntimeError ("marked with @once_differentiable").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpm_port.compute.memory import Array, Workspace, empty
from cpm_port.compute.threads import share
from cpm_port.engine.fft import (
    FEW_CHANNELS,
    LANES,
    NO_POOL,
    TILE_SIZES,
    FourierConv,
    Pool,
    channels_last,
    compiled,
    flat,
    reference,
    shares,
    tile_geometry,
    twiddles,
)
from cpm_port.errors import ShapeError

if TYPE_CHECKING:
    from cpm_port.engine._products import Layout
    from cpm_port.engine._weights import KernelBlock, Windows

__all__ = ["convolve", "reference_gradients"]

_BLOCK = 16 << 20
"""Bytes of weights' spectra that are made before they are used: they should stay in a processor's cache."""


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    size: int,
    rectify: bool = False,
    pool: Pool = NO_POOL,
    workspace: Workspace | None = None,
) -> Tensor:
    """Convolve with zero padding K // 2 ('same'), add the bias, rectify and pool, so that gradients can flow back.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W), float32
        Any memory layout; channels-last with a multiple of 16 channels is used without a copy.
    weight : Tensor, shape (O, C, K, K), float32
        K odd.
    bias : Tensor, shape (O,), or None
    size : int
        The tile size, one of `TILE_SIZES`, at least K.
    rectify : bool
        Whether a ReLU follows.
    pool : Pool
        What follows the ReLU; windows that leave no gaps.
    workspace : Workspace
        Where spectra go; they are made for as many tiles at a time as it holds (for one pair at least).

    Returns
    -------
    Tensor, shape (N, O, H', W'), channels-last

    Raises
    ------
    ShapeError
        Shapes that do not fit each other, or a kernel larger than the tile.
    """
    _, channels, kernel, width = weight.shape
    if kernel != width or kernel % 2 == 0 or kernel > size:
        raise ShapeError(f"weight is {tuple(weight.shape)}, expected (O, C, K, K) with K odd and at most {size}")
    if x.dim() != 4 or x.shape[1] != channels or x.dtype != torch.float32:
        raise ShapeError(f"input is {tuple(x.shape)} {x.dtype}, expected (N, {channels}, H, W) float32")
    if min(pool.size(length) for length in x.shape[2:]) < 1:
        raise ShapeError(f"input is {tuple(x.shape)}: nothing left after {pool}")
    joined = pool if compiled() else NO_POOL
    arguments = x, weight, bias, size, rectify, joined, workspace or Workspace()
    y: Tensor = _FourierConvolution.apply(*arguments)  # type: ignore[no-untyped-call]
    return y if joined == pool else F.max_pool2d(y, pool.kernel, pool.stride, ceil_mode=True)


class _FourierConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        size: int,
        rectify: bool,
        pool: Pool,
        workspace: Workspace,
    ) -> Tensor:
        if not compiled():
            y = reference(x, weight, bias, size)
            y = (y.relu() if rectify else y).contiguous(memory_format=torch.channels_last)
        elif weight.shape[1] <= FEW_CHANNELS and len(weight) % LANES == 0:
            y = FourierConv(weight, bias, size=size)(x, rectify, NO_POOL, workspace)
        else:
            y = _forward(channels_last(x, LANES), weight, bias, size, rectify, workspace)
        ctx.size, ctx.pool, ctx.rectify, ctx.workspace, ctx.has_bias = size, pool, rectify, workspace, bias is not None
        if pool == NO_POOL:
            ctx.save_for_backward(x, weight, y if rectify else None)
            return y
        y, places = _pool(channels_last(y, LANES), pool, rectify)
        ctx.save_for_backward(x, weight, places)
        return y.permute(0, 3, 1, 2)[:, : len(weight)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kept = ctx.saved_tensors
        for_x, for_weight, *_ = ctx.needs_input_grad
        if not compiled():
            gradient = gradient if kept is None else gradient * (kept > 0)
            to_x, to_weight = reference_gradients(x, weight, gradient, ctx.size)
            return (to_x, to_weight, gradient.sum((0, 2, 3)) if ctx.has_bias else None, *[None] * 4)
        maps = channels_last(gradient, LANES)
        if ctx.pool == NO_POOL:
            maps, sums = _rectified(maps, None if kept is None else channels_last(kept, LANES))
        else:
            maps, sums = _unpooled(maps, kept, ctx.pool, (x.shape[2], x.shape[3]))
        found = _backward(channels_last(x, LANES), maps, weight, ctx.size, for_x, for_weight, ctx.workspace)
        return (*found, sums[: len(weight)] if ctx.has_bias else None, *[None] * 4)


class _Side:
    """The spectra of the maps on one side of a convolution, for as many pairs of tiles as are done at a time."""

    def __init__(self, channels: int, pairs: int) -> None:
        self.channels = channels
        self.stride = 4 * pairs * channels + LANES
        self.spectra: Array = np.empty(0, np.float32)

    def layout(self, panel: int = 1) -> Layout:
        """Return how a product finds tiles as rows, channels as columns."""
        from cpm_port.engine._products import Layout

        return Layout(self.stride, 2 * self.channels, panel, self.channels)


@dataclass(frozen=True)
class _Block:
    """Some columns of the weights' matrix of kernels, and their place in it; `columns` is a multiple of 16."""

    weights: KernelBlock
    first: int
    columns: int

    @property
    def groups(self) -> int:
        """How many groups they are transformed in: 16 columns times two of the depth."""
        return (self.weights.depth + 1) // 2 * self.columns // LANES


class _Passes:
    """The passes over one convolution's tiles, and the memory that they work in.

    Attributes
    ----------
    inner, outer : _Side
        The convolution's input and output.
    """

    def __init__(self, maps: Tensor, weight: Tensor, size: int, workspace: Workspace) -> None:
        from cpm_port.engine._kernels import Tiles

        count, height, width, channels = maps.shape
        self._outputs, self._channels, self._kernel, _ = weight.shape
        geometry = tile_geometry(height, width, self._kernel, size, NO_POOL)
        assert geometry is not None, "a tile holds a kernel"
        self._tiles = Tiles(count, height, width, geometry.rows, geometry.columns, geometry.step, self._kernel // 2,
                            size, size, *TILE_SIZES[size])  # fmt: skip
        self._frequencies = size * (size // 2 + 1)
        outputs = self._outputs + -self._outputs % LANES
        per_pair = 4 * self._frequencies * 4 * (channels + outputs)
        self._pairs, self._at_once = shares(self._tiles, per_pair, workspace.nbytes, 1)
        self.inner, self.outer = _Side(channels, self._at_once), _Side(outputs, self._at_once)
        self._weight, self._roots = flat(weight.contiguous()), twiddles(size)
        self._rows = self._channels + self._channels % 2  # of a gradient's spectra
        self._factor = np.full(1, 0.5 / size**2, np.float32)  # half: two kernels, and two tiles, are one complex tile
        self._transformed: _Block | None = None  # whose spectra are in memory

    @contextmanager
    def memory(self, workspace: Workspace) -> Iterator[None]:
        """Take what the passes need for as long as the context lasts."""
        from cpm_port.engine._weights import weight_scratch_floats

        forth, back = self._columns_at_once(False), self._columns_at_once(True)
        floats = max(2 * self._channels * forth, 2 * self._outputs * back) + LANES
        made = 2 * self._rows * self._columns_within_block(self.outer.channels, self._rows) + LANES
        parts = self.inner.stride, self.outer.stride, floats, made
        scratch = [weight_scratch_floats(self._tiles.size)] * torch.get_num_threads()
        with workspace.take(*(self._frequencies * part for part in parts), *scratch) as arrays:
            self.inner.spectra, self.outer.spectra, self._spectra, self._made, *self._scratch = arrays
            yield

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Give the first pair of tiles of each chunk, and how many there are."""
        for first in range(0, self._pairs, self._at_once):
            yield first, min(self._at_once, self._pairs - first)

    def transform(self, maps: Array, side: _Side, first: int, pairs: int, *, parted: bool = False) -> None:
        """Write a chunk's spectra; `parted`: of the tiles' first S x S pixels, which do not overlap."""
        from cpm_port.engine import _kernels
        from cpm_port.engine._lines import CONSTANTS

        tiles = self._tiles._replace(pad=0, extent=self._tiles.step) if parted else self._tiles

        def run(worker: int, start: int, stop: int) -> None:
            _kernels.forward(maps, tiles, side.channels, side.spectra, side.stride, self._roots, CONSTANTS,
                             self._scratch[worker], first, first + start, first + stop)  # fmt: skip

        share(run, pairs)

    def multiply(self, pairs: int, *, turned: bool = False) -> None:
        """Multiply the input's spectra by the weights', for the output's; `turned`: the output's, for the input's."""
        columns, at_once = (self.inner if turned else self.outer).channels, self._columns_at_once(turned)
        for first in range(0, columns, at_once):
            self._multiply(pairs, self._block(turned, first, min(at_once, columns - first)))

    def _multiply(self, pairs: int, block: _Block) -> None:
        """Do so for some columns; their weights are transformed first, unless they are what was transformed last."""
        from cpm_port.engine import _products, _weights
        from cpm_port.engine._lines import CONSTANTS

        left, right = (self.outer, self.inner) if block.weights.turned else (self.inner, self.outer)
        panel, depth = _products.panel_of(right.channels), block.weights.depth
        plane = depth * block.columns
        layout = _products.Layout(2 * plane + LANES, panel, depth * panel, plane)

        def spectra(worker: int, start: int, stop: int) -> None:
            _weights.spectra_of(self._weight, block.weights, self._spectra, layout.frequency, plane, panel,
                                self._factor, self._roots, CONSTANTS, self._scratch[worker], start, stop)  # fmt: skip

        def product(_: int, start: int, stop: int) -> None:
            _products.product(left.spectra, left.layout(), self._spectra, layout, right.spectra[block.first :],
                              right.layout(panel), 2 * pairs, depth, block.columns, panel, start, stop)  # fmt: skip

        if self._transformed != block:
            share(spectra, block.groups)
            self._transformed = block
        share(product, self._frequencies)

    def inverse(self, side: _Side, maps: Array, bias: Array, rectify: bool, first: int, pairs: int) -> None:
        """Write a chunk's part of the maps."""
        from cpm_port.engine import _kernels
        from cpm_port.engine._lines import CONSTANTS

        tiles = self._tiles
        target = _kernels.TileTarget(tiles.height, tiles.width, side.channels, 1, 1, tiles.step, int(rectify))

        def run(worker: int, start: int, stop: int) -> None:
            _kernels.inverse(side.spectra, side.stride, tiles, target, bias, maps, self._roots, CONSTANTS,
                             self._scratch[worker], first, first + start, first + stop)  # fmt: skip

        share(run, pairs)

    def add_gradient(self, gradient: Array, pairs: int) -> None:
        """Add a chunk's part to the weights' gradient."""
        columns = self.outer.channels
        at_once = self._columns_within_block(columns, self._rows)
        for first in range(0, columns, at_once):
            self._add_gradient(gradient, pairs, self._block(False, first, min(at_once, columns - first)))

    def _add_gradient(self, gradient: Array, pairs: int, block: _Block) -> None:
        from cpm_port.engine import _products, _weights
        from cpm_port.engine._lines import CONSTANTS

        inner, outer = self.inner, self.outer
        panel = _products.panel_of(outer.channels)
        left = _products.Layout(inner.stride, 1, 2 * inner.channels, -inner.channels)  # with i times the conjugate
        right = _products.Layout(outer.stride, 2 * outer.channels, panel, outer.channels)
        made = _products.Layout(2 * self._rows * block.columns + LANES, 2 * block.columns, panel, block.columns)
        weights = block.weights._replace(turned=1)

        def product(_: int, start: int, stop: int) -> None:
            _products.product(inner.spectra[inner.channels :], left, outer.spectra[block.first :], right, self._made,
                              made, self._rows, 2 * pairs, block.columns, panel, start, stop)  # fmt: skip

        def back(worker: int, start: int, stop: int) -> None:
            _weights.gradient_of(self._made, made.frequency, block.columns, weights, gradient, self._factor,
                                 self._roots, CONSTANTS, self._scratch[worker], start, stop)  # fmt: skip

        share(product, self._frequencies)
        share(back, block.groups)

    def _block(self, turned: bool, first: int, columns: int) -> _Block:
        """Return the weights of some columns: the output's channels, or the input's on the way back."""
        from cpm_port.engine._weights import KernelBlock

        taps = self._kernel**2
        depth, limit = (self._outputs, self._channels) if turned else (self._channels, self._outputs)
        steps = (self._channels * taps, taps) if turned else (taps, self._channels * taps)
        there = min(columns, limit - first)
        size = self._tiles.size
        weights = KernelBlock(self._kernel, depth, there, first, *steps, int(turned), size, *TILE_SIZES[size])
        return _Block(weights, first, columns)

    def _columns_at_once(self, turned: bool) -> int:
        """Return of how many columns the weights' spectra are made before they are used."""
        columns, depth = (self.inner.channels, self._outputs) if turned else (self.outer.channels, self._channels)
        return columns if self._pairs > self._at_once else self._columns_within_block(columns, depth)

    def _columns_within_block(self, columns: int, depth: int) -> int:
        from cpm_port.engine._products import panel_of

        panel = panel_of(columns)
        return min(columns, max(1, _BLOCK // (8 * self._frequencies * depth * panel)) * panel)


def _forward(
    maps: Tensor, weight: Tensor, bias: Tensor | None, size: int, rectify: bool, workspace: Workspace
) -> Tensor:
    """Return the convolution of maps (N, H, W, C), C a multiple of 16."""
    passes = _Passes(maps, weight, size, workspace)
    y, added = empty(*maps.shape[:3], passes.outer.channels), np.zeros(passes.outer.channels, np.float32)
    if bias is not None:
        added[: len(bias)] = flat(bias)
    with passes.memory(workspace):
        for first, pairs in passes.chunks():
            passes.transform(flat(maps), passes.inner, first, pairs)
            passes.multiply(pairs)
            passes.inverse(passes.outer, flat(y), added, rectify, first, pairs)
    return y.permute(0, 3, 1, 2)[:, : len(weight)]


def _backward(
    maps: Tensor, gradient: Tensor, weight: Tensor, size: int, for_maps: bool, for_weight: bool, workspace: Workspace
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients to the maps, (N, C, H, W), and to the weight, those that are wanted."""
    channels = weight.shape[1]
    to_maps = empty(*maps.shape) if for_maps else None
    to_weight = torch.zeros(weight.shape) if for_weight else None
    passes = _Passes(maps, weight, size, workspace)
    nothing = np.zeros(maps.shape[3], np.float32)
    with passes.memory(workspace):
        for first, pairs in passes.chunks():
            passes.transform(flat(gradient), passes.outer, first, pairs)
            if to_maps is not None:
                passes.multiply(pairs, turned=True)
                passes.inverse(passes.inner, flat(to_maps), nothing, False, first, pairs)
            if to_weight is not None:
                passes.transform(flat(maps), passes.inner, first, pairs, parted=True)
                passes.add_gradient(flat(to_weight), pairs)
    return None if to_maps is None else to_maps.permute(0, 3, 1, 2)[:, :channels], to_weight


def _rectified(gradient: Tensor, results: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what a ReLU with these results lets through of a gradient (N, H, W, O), and its sums over pixels."""
    from cpm_port.engine import _weights

    count, height, width, channels = gradient.shape
    kept = gradient if results is None else empty(*gradient.shape)
    y = np.empty(0, np.float32) if results is None else flat(results)
    sums = np.empty(count * height * channels, np.float32)

    def run(_: int, start: int, stop: int) -> None:
        _weights.rectified_gradient(flat(gradient), y, flat(kept), sums, width, channels, start, stop)

    share(run, count * height)
    return kept, _total(sums, channels)


def _pool(maps: Tensor, pool: Pool, rectified: bool) -> tuple[Tensor, Tensor]:
    """Return the maxima of maps (N, H, W, O), and their places in their windows (`_weights.pooled`)."""
    from cpm_port.engine import _weights

    windows = _windows(maps.shape[1:3], maps.shape[3], pool, rectified)
    results, places = (empty(len(maps), windows.rows, windows.columns, windows.channels) for _ in range(2))

    def run(_: int, start: int, stop: int) -> None:
        _weights.pooled(flat(maps), windows, _numbers(pool), flat(results), flat(places), start, stop)

    share(run, len(maps) * windows.rows)
    return results, places


def _unpooled(gradient: Tensor, places: Tensor, pool: Pool, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the gradient to maps of a size, (N, H, W, O), and its sums over pixels."""
    from cpm_port.engine import _weights

    windows = _windows(size, gradient.shape[3], pool, False)
    found = empty(len(gradient), *size, windows.channels)
    sums = np.empty(len(gradient) * windows.height * windows.channels, np.float32)

    def run(_: int, start: int, stop: int) -> None:
        _weights.unpooled_gradient(flat(gradient), flat(places), windows, _numbers(pool), flat(found), sums, start,
                                   stop)  # fmt: skip

    share(run, len(gradient) * windows.height)
    return found, _total(sums, windows.channels)


def _windows(size: Sequence[int], channels: int, pool: Pool, rectified: bool) -> Windows:
    from cpm_port.engine._weights import Windows

    height, width = size
    rows, columns = (pool.size(length) for length in size)
    return Windows(height, width, rows, columns, channels, pool.kernel, pool.stride, int(rectified))


def _numbers(pool: Pool) -> Array:
    """Return -1 and the numbers of a window's places."""
    return np.arange(-1, pool.kernel**2, dtype=np.float32)


def _total(sums: Array, channels: int) -> Tensor:
    """Add up the rows' sums; there may be thousands."""
    return torch.from_numpy(sums.reshape(-1, channels).sum(0, dtype=np.float64).astype(np.float32))


def reference_gradients(x: Tensor, weight: Tensor, gradient: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return a convolution's gradients to `x` and `weight`, computed in tiles of `size`: the method, for reading.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (O, C, K, K), K odd
    gradient : Tensor, shape (N, O, H, W)
        To the result.
    """
    kernel, (_, _, height, width) = weight.shape[2], x.shape
    step = size - kernel + 1
    down, right = -height % step, -width % step
    lead, trail = kernel // 2, size - step - kernel // 2
    parts = F.pad(x, (0, right, 0, down)).unfold(2, step, step).unfold(3, step, step)
    around = F.pad(gradient, (lead, trail + right, lead, trail + down)).unfold(2, size, step).unfold(3, size, step)
    spectra = torch.fft.rfft2(parts, s=(size, size)).conj(), torch.fft.rfft2(around)
    lags = torch.fft.irfft2(torch.einsum("ncijyx,noijyx->ocyx", *spectra), s=(size, size))
    turned = weight.flip(2, 3).transpose(0, 1)
    return reference(gradient, turned, None, size), lags[..., :kernel, :kernel].flip(2, 3)
