"""BNLL: the binomial normal log likelihood, a smooth ReLU. Source: caffe `bnll_layer.cpp`.

For x over 20 it returns x itself: the two differ by less than exp(-20).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["BNLL"]


@register("BNLL")
class BNLL(LayerModule):
    """y = log(1 + exp(x))."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        return (F.softplus(x),)
