"""BatchNorm: each channel minus its mean, over its standard deviation; no scale and no shift (that is Caffe's Scale).

Parameters: 0 the running sum of means, 1 of variances, 2 the scale factor both must be divided by (0 counts
as "no data": mean and variance are then 0). With `use_global_stats` (the default in phase TEST) the stored
sums are used; otherwise the batch's own statistics, and the sums are updated in place: sum =
moving_average_fraction sum + new, the variance with m / (m - 1).

Source: caffe `batch_norm_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["BatchNorm"]


@register("BatchNorm")
class BatchNorm(LayerModule):
    """y = (x - mean) / sqrt(variance + eps), per channel (axis 1; a vector is one channel)."""

    message = "batch_norm_param"

    statistics = True

    def fillers(self) -> list[MessageView | float]:
        """Return zeros."""
        return [0.0, 0.0, 0.0]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Normalize; in training also update the running sums."""
        p = self.fields
        dims = [dim for dim in range(x.dim()) if dim != 1]
        per_channel = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        if not self.uses_batch_statistics:
            factor = self.blob(2)
            inverse = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
            mean = (self.blob(0) * inverse).view(per_channel)
            variance = (self.blob(1) * inverse).view(per_channel)
            return ((x - mean) / torch.sqrt(variance + p.eps),)
        mean = x.mean(dims, keepdim=True)
        centered = x - mean
        variance = centered.square().mean(dims, keepdim=True)
        self._update(mean.detach(), variance.detach(), x.numel() // mean.numel(), p.moving_average_fraction)
        return (centered / torch.sqrt(variance + p.eps),)

    def normalize_coarsely(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalize by the batch's statistics, multiply by `scale` and add `shift`, (channels,), in one pass over `x`.

        For training in bfloat16, where the passes over memory cost more than the arithmetic: PyTorch's kernel keeps the
        sums in float32, but takes x / deviation - mean / deviation, which loses digits where the mean is large.
        """
        p = self.fields
        y, mean, inverse = torch.native_batch_norm(x, scale, shift, None, None, True, 0.0, p.eps)
        variance = inverse.detach().float().pow(-2) - p.eps
        self._update(mean.detach().float(), variance, x.numel() // mean.numel(), p.moving_average_fraction)
        return y

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether it normalizes by the batch's own mean and variance, and learns from them."""
        return not (self.fields.use_global_stats if "use_global_stats" in self.given else not self.training_phase)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int, fraction: float) -> None:
        """Move the running sums by one batch of `count` values per channel."""
        sums = (self.blob(0), self.blob(1), self.blob(2))
        unbiased = count / (count - 1) if count > 1 else 1.0
        news = (mean.flatten(), variance.flatten() * unbiased, torch.ones_like(sums[2]))
        for total, new in zip(sums, news, strict=True):
            total.mul_(fraction).add_(new)
