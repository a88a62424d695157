"""Axpy, of SENet's fork: a x + y, a per channel. *Source*: hujie-frank/SENet@0262d43 axpy_layer.cpp."""

from __future__ import annotations

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail, need_bottoms
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []


def _axpy(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 3)
    scale, x, y = bottoms
    if x != y or len(x) < 2 or scale[:2] != x[:2] or any(size != 1 for size in scale[2:]):
        raise fail(layer, f"bottoms {bottoms}; expected a number per channel, and two blobs of one shape")
    return [x]


declare(LayerType("Axpy", _axpy, origin="SENet fork"))
