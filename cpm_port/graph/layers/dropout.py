"""Dropout: random zeros in phase TRAIN, the identity in phase TEST. Source: caffe `dropout_layer.cpp`.

What is kept is scaled by 1 / (1 - dropout_ratio) while training. The draws are torch's, not Caffe's: one for each value
in the blob's order, however it lies in memory, so that one seed gives one result.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Dropout"]


@register("Dropout")
class Dropout(LayerModule):
    """y = x in TEST; in TRAIN each value is zeroed with probability dropout_ratio."""

    message = "dropout_param"

    @property
    def replayable(self) -> bool:
        """Whether nothing is drawn."""
        return not self.trains

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return one top of the bottom's shape."""
        in_order = x.contiguous() if self.trains else x
        return (F.dropout(in_order, self.fields.dropout_ratio, training=self.trains),)
