"""EuclideanLoss: the sum of squared differences over twice the batch (not a mean over pixels).

Both bottoms get gradients. Source: caffe `euclidean_loss_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.registry import register

__all__ = ["EuclideanLoss"]


@register("EuclideanLoss")
class EuclideanLoss(LossModule):
    """loss = sum((a - b)^2) / (2 N)."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor]:
        """Return a scalar."""
        return ((a - b.reshape(a.shape)).square().sum() / (2 * a.shape[0]),)
