"""Types of the Fast R-CNN fork: ROIPooling (in the CPM authors' fork too), SmoothL1Loss.

*Source*: rbgirshick/caffe-fast-rcnn as foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36 carries it on: field
names, numbers, defaults. The CPM authors' fork numbers `roi_pooling_param` otherwise: `_tables.py`.
"""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail, need_bottoms
from cpm_port.caffe.schema import declare_message
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []

_FORK = "Fast R-CNN fork"

declare_message(
    "ROIPoolingParameter",
    "pooled_h 1 uint32 0, pooled_w 2 uint32 0, spatial_scale 3 float 1",
    field="roi_pooling_param",
    number=8266711,
)
declare_message("SmoothL1LossParameter", "sigma 1 float 1", field="smooth_l1_loss_param", number=8266712)


def _roi_pooling(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    param = layer.params.roi_pooling_param
    if len(bottoms[0]) != 4 or not bottoms[1] or math.prod(bottoms[1][1:]) != 5:
        raise fail(layer, f"bottoms {bottoms}; expected maps of 4 axes, and 5 numbers per region")
    if param.pooled_h < 1 or param.pooled_w < 1:
        raise fail(layer, f"pooled_h {param.pooled_h} and pooled_w {param.pooled_w}; expected at least 1")
    return [(bottoms[1][0], bottoms[0][1], param.pooled_h, param.pooled_w)]


def _smooth_l1(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2, 4)
    if any(math.prod(shape[1:]) != math.prod(bottoms[0][1:]) or shape[0] != bottoms[0][0] for shape in bottoms[1:]):
        raise fail(layer, f"bottoms {bottoms}; expected one shape")
    return [()]


declare(
    LayerType("ROIPooling", _roi_pooling, origin=_FORK),
    LayerType("SmoothL1Loss", _smooth_l1, kind="loss", origin=_FORK),
)
