"""A stride-1 convolution in the frequency domain, tile by tile, with bias, ReLU and max-pooling at the end.

A map is cut into tiles of T x T pixels that overlap by the kernel's size less one (overlap-save). Each tile's spectrum
is multiplied by the kernel's: one small complex matrix product per frequency, over the channels. Of what comes back,
the first T - K + 1 rows and columns are the convolution; the rest, where the tile wrapped around, is dropped. For K = 9
and T = 32 that takes 20 times fewer multiplications than the direct sum, at a float32 error that is no larger.

Conventions: tensors are NCHW in shape and channels-last in memory. float32 only, CPU only, no gradients.

It knowingly differs from a direct convolution in one thing: a value that is infinite or NaN spoils its whole tile, and
the tile that is transformed with it (`_kernels.py`), which may be the first one of the next image in the batch.

`reference` says the same in a dozen lines of torch. The tests compare the kernels with it, and it takes over where
numba does not compile (NUMBA_DISABLE_JIT).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.compute.memory import Array, Workspace, aligned, empty
from cpm_port.compute.threads import share
from cpm_port.errors import ShapeError

if TYPE_CHECKING:
    from cpm_port.engine._kernels import Tiles, TileTarget

__all__ = [
    "FEW_CHANNELS",
    "LANES",
    "NO_POOL",
    "TILE_SIZES",
    "FourierConv",
    "Pool",
    "channels_last",
    "compiled",
    "flat",
    "reference",
    "tile_geometry",
]

TILE_SIZES = {16: (4, 4), 24: (4, 6), 32: (4, 8), 36: (6, 6), 48: (6, 8), 64: (8, 8)}
"""Tile size -> the two lengths that a line is transformed by."""

FEW_CHANNELS = 4
"""With at most so many input channels the product is taken while transforming back (`_kernels.py`)."""

LANES = 16
"""Output channels come in multiples of so many."""


@dataclass(frozen=True)
class Pool:
    """Max-pooling without padding, sizes rounded up: a square window of `kernel`, every `stride` pixels."""

    kernel: int = 1
    stride: int = 1

    def size(self, length: int) -> int:
        """Return the pooled length."""
        return -(-(length - self.kernel) // self.stride) + 1


NO_POOL = Pool()


@dataclass(frozen=True)
class TileGeometry:
    """How many tiles a map takes, and how many outputs along a side each gives; `step` is in input pixels."""

    rows: int
    columns: int
    per_tile: int
    step: int


def tile_geometry(height: int, width: int, kernel: int, size: int, pool: Pool) -> TileGeometry | None:
    """Return how (height, width) maps are tiled, or None where a tile of `size` does not hold one output."""
    valid = size - kernel + 1
    if valid < pool.kernel:
        return None
    per_tile = (valid - pool.kernel) // pool.stride + 1
    rows, columns = (-(-pool.size(length) // per_tile) for length in (height, width))
    return TileGeometry(rows, columns, per_tile, per_tile * pool.stride)


class FourierConv:
    """One convolution's weights, transformed for one tile size, and the passes that use them.

    Parameters
    ----------
    weight : Tensor, shape (O, C, K, K), float32
        K odd, O a multiple of 16. Copied, transformed: `nbytes` says into how much.
    bias : Tensor, shape (O,), or None
    size : int
        The tile size, one of `TILE_SIZES`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, size: int) -> None:
        outputs, channels, kernel, width = weight.shape
        if kernel != width or kernel % 2 == 0 or outputs % LANES:
            raise ShapeError(
                f"weight is {tuple(weight.shape)}, expected (O, C, K, K) with O a multiple of {LANES} and K odd"
            )
        self.outputs, self.channels, self.kernel = outputs, channels, kernel
        self.size = size
        self.few = channels <= FEW_CHANNELS
        with torch.no_grad():
            self._bias = torch.zeros(outputs) if bias is None else bias.detach().clone()
            if compiled():
                from cpm_port.engine._products import panel_of

                self._panel = LANES if self.few else panel_of(outputs)
                weights = _transform_weight(weight.detach(), size, self._panel)
                self._weights = weights.permute(2, 0, 1, 3, 4).contiguous() if self.few else weights
            else:
                self._weights = weight.detach().clone()

    @property
    def nbytes(self) -> int:
        """Memory that the transformed weights take, bytes."""
        return self._weights.nbytes

    def __call__(
        self, x: Tensor, rectify: bool = False, pool: Pool = NO_POOL, workspace: Workspace | None = None
    ) -> Tensor:
        """Convolve with zero padding K // 2 ('same'), then add the bias, rectify and pool.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W), float32
            Any memory layout; channels-last with a multiple of 16 channels is used without a copy.
        rectify : bool
            Whether a ReLU follows.
        pool : Pool
            What follows the ReLU.
        workspace : Workspace
            Where spectra go; they are made for as many tiles at a time as it holds (for one pair at least).

        Returns
        -------
        Tensor, shape (N, O, H', W'), channels-last

        Raises
        ------
        ShapeError
            `x` has another number of channels than the weights, or is too small to pool.
        """
        if x.dim() != 4 or x.shape[1] != self.channels or x.dtype != torch.float32:
            raise ShapeError(f"input is {tuple(x.shape)} {x.dtype}, expected (N, {self.channels}, H, W) float32")
        count, _, height, width = x.shape
        geometry = tile_geometry(height, width, self.kernel, self.size, pool)
        if geometry is None or min(pool.size(height), pool.size(width)) < 1:
            raise ShapeError(f"input is {tuple(x.shape)}: nothing left after {pool} in tiles of {self.size}")
        if count == 0:
            return empty(0, pool.size(height), pool.size(width), self.outputs).permute(0, 3, 1, 2)
        if not compiled():
            y = reference(x, self._weights, self._bias, self.size)
            y = F.max_pool2d(y.relu() if rectify else y, pool.kernel, pool.stride, ceil_mode=True)
            return y.contiguous(memory_format=torch.channels_last)
        from cpm_port.engine._kernels import Tiles, TileTarget

        tiles = Tiles(count, height, width, geometry.rows, geometry.columns, geometry.step, self.kernel // 2,
                      self.size, self.size, *TILE_SIZES[self.size])  # fmt: skip
        target = TileTarget(pool.size(height), pool.size(width), self.outputs, pool.kernel, pool.stride,
                        geometry.per_tile, int(rectify))  # fmt: skip
        workspace = workspace or Workspace()
        y = empty(count, target.height, target.width, self.outputs)
        if self.few:
            self._run_few(_plain(x), tiles, target, flat(y), workspace)
        else:
            self._run(channels_last(x, LANES), tiles, target, flat(y), workspace)
        return y.permute(0, 3, 1, 2)

    def _run(self, maps: Tensor, tiles: Tiles, target: TileTarget, y: Array, workspace: Workspace) -> None:
        """Take the pairs of tiles through the three passes, as many at a time as the workspace holds."""
        from cpm_port.engine import _kernels, _products
        from cpm_port.engine._lines import CONSTANTS

        frequencies, padded = self.size * (self.size // 2 + 1), maps.shape[3]
        pairs, at_once = shares(tiles, 4 * frequencies * 4 * (padded + self.outputs), workspace.nbytes, 1)
        stride, result_stride = 4 * at_once * padded + LANES, 4 * at_once * self.outputs + LANES
        weights, bias, roots, x = flat(self._weights), self._bias.numpy(), twiddles(self.size), flat(maps)
        left = _products.Layout(stride, 2 * padded, 1, padded)
        plane = self.channels * self.outputs
        right = _products.Layout(2 * plane, self._panel, self.channels * self._panel, plane)
        result = _products.Layout(result_stride, 2 * self.outputs, self._panel, self.outputs)
        needs = frequencies * stride, frequencies * result_stride, *_scratch(self.size)
        with workspace.take(*needs) as (spectra, results, *scratch):
            for first in range(0, pairs, at_once):
                here = min(at_once, pairs - first)

                def forward(worker: int, start: int, stop: int, first: int = first) -> None:
                    _kernels.forward(x, tiles, padded, spectra, stride, roots, CONSTANTS, scratch[worker],
                                     first, first + start, first + stop)  # fmt: skip

                def product(_: int, start: int, stop: int, rows: int = 2 * here) -> None:
                    _products.product(spectra, left, weights, right, results, result, rows, self.channels,
                                      self.outputs, self._panel, start, stop)  # fmt: skip

                def inverse(worker: int, start: int, stop: int, first: int = first) -> None:
                    _kernels.inverse(results, result_stride, tiles, target, bias, y, roots, CONSTANTS,
                                     scratch[worker], first, first + start, first + stop)  # fmt: skip

                share(forward, here)
                share(product, frequencies)
                share(inverse, here)

    def _run_few(self, maps: Tensor, tiles: Tiles, target: TileTarget, y: Array, workspace: Workspace) -> None:
        """Do the same in two passes, for at most four channels; tiles go in groups of four pairs."""
        from cpm_port.engine import _kernels
        from cpm_port.engine._lines import CONSTANTS

        frequencies = self.size * (self.size // 2 + 1)
        pairs, at_once = shares(tiles, 4 * frequencies * 16, workspace.nbytes, 4)
        weights, bias, roots, x = flat(self._weights), self._bias.numpy(), twiddles(self.size), flat(maps)
        with workspace.take(at_once * frequencies * 16, *_scratch(self.size)) as (spectra, *scratch):
            for first in range(0, pairs, at_once):
                here = min(at_once, pairs - first)

                def forward(worker: int, start: int, stop: int, group: int = first // 4) -> None:
                    _kernels.forward_few(x, tiles, self.channels, spectra, roots, CONSTANTS, scratch[worker],
                                         group, group + start, group + stop)  # fmt: skip

                def inverse(worker: int, start: int, stop: int, first: int = first) -> None:
                    _kernels.inverse_few(spectra, self.channels, weights, tiles, target, bias, y, roots, CONSTANTS,
                                         scratch[worker], first, first + start, first + stop)  # fmt: skip

                share(forward, -(-here // 4))
                share(inverse, here)


def reference(x: Tensor, weight: Tensor, bias: Tensor | None, size: int) -> Tensor:
    """Return conv2d(x, weight, bias, padding=K // 2), computed in tiles of `size`: the engine's method, for reading.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (O, C, K, K), K odd
    """
    (count, _, height, width), (outputs, _, kernel, _) = x.shape, weight.shape
    valid = size - kernel + 1
    rows, columns = math.ceil(height / valid), math.ceil(width / valid)
    lead = kernel // 2
    padded = F.pad(x, (lead, columns * valid + size - width - lead, lead, rows * valid + size - height - lead))
    tiles = padded.unfold(2, size, valid).unfold(3, size, valid)[:, :, :rows, :columns]
    spectra = torch.fft.rfft2(tiles)
    products = torch.einsum("ncijyx,ocyx->noijyx", spectra, torch.fft.rfft2(weight, s=(size, size)).conj())
    kept = torch.fft.irfft2(products, s=(size, size))[..., :valid, :valid]
    y = kept.permute(0, 1, 2, 4, 3, 5).reshape(count, outputs, rows * valid, columns * valid)[..., :height, :width]
    biased: Tensor = y if bias is None else y + bias[:, None, None]
    return biased


def compiled() -> bool:
    """Tell whether numba compiles here (NUMBA_DISABLE_JIT is not set)."""
    return not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def _transform_weight(weight: Tensor, size: int, panel: int) -> Tensor:
    """Return the weights' spectra, shape (F, 2, O / panel, C, panel), conjugate and over T^2: one matrix product."""
    outputs, channels, kernel, _ = weight.shape
    columns = weight.reshape(outputs // panel, panel, channels, kernel**2).permute(3, 0, 2, 1).reshape(kernel**2, -1)
    matrix = _fourier_matrix(size, kernel)
    spectra = torch.from_numpy(aligned(len(matrix) * columns.shape[1])).view(len(matrix), -1)
    torch.mm(matrix, columns, out=spectra)
    return spectra.reshape(size * (size // 2 + 1), 2, outputs // panel, channels, panel)


@lru_cache(maxsize=8)
def _fourier_matrix(size: int, kernel: int) -> Tensor:
    """Return exp(2 pi i (ky y + kx x) / T) / T^2, shape (2 F, K^2): for each frequency cosines, then sines."""
    along = torch.arange(size, dtype=torch.float64)[:, None] * torch.arange(kernel) % size
    phase = along[:, None, :, None] + along[None, : size // 2 + 1, None, :]
    angle = (2 * math.pi / size) * phase.reshape(-1, kernel**2)
    return (torch.stack((angle.cos(), angle.sin()), 1).reshape(-1, kernel**2) / size**2).float()


@lru_cache(maxsize=8)
def twiddles(size: int) -> Array:
    """Return exp(-2 pi i n k / T), n < r2, k < r1, flat (r2, r1, 2)."""
    r1, r2 = TILE_SIZES[size]
    roots = np.exp(-2j * np.pi * np.outer(np.arange(r2), np.arange(r1)) / size)
    return np.stack([roots.real, roots.imag], -1).astype(np.float32).reshape(-1)


def _plain(x: Tensor) -> Tensor:
    """Return x as C-contiguous. NumPy copies: threads of torch's would go on spinning and take the cores from ours."""
    return torch.from_numpy(np.ascontiguousarray(x.detach().numpy()))


def channels_last(x: Tensor, multiple: int = 1) -> Tensor:
    """Return x as a C-contiguous (N, H, W, C') tensor, C' the channels padded with zeros to a multiple."""
    missing = -x.shape[1] % multiple
    maps = x.permute(0, 2, 3, 1)
    if missing == 0:
        return _plain(maps)
    padded = np.zeros((*maps.shape[:3], x.shape[1] + missing), np.float32)
    padded[..., : x.shape[1]] = maps.detach().numpy()
    return torch.from_numpy(padded)


def flat(tensor: Tensor) -> Array:
    """Return a contiguous tensor's memory as a flat array."""
    array: Array = tensor.detach().view(-1).numpy()
    return array


def _scratch(size: int) -> list[int]:
    """Return the scratch memory that each worker needs, floats."""
    from cpm_port.engine._kernels import scratch_floats

    return [scratch_floats(size)] * torch.get_num_threads()


def shares(tiles: Tiles, bytes_per_pair: int, workspace: int, unit: int) -> tuple[int, int]:
    """Return the number of pairs, and how many to take at a time: equal shares, multiples of `unit`."""
    pairs = (tiles.images * tiles.rows * tiles.columns + 1) // 2
    units = -(-pairs // unit)
    at_once = max(1, min(units, workspace // (bytes_per_pair * unit)))
    return pairs, -(-units // -(-units // at_once)) * unit
