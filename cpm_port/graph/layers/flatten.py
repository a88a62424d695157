"""Flatten: the axes from `axis` to `end_axis`, both included, become one. Source: caffe `flatten_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Flatten"]


@register("Flatten")
class Flatten(LayerModule):
    """Neighbouring axes merged."""

    message = "flatten_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return a view where memory allows."""
        p = self.fields
        return (x.flatten(p.axis, p.end_axis),)
