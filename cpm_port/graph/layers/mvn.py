"""MVN: mean-variance normalization of each channel of each item, or of each item as a whole (`across_channels`).

`eps` is added to the standard deviation, not to the variance, and Caffe's gradient takes their sum for the
standard deviation: it stays finite on constant inputs. Source: caffe `mvn_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.layers._surrogate import with_gradient_of
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["MVN"]


@register("MVN")
class MVN(LayerModule):
    """y = (x - mean) / (standard deviation + eps), or x - mean where `normalize_variance` is off."""

    message = "mvn_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Normalize `x`, shape (N, C, H, W)."""
        p = self.fields
        dims = tuple(range(1 if p.across_channels else 2, x.dim()))
        centered = x - x.mean(dims, keepdim=True)
        if not p.normalize_variance:
            return (centered,)
        scale = centered.square().mean(dims, keepdim=True).sqrt() + p.eps
        y = centered / scale
        if not (torch.is_grad_enabled() and x.requires_grad):
            return (y,)
        y, scale = y.detach(), scale.detach()
        return (with_gradient_of(y, (centered - y * (x * y).mean(dims, keepdim=True)) / scale),)
