"""A stride-1 convolution in the frequency domain, tile by tile, with bias, ReLU and max-pooling at the end.

A map is cut into tiles of T x T pixels that overlap by the kernel's size less one (overlap-save). Each tile's spectrum
is multiplied by the kernel's: one small complex matrix product per frequency, over the channels. Of what comes back,
the first T - K + 1 rows and columns are the convolution; the rest, where the tile wrapped around, is dropped. For K = 9
and T = 32 that takes 20 times fewer multiplications than the direct sum, at a float32 error that is no larger.

Conventions: tensors are NCHW in shape and channels-last in memory. float32 only, CPU only, no gradients.

It knowingly differs from a direct convolution in one thing: a value that is infinite or NaN spoils its whole tile.

`reference` says the same in a dozen lines of torch. It is what the tests hold the kernels to, and it takes over where
numba does not compile (NUMBA_DISABLE_JIT).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.engine._threads import share
from cpm_port.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cpm_port.engine._kernels import Target, Tiles

__all__ = ["TILE_SIZES", "FourierConv", "Pool", "reference", "tile_geometry"]

TILE_SIZES = {16: (4, 4), 24: (4, 6), 32: (4, 8), 36: (6, 6), 48: (6, 8), 64: (8, 8)}
"""Tile size -> the two lengths that a line is transformed by."""

FEW_CHANNELS = 8
"""With at most so many input channels the product is taken while transforming back, not in a pass of its own."""

LANES = 16


@dataclass(frozen=True)
class Pool:
    """Max-pooling without padding, sizes rounded up: a square window of `kernel`, every `stride` pixels."""

    kernel: int = 1
    stride: int = 1

    def size(self, length: int) -> int:
        """Return the pooled length."""
        return -(-(length - self.kernel) // self.stride) + 1


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
    rectify : bool
        Whether a ReLU follows.
    pool : Pool
        What follows the ReLU.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, size: int, rectify: bool = False, pool: Pool | None = None
    ) -> None:
        outputs, channels, kernel, width = weight.shape
        if kernel != width or kernel % 2 == 0 or outputs % LANES:
            raise ShapeError(
                f"weight is {tuple(weight.shape)}, expected (O, C, K, K) with O a multiple of {LANES} and K odd"
            )
        self.outputs, self.channels, self.kernel = outputs, channels, kernel
        self.size, self.rectify, self.pool = size, rectify, pool or Pool()
        self.panel = 32 if outputs % 32 == 0 else 16
        with torch.no_grad():
            self._bias = torch.zeros(outputs) if bias is None else bias.detach().clone()
            self._weights = (
                _transform_weight(weight.detach(), size, self.panel) if _compiled() else weight.detach().clone()
            )

    @property
    def nbytes(self) -> int:
        """Memory that the transformed weights take, bytes."""
        return self._weights.nbytes

    def __call__(self, x: Tensor, workspace: int = 1 << 27) -> Tensor:
        """Convolve with zero padding K // 2 ('same'), then add the bias, rectify and pool.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W), float32
            Any memory layout; channels-last with a multiple of 16 channels is used without a copy.
        workspace : int
            Bytes that the spectra may take; they are made for as many tiles at a time (for one pair at least).

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
        geometry = tile_geometry(height, width, self.kernel, self.size, self.pool)
        if geometry is None or min(self.pool.size(height), self.pool.size(width)) < 1:
            raise ShapeError(f"input is {tuple(x.shape)}: nothing left after {self.pool} in tiles of {self.size}")
        if not _compiled():
            y = reference(x, self._weights, self._bias, self.size)
            y = F.max_pool2d(y.relu() if self.rectify else y, self.pool.kernel, self.pool.stride, ceil_mode=True)
            return y.contiguous(memory_format=torch.channels_last)
        from cpm_port.engine._kernels import Target, Tiles

        tiles = Tiles(count, height, width, geometry.rows, geometry.columns, geometry.step, self.kernel // 2,
                      self.size, *TILE_SIZES[self.size])  # fmt: skip
        target = Target(self.pool.size(height), self.pool.size(width), self.outputs, self.pool.kernel, self.pool.stride,
                        geometry.per_tile, int(self.rectify))  # fmt: skip
        maps = _channels_last(x)
        y = torch.empty((count, target.height, target.width, self.outputs))
        self._run(maps, tiles, target, _flat(y), workspace)
        return y.permute(0, 3, 1, 2)

    def _run(self, maps: Tensor, tiles: Tiles, target: Target, y: NDArray[np.float32], workspace: int) -> None:
        """Take the pairs of tiles through the three passes, as many at a time as the workspace holds."""
        from cpm_port.engine import _kernels

        pairs = (tiles.images * tiles.rows * tiles.columns + 1) // 2
        frequencies = self.size * (self.size // 2 + 1)
        padded = maps.shape[3]
        separate = self.channels > FEW_CHANNELS
        per_pair = 4 * frequencies * 4 * (padded + (self.outputs if separate else 0))
        at_once = max(1, min(pairs, workspace // per_pair))
        at_once = -(-pairs // -(-pairs // at_once))  # equal shares
        stride = 4 * at_once * padded + LANES
        result_stride = 4 * at_once * self.outputs + LANES
        spectra = _buffer(frequencies * stride)
        results = _buffer(frequencies * result_stride) if separate else spectra
        scratch = [_buffer(_kernels.scratch_floats(self.size)) for _ in range(torch.get_num_threads())]
        weights, bias, twiddles, x = _flat(self._weights), self._bias.numpy(), _twiddles(self.size), _flat(maps)

        for first in range(0, pairs, at_once):
            here = min(at_once, pairs - first)

            def forward(worker: int, start: int, stop: int, first: int = first) -> None:
                _kernels.forward(x, tiles, padded, spectra, stride, twiddles, _kernels.CONSTANTS, scratch[worker],
                                 first, first + start, first + stop)  # fmt: skip

            def product(_: int, start: int, stop: int, rows: int = 2 * here) -> None:
                _kernels.product(spectra, stride, padded, self.channels, weights, self.panel, self.outputs, results,
                                 result_stride, rows, start, stop)  # fmt: skip

            def inverse(worker: int, start: int, stop: int, first: int = first) -> None:
                channels, step, depth = (
                    (self.outputs, result_stride, 0) if separate else (padded, stride, self.channels)
                )
                _kernels.inverse(results, step, channels, depth, weights, self.panel, tiles, target, bias, y, twiddles,
                                 _kernels.CONSTANTS, scratch[worker], first, first + start, first + stop)  # fmt: skip

            share(forward, here)
            if separate:
                share(product, frequencies)
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


def _compiled() -> bool:
    return not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def _transform_weight(weight: Tensor, size: int, panel: int) -> Tensor:
    """Return the weights' spectra, shape (F, 2, O / panel, C, panel), conjugate and over T^2: one matrix product."""
    outputs, channels, kernel, _ = weight.shape
    columns = weight.reshape(outputs // panel, panel, channels, kernel**2).permute(3, 0, 2, 1).reshape(kernel**2, -1)
    spectra = _fourier_matrix(size, kernel) @ columns
    return spectra.reshape(size * (size // 2 + 1), 2, outputs // panel, channels, panel)


@lru_cache(maxsize=8)
def _fourier_matrix(size: int, kernel: int) -> Tensor:
    """Return exp(2 pi i (ky y + kx x) / T) / T^2, shape (2 F, K^2): for each frequency cosines, then sines."""
    along = torch.arange(size, dtype=torch.float64)[:, None] * torch.arange(kernel) % size
    phase = along[:, None, :, None] + along[None, : size // 2 + 1, None, :]
    angle = (2 * math.pi / size) * phase.reshape(-1, kernel**2)
    return (torch.stack((angle.cos(), angle.sin()), 1).reshape(-1, kernel**2) / size**2).float()


@lru_cache(maxsize=8)
def _twiddles(size: int) -> NDArray[np.float32]:
    """Return exp(-2 pi i n k / T), n < r2, k < r1, flat (r2, r1, 2)."""
    r1, r2 = TILE_SIZES[size]
    roots = np.exp(-2j * np.pi * np.outer(np.arange(r2), np.arange(r1)) / size)
    return np.stack([roots.real, roots.imag], -1).astype(np.float32).reshape(-1)


def _channels_last(x: Tensor) -> Tensor:
    """Return x as a C-contiguous (N, H, W, C') tensor, C' the channels padded to a multiple of 16 with zeros."""
    missing = -x.shape[1] % LANES
    maps = x.permute(0, 2, 3, 1)
    if missing == 0:
        return maps.contiguous()
    padded = torch.zeros((*maps.shape[:3], x.shape[1] + missing))
    padded[..., : x.shape[1]] = maps
    return padded


def _flat(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().view(-1).numpy()
    return array


def _buffer(floats: int) -> Any:
    return torch.empty(floats).numpy()
