"""Log: the logarithm of a scaled, shifted input; base -1 means e. Source: caffe `log_layer.cpp`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Log"]


@register("Log")
class Log(LayerModule):
    """y = log_base(shift + scale x)."""

    message = "log_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        p = self.fields
        inner = x if p.scale == 1 and p.shift == 0 else p.scale * x + p.shift
        return (torch.log(inner) if p.base == -1 else torch.log(inner) / math.log(p.base),)
