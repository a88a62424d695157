"""Threshold: 1 where the input is above, 0 where it is not; no gradient. Source: caffe `threshold_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Threshold"]


@register("Threshold")
class Threshold(LayerModule):
    """y = 1 where x > threshold, else 0."""

    message = "threshold_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return ((x > self.fields.threshold).to(x.dtype),)
