"""InnerProduct: a fully connected layer over all axes from `axis` on.

Parameters: 0 the weight (num_output, fan-in), or (fan-in, num_output) where `transpose`; 1 the bias where
`bias_term`. The fan-in is fixed when the net is built: an input of another size is a `ShapeError`, as in
Caffe. Source: caffe `inner_product_layer.cpp`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cpm_port.caffe import MessageView
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["InnerProduct"]


@register("InnerProduct")
class InnerProduct(LayerModule):
    """y = x W^T + b, x flattened from `axis` on."""

    message = "inner_product_param"

    def fillers(self) -> list[MessageView | float]:
        """Return the weight's filler and the bias's."""
        p = self.fields
        return [p.weight_filler, p.bias_filler] if p.bias_term else [p.weight_filler]

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return shape (*leading axes, num_output)."""
        p = self.fields
        weight = self.blob(0).t() if p.transpose else self.blob(0)
        return (F.linear(x.flatten(p.axis), weight, self.blob(1) if p.bias_term else None),)
