"""Caffe's pooling over (H, W), for Pooling and SPP: torch's where it agrees, spelt out where it does not.

The output size rounds up (`ceil`); with padding, a last window that starts beyond the input and its leading
padding is dropped. Without padding nothing is dropped, so a stride larger than the kernel can leave windows
wholly outside: their maximum is -FLT_MAX, their index -1, their average 0 / 0 = NaN. An average divides by the
window clipped to the padded input, padding included.

It knowingly differs: torch's maximum over a window with a NaN is NaN, Caffe's skips NaNs.

Source: caffe `pooling_layer.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe.layer_types.windows import pooled_sizes

__all__ = ["PoolWindow", "average_pool", "max_pool"]

Pair = tuple[int, ...]  # (height, width)


@dataclass(frozen=True)
class PoolWindow:
    """Kernel, stride and padding as (height, width), and whether the output size rounds up.

    `end` is the padding behind the last value, `pad` again where it is not given; `dilation` the distance between a
    window's values.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    ceil: bool = True
    end: Pair | None = None
    dilation: Pair = (1, 1)

    @property
    def trailing(self) -> Pair:
        """The padding behind the last value."""
        return self.pad if self.end is None else self.end

    @property
    def reach(self) -> Pair:
        """How far a window extends."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def output_size(self, height: int, width: int) -> Pair:
        """Return the pooled (height, width)."""
        window = (self.kernel, self.stride, self.pad, self.dilation)
        return pooled_sizes((height, width), window, self.trailing, ceil=self.ceil)

    def suits_torch(self, height: int, width: int) -> bool:
        """Tell whether torch has the same windows: it pads by half a kernel at most, and drops windows always."""
        if self.trailing != self.pad or self.dilation != (1, 1):
            return False
        out = self.output_size(height, width)
        axes = zip((height, width), self.kernel, self.stride, self.pad, out, strict=True)
        return all(2 * pad <= kernel and (n - 1) * stride < size + pad for size, kernel, stride, pad, n in axes)


def max_pool(x: Tensor, window: PoolWindow, *, with_indices: bool = False) -> tuple[Tensor, ...]:
    """Return the maxima and, on request, their flat indices h * W + w as floats (the first of equal values).

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    """
    height, width = x.shape[2:]
    if window.suits_torch(height, width):
        geometry = (window.kernel, window.stride, window.pad, 1)
        if not with_indices:
            return (F.max_pool2d(x, *geometry, ceil_mode=window.ceil),)
        found, index = F.max_pool2d(x, *geometry, ceil_mode=window.ceil, return_indices=True)
        return found, index.to(_exact(x))
    lowest = torch.finfo(x.dtype).min
    (top, left), (rows, columns) = window.pad, window.output_size(height, width)
    padded = _pad(x, window, lowest)
    found, index = F.max_pool2d(padded, window.kernel, window.stride, 0, window.dilation, return_indices=True)
    found, index = found[..., :rows, :columns], index[..., :rows, :columns]
    if not with_indices:
        return (found,)
    row, column = index // padded.shape[3] - top, index % padded.shape[3] - left
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return found, torch.where(inside, row * width + column, -1).to(_exact(x))


def _exact(x: Tensor) -> torch.dtype:
    """Return the type that indices of a map are given in: bfloat16 has no whole numbers between 256 and 258."""
    return torch.promote_types(x.dtype, torch.float32)


def average_pool(x: Tensor, window: PoolWindow) -> Tensor:
    """Return the averages of `x`, shape (N, C, H, W)."""
    height, width = x.shape[2:]
    if window.suits_torch(height, width):
        return F.avg_pool2d(x, window.kernel, window.stride, window.pad, ceil_mode=window.ceil, count_include_pad=True)
    rows, columns = window.output_size(height, width)
    padded = _pad(x, window, 0.0)
    if window.dilation == (1, 1):
        total = F.avg_pool2d(padded, window.kernel, window.stride, divisor_override=1)
    else:
        geometry: Any = {"stride": window.stride, "dilation": window.dilation}
        total = F.conv2d(padded.flatten(0, 1).unsqueeze(1), x.new_ones((1, 1, *window.kernel)), **geometry)
        total = total.reshape(*x.shape[:2], *total.shape[2:])
    total = total[..., :rows, :columns]
    return total / (_spans(window, 0, height, rows, x)[:, None] * _spans(window, 1, width, columns, x)[None, :])


def _pad(x: Tensor, window: PoolWindow, value: float) -> Tensor:
    """Pad `x` so that every window lies inside."""
    sides: list[int] = []
    sizes = (x.shape[2], x.shape[3])
    for axis in (1, 0):
        out = window.output_size(*sizes)[axis]
        after = (out - 1) * window.stride[axis] + window.reach[axis] - sizes[axis] - window.pad[axis]
        sides += [window.pad[axis], max(0, after)]
    return F.pad(x, sides, value=value)


def _spans(window: PoolWindow, axis: int, size: int, out: int, like: Tensor) -> Tensor:
    """Return how many values each window has along one axis, those behind the trailing padding left out."""
    start = torch.arange(out, device=like.device) * window.stride[axis] - window.pad[axis]
    extent = (start + window.reach[axis]).clamp(max=size + window.trailing[axis]) - start
    return ((extent - 1) // window.dilation[axis] + 1).to(like.dtype)
