"""Types whose top has its bottom's shape: activations, normalizations, Scale and Bias.

Forks' fields in upstream's messages: `scale_bias` of BatchNorm with its fillers (NVIDIA/caffe@87a2554),
`add_eps_before_sqrt` of BatchNorm and `relu6` of ReLU (foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36; the
first is 4 there, which PSPNet's fork gives to another field).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cpm_port.caffe.layer_types.table import (
    POINTWISE,
    WHOLE,
    Fields,
    LayerType,
    Shape,
    axis_of,
    declare,
    fail,
    need_bottoms,
    same_shape,
    sees_own_position,
)
from cpm_port.caffe.schema import declare_fields
from cpm_port.caffe.spec import LayerSpec

__all__ = ["has_scale_and_bias"]

declare_fields(
    "BatchNormParameter",
    """scale_filler 5 FillerParameter, bias_filler 6 FillerParameter, scale_bias 7 bool false,
    add_eps_before_sqrt 10004 bool true""",
)
declare_fields("ReLUParameter", "relu6 3 bool false")

_PLAIN = (
    "AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "Log", "Power", "ReLU", "Sigmoid", "Swish", "TanH",
    "Threshold",
)  # fmt: skip


def _softmax(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    tops = same_shape(layer, bottoms)
    axis_of(layer, layer.params.softmax_param.axis, bottoms[0])
    return tops


def _lrn(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    tops = same_shape(layer, bottoms)
    if len(bottoms[0]) != 4:
        raise fail(layer, f"a bottom of shape {bottoms[0]}; expected 4 axes")
    return tops


def _laid_over(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Scale and Bias: a second bottom, where there is one, lies over consecutive axes of the first."""
    need_bottoms(layer, bottoms, 1, 2)
    if len(bottoms) == 2:
        axis = axis_of(layer, _scale_axis(layer, bottoms), bottoms[0], extra=1)
        if bottoms[0][axis : axis + len(bottoms[1])] != bottoms[1]:
            raise fail(layer, f"second bottom {bottoms[1]} does not fit {bottoms[0]} from axis {axis}")
    return [bottoms[0]]


def _scale_axis(layer: LayerSpec, bottoms: Sequence[Shape]) -> int:
    param = layer.params.scale_param if layer.type == "Scale" else layer.params.bias_param
    return 0 if len(bottoms) == 2 and not bottoms[1] else int(param.axis)


def _scale_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    is_scale = layer.type == "Scale"
    param = layer.params.scale_param if is_scale else layer.params.bias_param
    axis = axis_of(layer, _scale_axis(layer, bottoms), bottoms[0], extra=1)
    count = len(bottoms[1]) if len(bottoms) == 2 else param.num_axes
    stop = len(bottoms[0]) if count == -1 else axis + count
    if count < -1 or stop > len(bottoms[0]):
        raise fail(layer, f"num_axes {count} from axis {axis} of a bottom with shape {bottoms[0]}")
    shape = bottoms[0][axis:stop]
    own = [shape] if len(bottoms) == 1 else []
    return own + ([shape] if is_scale and param.bias_term else [])


def _prelu_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if len(bottoms[0]) < 2:
        raise fail(layer, f"a bottom of shape {bottoms[0]}; expected at least 2 axes")
    return [() if layer.params.prelu_param.channel_shared else (bottoms[0][1],)]


def _batch_norm_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    channels = 1 if len(bottoms[0]) == 1 else bottoms[0][1]
    scale_and_bias: list[Shape] = [(channels,)] * 2 if has_scale_and_bias(layer.params.batch_norm_param) else []
    return [(channels,), (channels,), (1,), *scale_and_bias]


def has_scale_and_bias(batch_norm_param: Any) -> bool:
    """Tell whether a BatchNorm layer scales and shifts, too, as in NVIDIA's fork."""
    has = batch_norm_param.has
    return bool(batch_norm_param.scale_bias) or has("scale_filler") or has("bias_filler")


def _batch_norm_untrained(layer: Any) -> tuple[int, ...]:
    return (0, 1, 2)


def _lrn_sees(layer: LayerSpec, bottoms: list[Shape]) -> Fields:
    return WHOLE if layer.params.lrn_param.norm_region == "WITHIN_CHANNEL" else POINTWISE


declare(
    *(LayerType(name, same_shape, sees=sees_own_position) for name in _PLAIN),
    LayerType("BatchNorm", same_shape, _batch_norm_params, sees=sees_own_position, untrained=_batch_norm_untrained),
    LayerType("Bias", _laid_over, _scale_params, sees=sees_own_position),
    LayerType("LRN", _lrn, sees=_lrn_sees),
    LayerType("MVN", same_shape),
    LayerType("ReLU6", same_shape, sees=sees_own_position, origin="MobileNet forks"),
    LayerType("PReLU", same_shape, _prelu_params, sees=sees_own_position),
    LayerType("Scale", _laid_over, _scale_params, sees=sees_own_position),
    LayerType("Softmax", _softmax, sees=sees_own_position),
)
