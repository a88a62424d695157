"""ContrastiveLoss: pulls pairs marked similar together, pushes the others a margin apart.

Bottoms: two feature blobs (N, C, 1, 1) and a label per pair (not 0: similar). The gradient divides by the
distance plus 1e-4, so it stays finite where two features coincide. Source: caffe
`contrastive_loss_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.errors import ShapeError
from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.layers._surrogate import with_gradient_of
from cpm_port.graph.module import Shape
from cpm_port.graph.registry import register

__all__ = ["ContrastiveLoss"]

_SOFTENING = 1e-4


@register("ContrastiveLoss")
class ContrastiveLoss(LossModule):
    """loss = sum(d^2 or max(margin - d, 0)^2) / (2 N); `legacy_version`: max(margin - d^2, 0) for the dissimilar."""

    message = "contrastive_loss_param"

    def num_labels(self, prediction: Shape) -> int:
        """Return the batch: one label per item."""
        return prediction[0]

    def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return a scalar's shape; `ShapeError` where the two features differ in shape."""
        if bottom_shapes[0] != bottom_shapes[1]:
            raise ShapeError(f"layer {self.spec.name!r} (ContrastiveLoss): features are {bottom_shapes[:2]}, not alike")
        return super().top_shapes(bottom_shapes)

    def forward(self, a: Tensor, b: Tensor, labels: Tensor) -> tuple[Tensor]:
        """Return a scalar."""
        p = self.fields
        batch = a.shape[0]
        similar = labels.flatten().long() != 0
        squared = (a - b).unsqueeze(1).flatten(1).square().sum(dim=1)
        fixed = squared.detach()
        distance = fixed.sqrt()
        if p.legacy_version:
            apart = (p.margin - fixed).clamp(min=0)
            push = (apart > 0).to(fixed.dtype)
        else:
            short = (p.margin - distance).clamp(min=0)
            apart = short.square()
            push = short / (distance + _SOFTENING)
        value = torch.where(similar, fixed, apart).sum() / (2 * batch)
        pull = torch.where(similar, torch.ones_like(fixed), -push)
        return (with_gradient_of(value, (pull * squared).sum() / (2 * batch)),)
