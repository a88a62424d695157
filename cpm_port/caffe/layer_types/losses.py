"""Losses: a scalar of a prediction and its labels or targets; of some a second top, of the prediction's shape."""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, axis_of, declare, fail, need_bottoms
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []


def _loss(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    axis_of(layer, 0, bottoms[0])
    return [()]


def _contrastive(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 3)
    return _loss(layer, bottoms[:2])


def _euclidean(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    tops = _loss(layer, bottoms)
    if math.prod(bottoms[0][1:]) != math.prod(bottoms[1][1:]):
        raise fail(layer, f"bottoms {bottoms[0]} and {bottoms[1]}; expected the same number of values per sample")
    return tops


def _softmax(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    tops = _loss(layer, bottoms)
    axis_of(layer, layer.params.softmax_param.axis, bottoms[0])
    return [*tops, bottoms[0]][: len(layer.tops)]


def _infogain(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2, 3)
    shape = bottoms[0]
    classes = shape[axis_of(layer, layer.params.infogain_loss_param.axis, shape)]
    if math.prod(bottoms[1]) * classes != math.prod(shape):
        raise fail(layer, f"labels {bottoms[1]} for a prediction of shape {shape} with {classes} classes")
    if len(bottoms) > 2 and math.prod(bottoms[2]) != classes**2:
        raise fail(layer, f"a matrix of shape {bottoms[2]} for {classes} classes; expected {classes**2} values")
    return [(), shape][: len(layer.tops)]


declare(
    LayerType("ContrastiveLoss", _contrastive, kind="loss"),
    LayerType("EuclideanLoss", _euclidean, kind="loss"),
    LayerType("HingeLoss", _loss, kind="loss"),
    LayerType("InfogainLoss", _infogain, kind="loss"),
    LayerType("MultinomialLogisticLoss", _loss, kind="loss"),
    LayerType("SigmoidCrossEntropyLoss", _loss, kind="loss"),
    LayerType("SoftmaxWithLoss", _softmax, kind="loss"),
)
