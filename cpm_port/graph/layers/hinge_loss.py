"""HingeLoss: the one-against-all hinge over scores (N, classes), by its L1 or squared L2 norm, over the batch.

Source: caffe `hinge_loss_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.module import Shape
from cpm_port.graph.registry import register

__all__ = ["HingeLoss"]


@register("HingeLoss")
class HingeLoss(LossModule):
    """loss = sum(max(0, 1 + s)^norm) / N, where s is the score, negated at the label."""

    message = "hinge_loss_param"

    def num_labels(self, prediction: Shape) -> int:
        """Return the batch: one label per item."""
        return prediction[0]

    def forward(self, scores: Tensor, labels: Tensor) -> tuple[Tensor]:
        """Return a scalar."""
        scores = scores.unsqueeze(1).flatten(1)
        label = as_indices(labels.flatten(), scores.shape[1], self.spec)[:, None]
        signs = torch.ones_like(scores).scatter(1, label, -1.0)
        margin = (1 + signs * scores).clamp(min=0)
        squared = self.fields.norm == "L2"
        return ((margin.square() if squared else margin).sum() / scores.shape[0],)
