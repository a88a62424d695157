"""Reduction: all axes from `axis` on become one number, times `coeff`: SUM, ASUM, SUMSQ or MEAN.

Source: caffe `reduction_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Reduction"]


@register("Reduction")
class Reduction(LayerModule):
    """Sum, sum of magnitudes, sum of squares, or mean."""

    message = "reduction_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape x.shape[:axis]."""
        p = self.fields
        axis = p.axis % x.dim()
        dims = tuple(range(axis, x.dim()))
        if p.operation == "MEAN":
            return (p.coeff * x.mean(dims),)
        values = x.abs() if p.operation == "ASUM" else x.square() if p.operation == "SUMSQ" else x
        return (p.coeff * values.sum(dims),)
