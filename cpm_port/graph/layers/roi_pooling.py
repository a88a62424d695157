"""ROIPooling: the maxima of a grid of bins over each region of a map. Fast R-CNN fork; oracle: literal loops.

Bottoms: maps (N, C, H, W), regions (R, 5): item, x1, y1, x2, y2 in image px, both corners included. Corners times
`spatial_scale` are rounded (halves away from 0); bin i of n spans floor(i size / n) to ceil((i + 1) size / n), clipped
to the map; an empty bin is 0. No gradient flows into the regions. Source: rbgirshick/caffe-fast-rcnn
`roi_pooling_layer.cpp`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cpm_port.errors import DataError
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ROIPooling"]


@register("ROIPooling")
class ROIPooling(LayerModule):
    """Regions of any size to maps of one size."""

    message = "roi_pooling_param"
    replayable = False  # regions are read on the host

    def forward(self, x: Tensor, regions: Tensor) -> tuple[Tensor]:
        """Return shape (R, C, pooled_h, pooled_w)."""
        p = self.fields
        size = (len(regions), x.shape[1], p.pooled_h, p.pooled_w)
        if x.device.type == "meta":
            return (x.new_empty(size),)
        pooled = [self._pool(x, row) for row in regions.detach().float().cpu().numpy().reshape(-1, 5)]
        return (torch.stack(pooled) if pooled else x.new_zeros(size),)

    def _pool(self, x: Tensor, region: np.ndarray) -> Tensor:
        p = self.fields
        item = int(region[0])
        if not 0 <= item < len(x):
            raise DataError(f"layer {self.spec.name!r} (ROIPooling): region of item {item}; expected 0 to {len(x) - 1}")
        left, top, right, bottom = (_round(corner) for corner in region[1:] * np.float32(p.spatial_scale))
        rows = _bins(top, max(bottom - top + 1, 1), p.pooled_h, x.shape[2])
        columns = _bins(left, max(right - left + 1, 1), p.pooled_w, x.shape[3])
        bins = []
        for row, column in ((row, column) for row in rows for column in columns):
            values = x[item, :, row, column].flatten(1)
            if values.shape[1]:
                values = values.gather(1, values.argmax(1, keepdim=True))
            bins.append(values[:, 0] if values.shape[1] else x.new_zeros(x.shape[1]))
        return torch.stack(bins, dim=1).reshape(-1, p.pooled_h, p.pooled_w)


def _round(value: np.float32) -> int:
    """Round halves away from 0, as C does."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def _bins(start: int, size: int, count: int, limit: int) -> list[slice]:
    """Return `count` bins over `size` places from `start`, clipped to `limit` places."""
    step = np.float32(size) / np.float32(count)
    bounds = [(math.floor(i * step), math.ceil((i + np.float32(1)) * step)) for i in np.arange(count, dtype=np.float32)]
    return [slice(*(min(max(start + bound, 0), limit) for bound in pair)) for pair in bounds]
