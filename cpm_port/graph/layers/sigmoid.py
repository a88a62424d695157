"""Sigmoid. Source: caffe `sigmoid_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Sigmoid"]


@register("Sigmoid")
class Sigmoid(LayerModule):
    """y = 1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (x.sigmoid(),)
