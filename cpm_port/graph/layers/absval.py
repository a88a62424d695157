"""AbsVal: the absolute value; its gradient at 0 is 0. Source: caffe `absval_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["AbsVal"]


@register("AbsVal")
class AbsVal(LayerModule):
    """y = |x|."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (x.abs(),)
