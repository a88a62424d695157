"""Losses: a scalar of a prediction and its labels or targets, and a second top of the prediction's shape."""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail, need_bottoms
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []

_PLAIN = (
    "ContrastiveLoss", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
)  # fmt: skip


def _loss(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2, 3)
    return [(), bottoms[0]][: len(layer.tops)]


def _euclidean(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    tops = _loss(layer, bottoms)
    if math.prod(bottoms[0][1:]) != math.prod(bottoms[1][1:]):
        raise fail(layer, f"bottoms {bottoms[0]} and {bottoms[1]}; expected the same number of values per sample")
    return tops


declare(
    *(LayerType(name, _loss, kind="loss") for name in _PLAIN),
    LayerType("EuclideanLoss", _euclidean, kind="loss"),
)
