"""SPP: spatial pyramid pooling: the map pooled into 1 x 1, 2 x 2, 4 x 4, ... bins, flattened and joined.

Bins are ceil(size / bins) wide, and the padding centers them. Source: caffe `spp_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.errors import LayerError
from cpm_port.graph.layers._pool2d import Pair, PoolWindow, average_pool, max_pool
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["SPP"]


def _refuse(spec: LayerSpec) -> str | None:
    return "STOCHASTIC pooling" if spec.params.spp_param.pool == "STOCHASTIC" else None


@register("SPP", refuse=_refuse)
class SPP(LayerModule):
    """`pyramid_height` poolings of one map, as one vector per item."""

    message = "spp_param"

    def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the top's shape; raise `LayerError` for a map that does not fill the bins of some level."""
        tops = super().top_shapes(bottom_shapes)
        height, width = bottom_shapes[0][2:]
        for level in range(self.fields.pyramid_height):
            window = _bins(height, width, 2**level)
            if any(pad >= kernel for pad, kernel in zip(window.pad, window.kernel, strict=True)):
                raise LayerError(
                    f"layer {self.spec.name!r} (SPP): {2**level} bins over {(height, width)}: "
                    f"pad {window.pad} is not smaller than kernel {window.kernel}"
                )
        return tops

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape (N, C * (4^height - 1) / 3); (N, C, 1, 1) for a pyramid of one level, as Caffe does."""
        p = self.fields
        parts = []
        for level in range(p.pyramid_height):
            window = _bins(x.shape[2], x.shape[3], 2**level)
            pooled = average_pool(x, window) if p.pool == "AVE" else max_pool(x, window)[0]
            if p.pyramid_height == 1:
                return (pooled,)
            parts.append(pooled.flatten(1))
        return (torch.cat(parts, dim=1),)


def _bins(height: int, width: int, bins: int) -> PoolWindow:
    kernel: Pair = (-(-height // bins), -(-width // bins))
    pad: Pair = ((kernel[0] * bins - height + 1) // 2, (kernel[1] * bins - width + 1) // 2)
    return PoolWindow(kernel, kernel, pad)
