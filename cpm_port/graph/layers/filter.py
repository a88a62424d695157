"""Filter: of every bottom but the last, the items whose selector (the last bottom) is not 0, in their order.

How many there are is known when the layer runs; before, its tops have the bottoms' shapes. Source: caffe
`filter_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Filter"]


@register("Filter")
class Filter(LayerModule):
    """y = x[selector != 0], along axis 0."""

    shaped_by_values = True

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """Return one top per bottom but the selector."""
        kept = bottoms[-1].detach().flatten() != 0
        return tuple(x[kept] for x in bottoms[:-1])
