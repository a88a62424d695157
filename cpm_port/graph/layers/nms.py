"""Nms: the peaks of belief maps, found and refined. RTPose fork; oracle: literal loops.

A peak is a value above `threshold` that is greater than its eight neighbours; border px are none. The top is (N,
num_parts, max_peaks + 1, 3): per map first the number of its peaks (also beyond `max_peaks`), then x, y and value of
each in rows. x and y are the mean place of the positive values up to 3 px away, weighted by them. No gradient, as in
the original.

Quirks of the original, kept: row 0 and column 0 have no part in the mean, nor have rows from the map's *width* on. It
knowingly differs: rows beyond the map have no part either (the original reads on in the next map); places of the top
without a peak are 0 (there: whatever was there before); items after the first are read from their own maps (there: at
num_parts maps each). Source: CMU-Perceptual-Computing-Lab/caffe_rtpose@1f3ae93 `nms_layer.cu`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Nms"]

_REACH = 3


@register("Nms")
class Nms(LayerModule):
    """Maps to lists of peaks."""

    message = "nms_param"
    replayable = False  # peaks are counted on the host

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the lists, zeros behind their ends."""
        p = self.fields
        maps = x[:, : p.num_parts]
        num, parts, height, width = maps.shape
        lists = maps.new_zeros((num, parts, p.max_peaks + 1, 3))
        if maps.device.type == "meta" or min(height, width) < 3:
            return (lists,)
        inner = maps[..., 1:-1, 1:-1]
        peaks = inner > p.threshold
        for down in range(3):
            for right in range(3):
                if (down, right) != (1, 1):
                    peaks &= inner > maps[..., down : down + height - 2, right : right + width - 2]
        lists[..., 0, 0] = peaks.sum((2, 3)).to(maps.dtype)
        rows, columns, total = self._sums(maps)
        for item, part in torch.nonzero(peaks.flatten(2).any(2)).tolist():
            places = torch.nonzero(peaks[item, part])[: p.max_peaks] + 1
            y, across = places.unbind(1)
            own = (item, part, y, across)
            found = torch.stack([columns[own] / total[own], rows[own] / total[own], maps[own]], dim=1)
            lists[item, part, 1 : len(places) + 1] = found
        return (lists,)

    def _sums(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums of y times value, x times value and value around each px."""
        height, width = maps.shape[2:]
        y = torch.arange(height, device=maps.device, dtype=maps.dtype)[:, None].expand(height, width)
        x = torch.arange(width, device=maps.device, dtype=maps.dtype).expand(height, width)
        values = torch.where((y > 0) & (y < width) & (x > 0), maps.clamp(min=0), 0)
        kernel = 2 * _REACH + 1
        summed = [
            F.avg_pool2d(weighted, kernel, 1, _REACH, divisor_override=1)
            for weighted in (values * y, values * x, values)
        ]
        return summed[0], summed[1], summed[2]
