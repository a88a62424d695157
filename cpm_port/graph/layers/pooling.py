"""Pooling: MAX or AVE over windows of (H, W), with Caffe's sizes, borders and divisors (`_pool2d.py`).

A second top of a MAX layer is the flat index of each maximum, as a float. STOCHASTIC is refused: Caffe's CPU
never had it. Source: caffe `pooling_layer.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from cpm_port.caffe import LayerSpec
from cpm_port.caffe.layer_types.windows import rounds_up, spatial_window, trailing_pad
from cpm_port.graph.layers._pool2d import PoolWindow, average_pool, max_pool
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import register

__all__ = ["Pooling"]


def _refuse(spec: LayerSpec) -> str | None:
    return "STOCHASTIC pooling" if spec.params.pooling_param.pool == "STOCHASTIC" else None


@register("Pooling", refuse=_refuse)
class Pooling(LayerModule):
    """Maximum or average of windows; of the whole map where `global_pooling`."""

    message = "pooling_param"

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__(spec, bottom_shapes)
        kernel, stride, pad, dilation = spatial_window(spec, bottom_shapes[0])
        self.window = PoolWindow(kernel, stride, pad, rounds_up(spec), trailing_pad(spec, pad), dilation)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pool `x`, shape (N, C, H, W)."""
        p = self.fields
        window = replace(self.window, kernel=(x.shape[2], x.shape[3])) if p.global_pooling else self.window
        if p.pool == "AVE":
            return (average_pool(x, window),)
        return max_pool(x, window, with_indices=len(self.spec.tops) > 1)
