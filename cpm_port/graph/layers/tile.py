"""Tile: the bottom repeated `tiles` times along `axis`. Source: caffe `tile_layer.cpp`."""

from __future__ import annotations

import torch
from torch import Tensor

from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Tile"]


@register("Tile")
class Tile(LayerModule):
    """The bottom, and again."""

    message = "tile_param"

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return `tiles` copies, one after another."""
        p = self.fields
        return (torch.cat([x] * p.tiles, p.axis),)
