"""Upsample: a map made larger. SegNet's fork with a mask as second bottom, YOLO's forks without; oracle: literal loops.

With the mask, the second top of a MAX pooling, each value goes where its maximum stood, among zeros; of two that go to
one place the later one stays. Without it, every value is repeated `scale` times in both directions. No gradient flows
into the mask. Source: alexgkendall/caffe-segnet `upsample_layer.cpp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Upsample"]


@register("Upsample")
class Upsample(LayerModule):
    """Unpooling, or nearest neighbours."""

    message = "upsample_param"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor]:
        """Return shape (N, C, larger H, larger W)."""
        if mask is None:
            scale = self.fields.scale
            return (x.repeat_interleave(scale, 2).repeat_interleave(scale, 3),)
        (size,) = self.top_shapes([tuple(x.shape), tuple(mask.shape)])
        index = as_indices(mask.detach().flatten(2), size[2] * size[3], self.spec)
        place = _last_of_equals(index, size[2] * size[3])
        empty = x.new_zeros((*size[:2], size[2] * size[3] + 1))  # one more, for values that a later one replaces
        return (empty.scatter(2, place, x.flatten(2))[..., :-1].reshape(size),)


def _last_of_equals(index: Tensor, count: int) -> Tensor:
    """Return indices where all but the last of equal ones in a row are `count`."""
    order = torch.arange(index.shape[2], device=index.device).expand_as(index)
    last = torch.zeros((*index.shape[:2], count), dtype=index.dtype, device=index.device)
    last = last.scatter_reduce(2, index, order, "amax")
    return torch.where(last.gather(2, index) == order, index, count)
