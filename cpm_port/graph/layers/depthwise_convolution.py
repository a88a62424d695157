"""DepthwiseConvolution, ConvolutionDepthwise: a kernel per channel, whatever `group` says. MobileNet forks.

They are Convolution with as many groups as channels, faster in those forks; oracle: Convolution with `group`. Source:
farmingyard/caffe-mobilenet `depthwise_conv_layer.cpp`; sp2823's `conv_dw_layer.cpp`, which
foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36 carries on.
"""

from __future__ import annotations

from collections.abc import Sequence

from cpm_port.caffe import LayerSpec
from cpm_port.graph.layers.convolution import Convolution
from cpm_port.graph.module import Shape
from cpm_port.graph.registry import register

__all__ = ["DepthwiseConvolution"]


@register("ConvolutionDepthwise")
@register("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """Every channel by itself."""

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        self.fields.group = bottom_shapes[0][self.axis]
