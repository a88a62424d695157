"""ReLU6: the rectifier cut off at 6. MobileNet forks; oracle: NumPy's clip.

Source: the forks that carry it agree on min(max(x, 0), 6), and on a gradient of 1 between.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ReLU6", "relu6"]

_CEILING = 6.0


def relu6(x: Tensor) -> Tensor:
    """Return `x` cut off at 0 and 6; the gradient there is 0."""
    return F.hardtanh(x, 0.0, _CEILING)


@register("ReLU6")
class ReLU6(LayerModule):
    """y = min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (relu6(x),)
