"""Permute: the bottom's axes in another order. SSD fork; oracles: OpenCV 4's importer, NumPy's transpose.

`permute_param.order` names axes of the bottom; axes that it does not name follow in their order. Source: weiliu89/caffe
`permute_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe.layer_types.ssd import permuted_axes
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Permute"]


@register("Permute")
class Permute(LayerModule):
    """y = x with its axes permuted."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top, C-ordered."""
        return (x.permute(permuted_axes(self.spec, tuple(x.shape))).contiguous(),)
