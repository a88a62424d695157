"""Normalize: every position's values over their Euclidean length, times a learned scale. SSD fork; oracles: OpenCV 4,
NumPy.

y = scale x / sqrt(sum of squares + eps), the sum over channels, or with `across_spatial` over the whole item. Parameter
0: the scale, one number with `channel_shared`, else one per channel; 1 where no filler is given. Source: weiliu89/caffe
`normalize_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.layers._broadcast import lay_over
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Normalize"]


@register("Normalize")
class Normalize(LayerModule):
    """Length 1, then scaled."""

    message = "norm_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the scale's filler."""
        return [self.fields.scale_filler if "scale_filler" in self.given else 1.0]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        p = self.fields
        dims = tuple(range(1, x.dim())) if p.across_spatial else (1,)
        length = (x.square().sum(dims, keepdim=True) + p.eps).sqrt()
        return (x / length * lay_over(self.blob(0), x, 1),)
