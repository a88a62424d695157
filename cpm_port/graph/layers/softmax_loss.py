"""SoftmaxWithLoss: softmax along an axis and the negative log of the label's probability, normalized by `loss_param`.

The default divides by the number of terms that are not `ignore_label` (VALID). A probability counts as at
least FLT_MIN in the loss, while the gradient stays softmax minus one at the label. A second top is the
softmax, which hands no gradient down. Source: caffe `softmax_loss_layer.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.layers._loss import LossModule
from cpm_port.graph.layers._normalization import normalizer
from cpm_port.graph.layers._surrogate import with_gradient_of
from cpm_port.graph.module import Shape
from cpm_port.graph.registry import register

__all__ = ["SoftmaxWithLoss"]

_LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossModule):
    """loss = -sum(log softmax(x)[label]) / normalizer."""

    message = "loss_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.axis: int = spec.params.softmax_param.axis % len(bottom_shapes[0])

    def num_labels(self, prediction: Shape) -> int:
        """Return one label per position along the softmax's axis."""
        return math.prod(prediction) // prediction[self.axis]

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return the loss (a scalar) and, with two tops, the softmax."""
        axis = self.axis
        ignored = self.fields.ignore_label if "ignore_label" in self.given else None
        log_p = x.log_softmax(axis)
        per_item = labels.reshape(x.shape[:axis] + x.shape[axis + 1 :])
        label = as_indices(per_item, x.shape[axis], self.spec, ignored)
        counted = torch.ones_like(label, dtype=torch.bool) if ignored is None else per_item.long() != ignored
        own = log_p.gather(axis, label.unsqueeze(axis)).squeeze(axis)
        own = with_gradient_of(own.clamp(min=_LOG_FLT_MIN), own)
        outer = math.prod(x.shape[:axis])
        loss = -torch.where(counted, own, 0).sum() / normalizer(self, counted, outer, "VALID")
        return (loss,) if len(self.spec.tops) == 1 else (loss, log_p.exp().detach())
