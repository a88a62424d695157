"""Pooling: MAX or AVE over windows of (H, W), with Caffe's sizes, borders and divisors (`_pool2d.py`).

A second top of a MAX layer is the flat index of each maximum, as a float. STOCHASTIC is refused: Caffe's CPU
never had it. Source: caffe `pooling_layer.cpp`.
"""

from __future__ import annotations

from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.caffe.shapes import spatial_window
from cpm_port.graph.layers._pool2d import Pair, PoolWindow, average_pool, max_pool
from cpm_port.graph.module import LayerModule
from cpm_port.graph.registry import register

__all__ = ["Pooling"]


def _refuse(spec: LayerSpec) -> str | None:
    return "STOCHASTIC pooling" if spec.params.pooling_param.pool == "STOCHASTIC" else None


@register("Pooling", refuse=_refuse)
class Pooling(LayerModule):
    """Maximum or average of windows; of the whole map where `global_pooling`."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pool `x`, shape (N, C, H, W)."""
        p = self.spec.params.pooling_param
        kernel, stride, pad, _ = spatial_window(self.spec, x.shape)
        window = PoolWindow(_pair(kernel), _pair(stride), _pair(pad), ceil=p.round_mode == "CEIL")
        if p.pool == "AVE":
            return (average_pool(x, window),)
        return max_pool(x, window, with_indices=len(self.spec.tops) > 1)


def _pair(values: tuple[int, ...]) -> Pair:
    height, width = values
    return height, width
