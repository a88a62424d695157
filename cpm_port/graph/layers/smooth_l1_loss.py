"""SmoothL1Loss: squares near 0, absolute values beyond, over the batch. Fast R-CNN fork; oracle: literal loops.

Bottoms: prediction, target, and optionally weights inside and outside of the function: loss = sum of outside x
f(inside x (prediction - target)) / N, f(d) = 0.5 (sigma d)^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2. No
gradient flows into the weights. Source: rbgirshick/caffe-fast-rcnn `smooth_L1_loss_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["SmoothL1Loss"]


@register("SmoothL1Loss", loss=True)
class SmoothL1Loss(LayerModule):
    """A Huber loss."""

    message = "smooth_l1_loss_param"

    def forward(self, x: Tensor, target: Tensor, *weights: Tensor) -> tuple[Tensor]:
        """Return a scalar."""
        square = self.fields.sigma**2
        difference = x - target.reshape(x.shape)
        if weights:
            difference = weights[0].detach().reshape(x.shape) * difference
        size = difference.abs()
        terms = torch.where(size < 1 / square, 0.5 * square * difference.square(), size - 0.5 / square)
        if len(weights) == 2:
            terms = weights[1].detach().reshape(x.shape) * terms
        return (terms.sum() / x.shape[0],)
