"""Scale: multiplies consecutive axes of its first bottom by a parameter, or by its second bottom; a bias on request.

Parameters: the scale (absent with two bottoms), then the bias where `bias_term`. Source: caffe `scale_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.layers._broadcast import lay_over
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Scale"]


@register("Scale")
class Scale(LayerModule):
    """y = x * scale + bias, both spanning `num_axes` axes from `axis` on."""

    message = "scale_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the fillers; a scale without one starts at 1."""
        p = self.fields
        scale: list[MessageView | float] = [p.filler if "filler" in self.given else 1.0]
        return (scale if len(self.spec.bottoms) == 1 else []) + ([p.bias_filler] if p.bias_term else [])

    def forward(self, x: Tensor, scale: Tensor | None = None) -> tuple[Tensor]:
        """Multiply by parameter 0, or by `scale` where the layer has two bottoms; then add the bias."""
        p = self.fields
        y = x * lay_over(self.blob(0) if scale is None else scale, x, p.axis)
        return (y + lay_over(self.blobs[-1], x, p.axis) if p.bias_term else y,)
