"""Types of the CPM authors' later fork for several people: ImResize, Nms, Maximum, Switch.

*Source*: CMU-Perceptual-Computing-Lab/caffe_rtpose@0b77afa (fields and numbers), @1f3ae93 (layers). Its
`imresize_param` is 148, which upstream has given to Clip; here it is 10,148.
"""

from __future__ import annotations

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail, need_bottoms
from cpm_port.caffe.schema import declare_message
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []

_FORK = "RTPose fork"

declare_message(
    "ImResizeParameter",
    """target_spatial_width 1 uint32 368, target_spatial_height 2 uint32 368, factor 3 float 0, start_scale 4 float 1,
    scale_gap 5 float 0.1""",
    field="imresize_param",
    number=10148,
)
declare_message(
    "NmsParameter",
    "threshold 1 float 0.5, num_peak 2 uint32 100, max_peaks 3 uint32 20, num_parts 4 uint32 15",
    field="nms_param",
    number=149,
)


def _maps(layer: LayerSpec, bottoms: list[Shape]) -> Shape:
    need_bottoms(layer, bottoms, 1)
    if len(bottoms[0]) != 4 or 0 in bottoms[0]:
        raise fail(layer, f"a bottom of shape {bottoms[0]}; expected maps of 4 axes")
    return bottoms[0]


def _imresize(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param, (_, channels, height, width) = layer.params.imresize_param, _maps(layer, bottoms)
    if param.factor:
        return [(1, channels, int(height * param.factor), int(width * param.factor))]
    return [(1, channels, param.target_spatial_height, param.target_spatial_width)]


def _nms(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param, shape = layer.params.nms_param, _maps(layer, bottoms)
    if param.num_parts > shape[1]:
        raise fail(layer, f"num_parts {param.num_parts} of {shape[1]} maps")
    return [(shape[0], param.num_parts, param.max_peaks + 1, 3)]


def _maximum(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    return [(*_maps(layer, bottoms)[:2], 1, 3)]


def _switch(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if not bottoms or bottoms[-1] != bottoms[0]:
        raise fail(layer, f"bottoms {bottoms}; expected the last one of the first one's shape")
    return [bottoms[0]]


declare(
    LayerType("ImResize", _imresize, origin=_FORK),
    LayerType("Maximum", _maximum, origin=_FORK),
    LayerType("Nms", _nms, origin=_FORK),
    LayerType("Switch", _switch, origin=_FORK),
)
