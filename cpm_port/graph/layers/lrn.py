"""LRN: local response normalization, across channels or within each.

ACROSS_CHANNELS divides by (k + alpha/n * sum of n neighbouring channels' squares) ^ beta. WITHIN_CHANNEL
multiplies by (1 + alpha * mean square of an n x n window, padded with zeros that count) ^ -beta: there `k` is
ignored, as in Caffe.

Source: caffe `lrn_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["LRN"]


def _refuse(spec: LayerSpec) -> str | None:
    size = spec.params.lrn_param.local_size
    return None if size % 2 else f"local_size {size}: Caffe takes odd sizes only"


@register("LRN", refuse=_refuse)
class LRN(LayerModule):
    """Normalization by the neighbours' energy; `local_size` is odd."""

    message = "lrn_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Normalize `x`, shape (N, C, H, W)."""
        p = self.fields
        if p.norm_region == "ACROSS_CHANNELS":
            return (F.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k),)
        energy = F.avg_pool2d(x.square(), p.local_size, 1, (p.local_size - 1) // 2)
        return (x * (1 + p.alpha * energy).pow(-p.beta),)
