"""Bias: adds a parameter, or its second bottom, to consecutive axes of the first. Source: caffe `bias_layer.cpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.layers._broadcast import lay_over
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Bias"]


@register("Bias")
class Bias(LayerModule):
    """y = x + bias, the bias spanning `num_axes` axes from `axis` on."""

    message = "bias_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the bias's filler."""
        return [self.fields.filler]

    def forward(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor]:
        """Add parameter 0, or `bias` where the layer has two bottoms."""
        return (x + lay_over(self.blob(0) if bias is None else bias, x, self.fields.axis),)
