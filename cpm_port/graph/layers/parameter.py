"""Parameter: a learned blob as a top; it has no bottoms and starts at zero. Source: caffe `parameter_layer.hpp`."""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Parameter"]


@register("Parameter")
class Parameter(LayerModule):
    """y = parameter 0."""

    def fillers(self) -> list[MessageView | float]:
        """Return zero."""
        return [0.0]

    def forward(self) -> tuple[Tensor]:
        """Return the parameter itself."""
        return (self.blob(0),)
