"""PReLU: a rectifier whose negative slope is learned, per channel or shared by all.

Parameter 0: the slopes, (channels,), or () where `channel_shared`; a quarter where no filler is given.
Source: caffe `prelu_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["PReLU"]


@register("PReLU")
class PReLU(LayerModule):
    """y = max(x, 0) + slope min(x, 0)."""

    message = "prelu_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the slopes' filler."""
        p = self.fields
        return [p.filler if "filler" in self.given else 0.25]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Apply the slopes along axis 1."""
        return (F.prelu(x, self.blob(0).view(-1)),)
