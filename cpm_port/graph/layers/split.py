"""Split: the same blob under several names; Caffe inserts it where a blob has several readers.

Source: caffe `split_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Split"]


@register("Split")
class Split(LayerModule):
    """Every top is the bottom; gradients add up."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the bottom once per top."""
        return (x,) * len(self.spec.tops)
