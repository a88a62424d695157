"""ImResize: belief maps of one image at several scales, resized to one size and averaged. RTPose fork; oracle: loops.

Item n of the batch is the image at `start_scale` - n x `scale_gap`, in the middle of the first item's size: floor(half
the size x (1 - scale)) px at each side are left out. Cubic (Catmull-Rom), sampled at pixel centres, outermost values
repeated; but left and above the first pixel's centre the first two are extrapolated. The top has one item: `factor`
times the bottom's size, or `target_spatial_height` x `target_spatial_width`. No gradient, as in the original.

It knowingly follows the fork's GPU code; its CPU code resizes by OpenCV and joins nothing. Source:
CMU-Perceptual-Computing-Lab/caffe_rtpose@1f3ae93 `imresize_layer.cu`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["ImResize"]


@register("ImResize")
class ImResize(LayerModule):
    """Cubic, over scales."""

    message = "imresize_param"

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape (1, C, new H, new W)."""
        p = self.fields
        (size,) = self.top_shapes([tuple(x.shape)])
        total = x.new_zeros(size[1:])
        for number, maps in enumerate(x):
            shrunk = 1 - p.start_scale + number * p.scale_gap
            for axis, out in ((1, size[2]), (2, size[3])):
                pad = math.floor(x.shape[axis + 1] // 2 * shrunk)
                inner = maps.narrow(axis, pad, x.shape[axis + 1] - 2 * pad)
                maps = _resize(inner, axis, out)
            total += maps
        return ((total / len(x)).unsqueeze(0),)


def _resize(maps: Tensor, axis: int, out: int) -> Tensor:
    """Resize one axis to `out` places."""
    size = maps.shape[axis]
    where = (torch.arange(out, device=maps.device, dtype=maps.dtype) - (out / size / 2 - 0.5)) * (size / out)
    near = (where + 1e-5).trunc().clamp(min=0).long()
    d = where - near
    second = (near + 1).clamp(max=size - 1)
    places = ((near - 1).clamp(min=0), near, second, (second + 1).clamp(max=size - 1))
    weights = (
        -0.5 * d**3 + d**2 - 0.5 * d,
        1.5 * d**3 - 2.5 * d**2 + 1,
        -1.5 * d**3 + 2 * d**2 + 0.5 * d,
        0.5 * d**3 - 0.5 * d**2,
    )
    shape = [-1 if dim == axis else 1 for dim in range(maps.dim())]
    parts = [
        maps.index_select(axis, place) * weight.reshape(shape) for place, weight in zip(places, weights, strict=True)
    ]
    return parts[0] + parts[1] + parts[2] + parts[3]
