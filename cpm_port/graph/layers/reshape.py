"""Reshape: other axes over the same values. Source: caffe `reshape_layer.cpp`.

`shape` replaces `num_axes` axes (-1: all that follow) from `axis` on, where a negative axis counts from
behind the last one. A dimension 0 copies the bottom's, -1 is inferred.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["Reshape"]


@register("Reshape")
class Reshape(LayerModule):
    """The bottom's values in another shape."""

    message = "reshape_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.dims: tuple[int, ...] = self.fields.shape.dim

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return a view where memory allows."""
        p = self.fields
        start = p.axis if p.axis >= 0 else x.dim() + p.axis + 1
        end = x.dim() if p.num_axes == -1 else start + p.num_axes
        middle = [x.shape[start + index] if dim == 0 else dim for index, dim in enumerate(self.dims)]
        return (x.reshape((*x.shape[:start], *middle, *x.shape[end:])),)
