"""Embed: rows of a table, chosen by integers that arrive as floats. Source: caffe `embed_layer.cpp`.

Parameters: 0 the table (input_dim, num_output), 1 the bias (num_output) where `bias_term`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.layers._labels import as_indices
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Embed"]


@register("Embed")
class Embed(LayerModule):
    """y = table[x] + bias."""

    message = "embed_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the table's filler and the bias's."""
        p = self.fields
        return [p.weight_filler, p.bias_filler] if p.bias_term else [p.weight_filler]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape (*x.shape, num_output)."""
        p = self.fields
        rows = self.blob(0)[as_indices(x, p.input_dim, self.spec)]
        return (rows + self.blob(1) if p.bias_term else rows,)
