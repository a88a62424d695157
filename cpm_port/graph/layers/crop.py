"""Crop: the first bottom cut to the second's size on all axes from `axis` on, at the given offsets.

The second bottom gives its shape only and gets no gradient. Source: caffe `crop_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Crop"]


@register("Crop")
class Crop(LayerModule):
    """A box of the first bottom, a view."""

    message = "crop_param"

    def forward(self, x: Tensor, reference: Tensor) -> tuple[Tensor]:
        """Return the box at `offset` (none: 0; one for all axes, or one per axis)."""
        p = self.fields
        first = p.axis % x.dim()
        for axis in range(first, x.dim()):
            offset = p.offset[axis - first] if len(p.offset) > 1 else p.offset[0] if p.offset else 0
            x = x.narrow(axis, offset, reference.shape[axis])
        return (x,)
