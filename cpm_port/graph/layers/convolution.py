"""Convolution: Caffe's cross-correlation over one to three spatial axes, with groups, stride, padding and dilation.

Parameters: 0 the weight (num_output, channels / group, *kernel), 1 the bias (num_output) where `bias_term`.
One layer may have several bottoms and as many tops, all sharing the weights. The axes before `axis` (1) are
the batch. `engine` and `force_nd_im2col` choose an implementation in Caffe and change nothing here. Source:
caffe `base_conv_layer.cpp`, `conv_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import LayerSpec, MessageView
from cpm_port.caffe.layer_types.windows import spatial_window
from cpm_port.errors import LayerError
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["Convolution"]

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@register("Convolution")
class Convolution(LayerModule):
    """Cross-correlation with learned weights."""

    message = "convolution_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        rank = len(bottom_shapes[0])
        self.axis = self.fields.axis % rank
        self.spatial_axes = rank - self.axis - 1
        if self.spatial_axes not in _CONV:
            raise LayerError(
                f"layer {spec.name!r} ({spec.type}): bottom {spec.bottoms[0]!r} is {bottom_shapes[0]}: "
                f"{self.spatial_axes} spatial axes, expected 1 to 3"
            )
        _, self.stride, self.pad, self.dilation = spatial_window(spec, bottom_shapes[0])

    def fillers(self) -> list[MessageView | float]:
        """Return the weight's filler and the bias's."""
        p = self.fields
        return [p.weight_filler, p.bias_filler] if p.bias_term else [p.weight_filler]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """Return one top per bottom."""
        return tuple(self._over_batch(x) for x in bottoms)

    def apply_window(self, x: Tensor) -> Tensor:
        """Convolve `x`, shape (N, C, *spatial)."""
        groups = self.fields.group
        return _CONV[self.spatial_axes](x, self.blob(0), self._bias(), self.stride, self.pad, self.dilation, groups)

    def _bias(self) -> Tensor | None:
        return self.blob(1) if self.fields.bias_term else None

    def _over_batch(self, x: Tensor) -> Tensor:
        """Make one batch axis of all axes before `axis`, convolve, and restore them."""
        if self.axis == 1:
            return self.apply_window(x)
        y = self.apply_window(x.reshape((-1, *x.shape[self.axis :])))
        return y.reshape(x.shape[: self.axis] + y.shape[1:])
