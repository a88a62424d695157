"""Clip: values held between two bounds; the gradient passes on the bounds themselves.

Source: caffe `clip_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Clip"]


@register("Clip")
class Clip(LayerModule):
    """y = min(max(x, min), max)."""

    message = "clip_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        p = self.fields
        # From torch 2.15 on, `clamp` passes no gradient on the bounds.
        return (torch.where((x >= p.min) & (x <= p.max), x, x.detach().clamp(p.min, p.max)),)
