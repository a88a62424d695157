"""BatchNorm: each channel minus its mean, over its standard deviation; no scale and no shift (that is Caffe's Scale).

Parameters: 0 the running sum of means, 1 of variances, 2 the scale factor both must be divided by (0 counts
as "no data": mean and variance are then 0). With `use_global_stats` (the default in phase TEST) the stored
sums are used; otherwise the batch's own statistics, and the sums are updated in place: sum =
moving_average_fraction sum + new, the variance with m / (m - 1). Where several processes share a batch, the statistics
are the whole batch's.

Forks' fields: with `scale_bias`, or a `scale_filler` or `bias_filler`, parameters 3 and 4 scale and shift the result, 0
and 1 are averages (fraction average + (1 - fraction) new, the batch's own variance), phase TEST always uses them, and
eps is at least 1e-5 (NVIDIA/caffe@87a2554). With `add_eps_before_sqrt: false` it is added to the deviation
(foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36).

Source: caffe `batch_norm_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cpm_port.caffe import LayerSpec, MessageView
from cpm_port.caffe.layer_types.elementwise import has_scale_and_bias
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register
from cpm_port.graph.whole_batch import mean_over_processes, processes

__all__ = ["BatchNorm"]

_LEAST_EPS = 1e-5  # of NVIDIA's form


@register("BatchNorm")
class BatchNorm(LayerModule):
    """y = (x - mean) / sqrt(variance + eps), per channel (axis 1; a vector is one channel)."""

    message = "batch_norm_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.scales = has_scale_and_bias(spec.params.batch_norm_param)
        self._passes = 0

    def fillers(self) -> list[MessageView | float]:
        """Return zeros; in NVIDIA's form the averages' factor is 1, and scale and bias begin as the fields say."""
        if not self.scales:
            return [0.0, 0.0, 0.0]
        scale, bias = ("scale_filler", 1.0), ("bias_filler", 0.0)
        begin = [getattr(self.fields, name) if name in self.given else value for name, value in (scale, bias)]
        return [0.0, 0.0, 1.0, *begin]

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
            return (self._finish(x - mean, variance, per_channel),)
        mean = mean_over_processes(x.mean(dims, keepdim=True))
        centered = x - mean
        variance = mean_over_processes(centered.square().mean(dims, keepdim=True))
        if self.scales:
            self._average(mean.detach(), variance.detach(), p.moving_average_fraction)
        else:
            count = x.numel() // mean.numel() * processes()
            self._update(mean.detach(), variance.detach(), count, p.moving_average_fraction)
        return (self._finish(centered, variance, per_channel),)

    def _finish(self, centered: Tensor, variance: Tensor, per_channel: list[int]) -> Tensor:
        """Divide by the deviation; scale and shift where the layer does."""
        p = self.fields
        eps = max(p.eps, _LEAST_EPS) if self.scales else p.eps
        y = centered / (torch.sqrt(variance + eps) if p.add_eps_before_sqrt else torch.sqrt(variance) + eps)
        return y * self.blob(3).view(per_channel) + self.blob(4).view(per_channel) if self.scales else y

    @torch.no_grad()
    def _average(self, mean: Tensor, variance: Tensor, fraction: float) -> None:
        """Move NVIDIA's averages; the first two passes replace them."""
        kept = fraction if self._passes > 1 else 0.0
        self._passes += 1
        for average, new in zip((self.blob(0), self.blob(1)), (mean, variance), strict=True):
            average.mul_(kept).add_((1 - kept) * new.flatten())

    @property
    def is_upstreams(self) -> bool:
        """Whether no fork's field changes what it computes."""
        return not self.scales and bool(self.fields.add_eps_before_sqrt)

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
        if self.scales or "use_global_stats" not in self.given:
            return self.trains
        return not self.fields.use_global_stats

    @property
    def replayable(self) -> bool:
        """Whether the running sums stay as they are."""
        return not self.uses_batch_statistics

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int, fraction: float) -> None:
        """Move the running sums by one batch of `count` values per channel."""
        sums = (self.blob(0), self.blob(1), self.blob(2))
        unbiased = count / (count - 1) if count > 1 else 1.0
        news = (mean.flatten(), variance.flatten() * unbiased, torch.ones_like(sums[2]))
        for total, new in zip(sums, news, strict=True):
            total.mul_(fraction).add_(new)
