"""Axpy: y = a x + b, a one number per channel. SENet's fork; oracle: literal loops.

Bottoms: a (N, C) or (N, C, 1, 1), x and b (N, C, ...). Source: hujie-frank/SENet@0262d43 `axpy_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Axpy"]


@register("Axpy")
class Axpy(LayerModule):
    """Scale and add."""

    def forward(self, scale: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor]:
        """Return one top of x's shape."""
        return (scale.reshape(*x.shape[:2], *[1] * (x.dim() - 2)) * x + y,)
