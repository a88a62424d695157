"""ELU: the exponential linear unit. Source: caffe `elu_layer.cpp`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ELU"]


@register("ELU")
class ELU(LayerModule):
    """y = x where x > 0, else alpha (exp(x) - 1)."""

    message = "elu_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (F.elu(x, self.fields.alpha),)
