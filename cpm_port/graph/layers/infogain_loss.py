"""InfogainLoss: softmax along an axis, and the negative log of all probabilities, weighted by the label's row of H.

H is the third bottom, or the BlobProto in the file `infogain_loss_param.source`; no gradient flows into it. A
probability counts as at least 1e-20 in the loss, while the gradient is that of the softmax without this floor. A second
top is the softmax, which hands no gradient down. Source: caffe `infogain_loss_layer.cpp` (2017 and later: earlier
versions took probabilities).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec, read_mean
from cpm_port.errors import LayerError
from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.layers._normalization import normalizer
from cpm_port.graph.layers._surrogate import with_gradient_of
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["InfogainLoss"]

_FLOOR = math.log(1e-20)


def _refuse(spec: LayerSpec) -> str | None:
    return "loss_param has normalize; expected normalization" if spec.params.loss_param.has("normalize") else None


@register("InfogainLoss", refuse=_refuse)
class InfogainLoss(LayerModule):
    """loss = -sum_k H[label, k] log softmax(x)[k] / normalizer."""

    message = "loss_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        param = spec.params.infogain_loss_param
        self.axis: int = param.axis % len(bottom_shapes[0])
        self.register_buffer("matrix", None, persistent=False)
        if len(spec.bottoms) < 3:
            self.matrix = torch.from_numpy(_read_matrix(spec, param.source, bottom_shapes[0][self.axis]))

    def forward(self, x: Tensor, labels: Tensor, matrix: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the loss (a scalar) and, with two tops, the softmax."""
        axis, classes = self.axis, x.shape[self.axis]
        ignored = self.fields.ignore_label if "ignore_label" in self.given else None
        log_p = x.log_softmax(axis)
        per_item = labels.reshape(x.shape[:axis] + x.shape[axis + 1 :])
        label = as_indices(per_item, classes, self.spec, ignored)
        counted = torch.ones_like(label, dtype=torch.bool) if ignored is None else per_item.long() != ignored
        rows = (self.matrix if matrix is None else matrix).detach().reshape(classes, classes)[label]
        logs = with_gradient_of(log_p.clamp(min=_FLOOR), log_p).movedim(axis, -1)
        terms = (rows * logs).sum(dim=-1)
        loss = -torch.where(counted, terms, 0).sum() / normalizer(self, counted, math.prod(x.shape[:axis]), "VALID")
        return (loss,) if len(self.spec.tops) == 1 else (loss, log_p.exp().detach())


def _read_matrix(spec: LayerSpec, source: str, classes: int) -> np.ndarray:
    if not source:
        raise LayerError(f"layer {spec.name!r} (InfogainLoss): expected a third bottom or infogain_loss_param.source")
    matrix = read_mean(source)
    if matrix.size != classes**2:
        raise LayerError(
            f"layer {spec.name!r} (InfogainLoss): {source} holds {matrix.size} values for {classes} classes"
        )
    return matrix.reshape(classes, classes).astype(np.float32)
