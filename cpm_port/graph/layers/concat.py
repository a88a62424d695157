"""Concat: bottoms joined along `axis` (the legacy field is `concat_dim`). Source: caffe `concat_layer.cpp`."""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Concat"]


@register("Concat")
class Concat(LayerModule):
    """The bottoms, one after another."""

    message = "concat_param"

    def forward(self, *bottoms: Tensor) -> tuple[Tensor]:
        """Join the bottoms in their order."""
        p = self.fields
        return (torch.cat(bottoms, p.concat_dim if "concat_dim" in self.given else p.axis),)
