"""Slice: one bottom cut along `axis` (the legacy field is `slice_dim`), at `slice_point`s or into equal parts.

The tops are views of the bottom, so slicing copies nothing. Source: caffe `slice_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Slice"]


@register("Slice")
class Slice(LayerModule):
    """Consecutive parts of the bottom, one per top."""

    message = "slice_param"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one view per top."""
        p = self.fields
        axis = p.slice_dim if "slice_dim" in self.given else p.axis
        size, tops = x.shape[axis], len(self.spec.tops)
        points = p.slice_point or tuple(size // tops * part for part in range(1, tops))
        parts = zip((0, *points), (*points, size), strict=True)  # TorchDynamo before torch 2.5 knows no `pairwise`
        return tuple(x.narrow(axis, begin, end - begin) for begin, end in parts)
