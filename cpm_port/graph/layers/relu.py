"""ReLU: the rectifier, with Caffe's `negative_slope`; the gradient at 0 is that of the negative side.

A fork's `relu6: true` cuts it off at 6 (`relu6.py`).

Source: caffe `relu_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.layers.relu6 import relu6
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ReLU"]


@register("ReLU")
class ReLU(LayerModule):
    """y = max(x, 0) + negative_slope min(x, 0)."""

    message = "relu_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        slope = self.fields.negative_slope
        if self.fields.relu6:
            return (relu6(x),)
        return (F.relu(x) if slope == 0 else F.leaky_relu(x, slope),)
