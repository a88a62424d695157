"""Switch: the last of its bottoms. RTPose fork, where a program may choose another; oracle: worked by hand.

The gradient goes to the last bottom alone. Source: CMU-Perceptual-Computing-Lab/caffe_rtpose@182633d
`switch_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Switch"]


@register("Switch")
class Switch(LayerModule):
    """y = the last bottom."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor]:
        """Return one top."""
        return (bottoms[-1],)
