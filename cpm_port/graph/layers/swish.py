"""Swish: a self-gated unit. Source: caffe `swish_layer.cpp`."""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Swish"]


@register("Swish")
class Swish(LayerModule):
    """y = x sigmoid(beta x)."""

    message = "swish_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (x * torch.sigmoid(self.fields.beta * x),)
