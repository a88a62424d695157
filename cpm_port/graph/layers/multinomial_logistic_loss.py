"""MultinomialLogisticLoss: the mean negative log of the label's probability; the bottom holds probabilities (N,
classes).

Probabilities count as at least 1e-20, also in the gradient. Source: caffe `multinomial_logistic_loss_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.layers._surrogate import with_gradient_of
from cpm_port.graph.module import Shape
from cpm_port.graph.registry import register

__all__ = ["MultinomialLogisticLoss"]

_FLOOR = 1e-20


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LossModule):
    """loss = -sum(log p[label]) / N."""

    def num_labels(self, prediction: Shape) -> int:
        """Return the batch: one label per item."""
        return prediction[0]

    def forward(self, probabilities: Tensor, labels: Tensor) -> tuple[Tensor]:
        """Return a scalar."""
        probabilities = probabilities.unsqueeze(1).flatten(1)
        label = as_indices(labels.flatten(), probabilities.shape[1], self.spec)
        own = probabilities.gather(1, label[:, None])
        own = with_gradient_of(own.clamp(min=_FLOOR), own)
        return (-own.log().sum() / probabilities.shape[0],)
