"""Reshape: other axes over the same values. Source: caffe `reshape_layer.cpp`.

`shape` replaces `num_axes` axes (-1: all that follow) from `axis` on, where a negative axis counts from
behind the last one. A dimension 0 copies the bottom's, -1 is inferred.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Reshape"]


@register("Reshape")
class Reshape(LayerModule):
    """The bottom's values in another shape."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return a view where memory allows."""
        p = self.spec.params.reshape_param
        start = p.axis if p.axis >= 0 else x.dim() + p.axis + 1
        end = x.dim() if p.num_axes == -1 else start + p.num_axes
        middle = [x.shape[start + index] if dim == 0 else dim for index, dim in enumerate(p.shape.dim)]
        return (x.reshape((*x.shape[:start], *middle, *x.shape[end:])),)
