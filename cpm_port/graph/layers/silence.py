"""Silence: takes blobs that no other layer reads, so that they are not outputs of the net.

Source: caffe `silence_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Silence"]


@register("Silence")
class Silence(LayerModule):
    """No tops, no gradient."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """Return nothing."""
        return ()
