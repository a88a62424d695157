"""Softmax over one axis. Source: caffe `softmax_layer.cpp`."""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Softmax"]


@register("Softmax")
class Softmax(LayerModule):
    """Exponentials over `axis`, divided by their sum."""

    message = "softmax_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (torch.softmax(x, self.fields.axis),)
