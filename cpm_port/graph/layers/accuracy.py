"""Accuracy: the share of items whose label is among the `top_k` highest scores; a second top gives it per class.

Of equal scores the one with the larger index ranks first, as in the CPM authors' fork (later upstream
versions count a tie against the label). Items with `ignore_label` count neither way; no items give 0/0 = NaN,
a class without items 0. No gradient.

Source: caffe `accuracy_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Accuracy"]


@register("Accuracy")
class Accuracy(LayerModule):
    """Top-k accuracy of scores along `axis`."""

    message = "accuracy_param"

    def forward(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return the accuracy (a scalar) and, with two tops, one per class."""
        p = self.fields
        ignored = p.ignore_label if "ignore_label" in self.given else None
        scores = scores.detach().movedim(p.axis, -1)
        classes = scores.shape[-1]
        scores = scores.reshape(-1, classes)
        label = as_indices(labels.flatten(), classes, self.spec, ignored)
        counted = torch.ones_like(label, dtype=scores.dtype)
        if ignored is not None:
            counted = (labels.flatten().long() != ignored).to(scores.dtype)
        own = scores.gather(1, label[:, None])
        later = torch.arange(classes, device=scores.device) > label[:, None]
        rank = ((scores > own) | ((scores == own) & later)).sum(dim=1)
        correct = (rank < p.top_k).to(scores.dtype) * counted
        accuracy = correct.sum() / counted.sum()
        if len(self.spec.tops) == 1:
            return (accuracy,)
        right, seen = (torch.zeros(classes, dtype=scores.dtype, device=scores.device) for _ in range(2))
        right.index_add_(0, label, correct)
        seen.index_add_(0, label, counted)
        return accuracy, right / seen.clamp(min=1)
