"""Maximum: where each map is greatest, and how great. RTPose fork; oracle: NumPy.

The top is (N, C, 1, 3): x, y, value; of equal values the first in rows. No gradient, as in the original. It knowingly
differs from the fork's CPU code, which finds no maximum in a map without positive values; its GPU code does. Source:
CMU-Perceptual-Computing-Lab/caffe_rtpose@34590e5 `maximum_layer.cpp`, `maximum_layer.cu`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Maximum"]


@register("Maximum")
class Maximum(LayerModule):
    """Peak by map."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape (N, C, 1, 3)."""
        flat = x.flatten(2)
        value = flat.amax(2, keepdim=True)
        order = torch.arange(flat.shape[2], device=x.device)
        place = torch.where(flat == value, order, flat.shape[2]).amin(2, keepdim=True)
        width = x.shape[3]
        found = [(place % width).to(x.dtype), (place // width).to(x.dtype), value]
        return (torch.cat(found, dim=2).unsqueeze(2),)
