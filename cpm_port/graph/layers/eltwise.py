"""Eltwise: bottoms of one shape combined by SUM (with coefficients), PROD or MAX.

MAX routes the whole gradient to one bottom. Of equal values the second of the first two wins, and the earlier
against every later one, as Caffe's comparisons do. `stable_prod_grad` names two ways to the same product
gradient. Source: caffe `eltwise_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Eltwise"]


@register("Eltwise")
class Eltwise(LayerModule):
    """Elementwise combination of two or more bottoms."""

    message = "eltwise_param"

    def forward(self, *bottoms: Tensor) -> tuple[Tensor]:
        """Combine the bottoms from first to last."""
        p = self.fields
        top, *others = bottoms
        if p.operation == "SUM" and p.coeff:
            top = p.coeff[0] * top
            for coefficient, other in zip(p.coeff[1:], others, strict=True):
                top = top + coefficient * other
            return (top,)
        for index, other in enumerate(others):
            if p.operation == "SUM":
                top = top + other
            elif p.operation == "PROD":
                top = top * other
            else:
                keep = top > other if index == 0 else top >= other
                top = torch.where(keep, top, other)
        return (top,)
