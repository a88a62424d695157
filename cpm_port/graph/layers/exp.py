"""Exp: a scaled, shifted power of a base; base -1 means e. Source: caffe `exp_layer.cpp`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Exp"]


@register("Exp")
class Exp(LayerModule):
    """y = base ^ (shift + scale x)."""

    message = "exp_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        p = self.fields
        log_base = 1.0 if p.base == -1 else math.log(p.base)
        return (math.exp(log_base * p.shift) * torch.exp(log_base * p.scale * x),)
