"""TanH: the hyperbolic tangent. Source: caffe `tanh_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["TanH"]


@register("TanH")
class TanH(LayerModule):
    """y = tanh(x)."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (x.tanh(),)
