"""Im2col: every window of the bottom as a column: (N, channels * kh * kw, out_h, out_w), channel slowest.

Source: caffe `im2col_layer.cpp`. Two spatial axes only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.caffe.layer_types.windows import convolved_sizes, spatial_window
from cpm_port.errors import LayerError
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["Im2col"]


@register("Im2col")
class Im2col(LayerModule):
    """Windows laid out as columns."""

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        if len(bottom_shapes[0]) != 4 or spec.params.convolution_param.axis not in (1, -3):
            raise LayerError(
                f"layer {spec.name!r} (Im2col): bottom is {bottom_shapes[0]}, expected 4 axes, channels second"
            )
        self.kernel, self.stride, self.pad, self.dilation = spatial_window(spec, bottom_shapes[0])

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Unfold `x`, shape (N, C, H, W)."""
        columns = F.unfold(x, self.kernel, self.dilation, self.pad, self.stride)
        window = (self.kernel, self.stride, self.pad, self.dilation)
        return (columns.view(*columns.shape[:2], *convolved_sizes(x.shape[2:], window)),)
