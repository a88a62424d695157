"""SigmoidCrossEntropyLoss: the cross entropy of sigmoid(x) with targets from 0 to 1.

It is summed over the item and divided by the batch. `loss_param` may choose another normalization and an
`ignore_label`. Source: caffe `sigmoid_cross_entropy_loss_layer.cpp`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.layers._normalization import normalizer
from cpm_port.graph.registry import register

__all__ = ["SigmoidCrossEntropyLoss"]


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossModule):
    """loss = -sum(t log s + (1 - t) log(1 - s)) / normalizer, s = sigmoid(x)."""

    message = "loss_param"

    def forward(self, x: Tensor, targets: Tensor) -> tuple[Tensor]:
        """Return a scalar; the targets get no gradient."""
        params = self.fields
        targets = targets.detach().reshape(x.shape)
        terms = F.binary_cross_entropy_with_logits(x, targets, reduction="none")
        counted = torch.ones_like(targets, dtype=torch.bool)
        if "ignore_label" in self.given:
            counted = targets.long() != params.ignore_label
        return (torch.where(counted, terms, 0).sum() / normalizer(self, counted, x.shape[0], "BATCH_SIZE"),)
