"""Deconvolution: the transpose of Convolution. Source: caffe `deconv_layer.cpp`.

Parameters: 0 the weight (channels, num_output / group, *kernel), 1 the bias (num_output) where `bias_term`.
Output size: stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.graph.layers.convolution import Convolution
from cpm_port.graph.registry import register

__all__ = ["Deconvolution"]

_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@register("Deconvolution")
class Deconvolution(Convolution):
    """Transposed cross-correlation with learned weights."""

    def apply_window(self, x: Tensor) -> Tensor:
        """Apply the transposed convolution to `x`, shape (N, C, *spatial)."""
        groups = self.fields.group
        transposed = _TRANSPOSED[self.spatial_axes]
        return transposed(x, self.blob(0), self._bias(), self.stride, self.pad, 0, groups, self.dilation)
