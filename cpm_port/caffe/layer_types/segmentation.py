"""Types of the segmentation nets' forks: Upsample and BN (SegNet, ENet; BN of PSPNet too), Interp (DeepLab, PSPNet).

The forks' BN layers share a name and little else, so BNParameter holds the fields of both, under the numbers of the
fork that joined them.

*Source*: alexgkendall/caffe-segnet@03d1e9f, hszhao/PSPNet@798bdc9, yjxiong/caffe@9831a2b (BN of PSPNet); numbers of
the fields: foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36, for upstream has given SegNet's
`upsample_param` 137 and DeepLab's `interp_param` 143 to other layers.
"""

from __future__ import annotations

from typing import Any

from cpm_port.caffe.layer_types.table import (
    LayerType,
    Shape,
    declare,
    fail,
    need_bottoms,
    same_shape,
    sees_own_position,
)
from cpm_port.caffe.schema import declare_message
from cpm_port.caffe.spec import LayerSpec

__all__ = ["has_statistics"]

declare_message(
    "UpsampleParameter",
    """scale 1 uint32 2, scale_h 2 uint32, scale_w 3 uint32, pad_out_h 4 bool false, pad_out_w 5 bool false,
    upsample_h 6 uint32, upsample_w 7 uint32""",
    field="upsample_param",
    number=177,
)
declare_message(
    "BNParameter",
    """enum BNMode LEARN=0 INFERENCE=1
    enum Engine DEFAULT=0 CAFFE=1 CUDNN=2
    scale_filler 1 FillerParameter, shift_filler 2 FillerParameter, bn_mode 3 BNMode LEARN, eps 4 float 1e-5,
    frozen 5 bool false, engine 6 Engine DEFAULT, slope_filler 7 FillerParameter, bias_filler 8 FillerParameter,
    momentum 9 float 0.9""",
    field="bn_param",
    number=45,
)
declare_message(
    "InterpParameter",
    """height 1 int32 0, width 2 int32 0, zoom_factor 3 int32 1, shrink_factor 4 int32 1, pad_beg 5 int32 0,
    pad_end 6 int32 0""",
    field="interp_param",
    number=163,
)


def has_statistics(bn_param: Any) -> bool:
    """Tell whether a BN layer is PSPNet's, with a stored mean and variance; SegNet's is told by its own fields."""
    has = bn_param.has if hasattr(bn_param, "has") else bn_param.HasField
    return not any(has(name) for name in ("bn_mode", "scale_filler", "shift_filler"))


def _upsample(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1, 2)
    if any(len(shape) != 4 for shape in bottoms) or (len(bottoms) == 2 and bottoms[1] != bottoms[0]):
        raise fail(layer, f"bottoms {bottoms}; expected a map of 4 axes, and a mask of its shape or none")
    param, (num, channels, height, width) = layer.params.upsample_param, bottoms[0]
    if len(bottoms) == 1:
        if not param.has("scale") or param.scale < 1:
            raise fail(layer, "has one bottom and no scale; expected a scale of at least 1")
        return [(num, channels, height * param.scale, width * param.scale)]
    if param.has("upsample_h") and param.has("upsample_w"):
        return [(num, channels, param.upsample_h, param.upsample_w)]
    scales = (param.scale_h, param.scale_w) if param.has("scale_h") else (param.scale, param.scale)
    pads = (int(param.pad_out_h), int(param.pad_out_w))
    if min(scales) < 2 or any(pad and scale != 2 for pad, scale in zip(pads, scales, strict=True)):
        raise fail(layer, f"scale {scales}, pad_out {pads}; expected at least 2, and 2 where the output is padded")
    return [(num, channels, height * scales[0] - pads[0], width * scales[1] - pads[1])]


def _bn(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    if len(bottoms[0]) < 2:
        raise fail(layer, f"a bottom of shape {bottoms[0]}; expected at least 2 axes")
    if len(layer.tops) > 1:
        raise fail(layer, f"has {len(layer.tops)} tops; expected 1")
    return same_shape(layer, bottoms)


def _bn_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    return [(1, bottoms[0][1], 1, 1)] * (4 if has_statistics(layer.params.bn_param) else 2)


def _bn_untrained(layer: Any) -> tuple[int, ...]:
    if not has_statistics(layer.bn_param):
        return ()
    return (0, 1, 2, 3) if layer.bn_param.frozen else (2, 3)


def _interp(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1, 2)
    param = layer.params.interp_param
    sized = param.has("height") and param.has("width")
    if any(len(shape) != 4 for shape in bottoms):
        raise fail(layer, f"bottoms {bottoms}; expected 4 axes")
    if [param.has("zoom_factor"), param.has("shrink_factor"), sized, len(bottoms) == 2].count(True) != 1:
        raise fail(layer, "expected one of zoom_factor, shrink_factor, height and width, or a second bottom")
    if param.pad_beg > 0 or param.pad_end > 0:
        raise fail(layer, f"pad_beg {param.pad_beg} and pad_end {param.pad_end}; expected 0 or less, which crops")
    sizes = tuple(size + param.pad_beg + param.pad_end for size in bottoms[0][2:])
    if min(sizes) < 1 or min(param.zoom_factor, param.shrink_factor) < 1:
        raise fail(layer, f"a bottom of shape {bottoms[0]} is cropped to {sizes}, or a factor is below 1")
    if param.has("zoom_factor"):
        out = tuple(size + (size - 1) * (param.zoom_factor - 1) for size in sizes)
    elif param.has("shrink_factor"):
        out = tuple((size - 1) // param.shrink_factor + 1 for size in sizes)
    else:
        out = (param.height, param.width) if sized else bottoms[1][2:]
    if min(out) < 1:
        raise fail(layer, f"its top would have the size {out}")
    return [(*bottoms[0][:2], *out)]


declare(
    LayerType("BN", _bn, _bn_params, sees=sees_own_position, untrained=_bn_untrained, origin="SegNet and PSPNet forks"),
    LayerType("Interp", _interp, origin="DeepLab and PSPNet forks"),
    LayerType("Upsample", _upsample, origin="SegNet fork"),
)
