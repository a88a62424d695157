"""BN: batch normalization with its scale and shift in one layer. Forks of SegNet (ENet) and PSPNet; oracle: NumPy.

Two layers share the name, and their fields tell them apart (`has_statistics`):

- SegNet's has parameters 0 scale and 1 shift. `bn_mode: LEARN` normalizes by the batch's mean and variance (eps 1e-9),
  in both phases; `INFERENCE` only scales and shifts, for the statistics lie in the parameters.
- PSPNet's has 0 slope, 1 bias, 2 mean, 3 variance. In phase TEST, or `frozen`, it normalizes by the stored ones, else
  by the batch's, and moves the stored ones: momentum x stored + (1 - momentum) x the batch's.

Parameters have Caffe's four axes: (1, C, 1, 1). Source: alexgkendall/caffe-segnet and yjxiong/caffe `bn_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec, MessageView
from cpm_port.caffe.layer_types.segmentation import has_statistics
from cpm_port.graph.layers._broadcast import lay_over
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register
from cpm_port.graph.whole_batch import mean_over_processes

__all__ = ["BN"]

_SEGNET_EPS = 1e-9


@register("BN")
class BN(LayerModule):
    """y = scale (x - mean) / sqrt(variance + eps) + shift, per channel."""

    message = "bn_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.stored = has_statistics(spec.params.bn_param)

    def fillers(self) -> list[MessageView | float]:
        """Return the fillers that the fields name, and constants for the statistics."""
        p = self.fields
        if not self.stored:
            return [p.scale_filler, p.shift_filler]
        return [p.slope_filler, p.bias_filler, 0.0, 1.0 if p.frozen else 0.0]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Normalize; PSPNet's in training also moves the stored statistics."""
        p = self.fields
        scale, shift, *statistics = (lay_over(blob.reshape(-1), x, 1) for blob in self.blobs)
        if not self.stored and p.bn_mode == "INFERENCE":
            return (x * scale + shift,)
        eps = p.eps if self.stored else _SEGNET_EPS
        if self.stored and not self._moves:
            mean, variance = statistics
            return ((x - mean) / torch.sqrt(variance + eps) * scale + shift,)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        mean = mean_over_processes(x.mean(dims, keepdim=True))
        centered = x - mean
        variance = mean_over_processes(centered.square().mean(dims, keepdim=True))
        if self._moves:
            self._move(mean.detach(), variance.detach())
        return (centered / torch.sqrt(variance + eps) * scale + shift,)

    @property
    def replayable(self) -> bool:
        """Whether the stored statistics stay as they are."""
        return not self._moves

    @property
    def _moves(self) -> bool:
        """Whether a pass normalizes by the batch's statistics and moves the stored ones towards them."""
        return self.stored and self.trains and not self.fields.frozen

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.fields.momentum
        for stored, new in zip(self.blobs[2:], (mean, variance), strict=True):
            stored.mul_(momentum).add_((1 - momentum) * new.reshape(stored.shape))
