"""Power: a power of a scaled, shifted input. Source: caffe `power_layer.cpp`.

Power 0 gives 1 everywhere and no gradient, also where the inner value is 0, as Caffe does.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Power"]


@register("Power")
class Power(LayerModule):
    """y = (shift + scale x) ^ power."""

    message = "power_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        p = self.fields
        inner = p.scale * x + p.shift
        return (inner if p.power == 1 else inner.pow(p.power),)
