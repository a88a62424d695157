"""Interp: a map resized by linear interpolation, corner on corner. DeepLab and PSPNet forks; oracle: loops.

The size comes from `zoom_factor` (size + (size - 1) (zoom - 1)), `shrink_factor` ((size - 1) / shrink + 1), `height`
and `width`, or a second bottom; negative `pad_beg` and `pad_end` crop the bottom first. Source: hszhao/PSPNet@88d0b3e
`interp_layer.cpp`, `interp.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Interp"]


@register("Interp")
class Interp(LayerModule):
    """Bilinear, the outermost values onto the outermost places."""

    message = "interp_param"

    def forward(self, x: Tensor, *like: Tensor) -> tuple[Tensor]:
        """Return shape (N, C, new H, new W)."""
        p = self.fields
        (size,) = self.top_shapes([tuple(blob.shape) for blob in (x, *like)])
        begin, end = -p.pad_beg, p.pad_end
        x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
        return (F.interpolate(x, size[2:], mode="bilinear", align_corners=True),)
