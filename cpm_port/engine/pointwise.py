"""A 1 x 1 convolution on channels-last maps: one matrix product, with bias and ReLU on its way out.

It stands beside `fft.py`: a Fourier convolution with tiles of one pixel is this. Conventions as there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.compute.memory import Workspace, empty
from cpm_port.compute.threads import share
from cpm_port.engine.fft import LANES, NO_POOL, Pool, channels_last, compiled, flat
from cpm_port.errors import ShapeError

__all__ = ["PointwiseConv"]


class PointwiseConv:
    """A 1 x 1 convolution's weights, packed for the kernel.

    Parameters
    ----------
    weight : Tensor, shape (O, C, 1, 1), float32
        Copied, O padded to a multiple of 16.
    bias : Tensor, shape (O,), or None
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        outputs, channels, *kernel = weight.shape
        if kernel != [1, 1]:
            raise ShapeError(f"weight is {tuple(weight.shape)}, expected (O, C, 1, 1)")
        self.outputs, self.channels = outputs, channels
        self._padded = -(-outputs // LANES) * LANES
        with torch.no_grad():
            self._bias = torch.zeros(self._padded)
            if bias is not None:
                self._bias[:outputs] = bias
            if compiled():
                from cpm_port.engine._products import panel_of

                self._panel = panel_of(self._padded)
                packed = F.pad(weight.view(outputs, channels), (0, 0, 0, self._padded - outputs))
                self._weights = packed.view(-1, self._panel, channels).transpose(1, 2).contiguous()
            else:
                self._weights = weight.detach().clone()

    @property
    def nbytes(self) -> int:
        """Memory that the packed weights take, bytes."""
        return self._weights.nbytes

    def __call__(
        self, x: Tensor, rectify: bool = False, pool: Pool = NO_POOL, _workspace: Workspace | None = None
    ) -> Tensor:
        """Convolve, then add the bias, rectify and pool; parameters as those of `FourierConv`, whose twin this is.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W), float32
            Any memory layout; channels-last is used without a copy.

        Returns
        -------
        Tensor, shape (N, O, H', W')
            Channels innermost in memory (with a gap between pixels where O is no multiple of 16).

        Raises
        ------
        ShapeError
            `x` has another number of channels than the weights.
        """
        if x.dim() != 4 or x.shape[1] != self.channels or x.dtype != torch.float32:
            raise ShapeError(f"input is {tuple(x.shape)} {x.dtype}, expected (N, {self.channels}, H, W) float32")
        if not compiled():
            plain = F.conv2d(x, self._weights, self._bias[: self.outputs])
            return _pooled(plain.relu_() if rectify else plain, pool)
        from cpm_port.engine import _products

        count, _, height, width = x.shape
        maps = channels_last(x)
        y = empty(count, height, width, self._padded)
        pixels, weights, bias, results = (flat(tensor) for tensor in (maps, self._weights, self._bias, y))

        def run(_: int, start: int, stop: int) -> None:
            _products.pointwise(pixels, weights, bias, results, self._panel, self.channels, self._padded, int(rectify),
                                start, stop)  # fmt: skip

        share(run, count * height * width)
        return _pooled(y[..., : self.outputs].permute(0, 3, 1, 2), pool)


def _pooled(y: Tensor, pool: Pool) -> Tensor:
    return y if pool.kernel == 1 else F.max_pool2d(y, pool.kernel, pool.stride, ceil_mode=True)
