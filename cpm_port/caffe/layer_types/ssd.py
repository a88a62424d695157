"""Types of the SSD fork: Permute, PriorBox, DetectionOutput, Normalize; as RFB, MobileNet-SSD and libfacedetection use.

*Source*: weiliu89/caffe (branch ssd) as foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36 carries it on:
field names, numbers, defaults, and the layers' rules.
"""

from __future__ import annotations

import math

from cpm_port.caffe.layer_types.table import LayerType, Shape, axis_of, declare, fail, need_bottoms
from cpm_port.caffe.schema import declare_message
from cpm_port.caffe.spec import LayerSpec

__all__ = ["permuted_axes", "prior_shapes"]

_FORK = "SSD fork"
_CODE_TYPE = "enum CodeType CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3\n"

declare_message("PermuteParameter", "order 1 uint32*", field="permute_param", number=202)
declare_message(
    "PriorBoxParameter",
    _CODE_TYPE
    + """min_size 1 float*, max_size 2 float*, aspect_ratio 3 float*, flip 4 bool true, clip 5 bool false,
    variance 6 float*, img_size 7 uint32, img_h 8 uint32, img_w 9 uint32, step 10 float, step_h 11 float,
    step_w 12 float, offset 13 float 0.5""",
    field="prior_box_param",
    number=203,
)
declare_message("NonMaximumSuppressionParameter", "nms_threshold 1 float 0.3, top_k 2 int32, eta 3 float 1")
declare_message(
    "SaveOutputParameter",
    """output_directory 1 string, output_name_prefix 2 string, output_format 3 string, label_map_file 4 string,
    name_size_file 5 string, num_test_image 6 uint32""",
)
declare_message(
    "DetectionOutputParameter",
    _CODE_TYPE
    + """num_classes 1 uint32, share_location 2 bool true, background_label_id 3 int32 0,
    nms_param 4 NonMaximumSuppressionParameter, save_output_param 5 SaveOutputParameter, code_type 6 CodeType CORNER,
    keep_top_k 7 int32 -1, variance_encoded_in_target 8 bool false, confidence_threshold 9 float,
    visualize 10 bool false, visualize_threshold 11 float, save_file 12 string""",
    field="detection_output_param",
    number=204,
)
declare_message("LabelMapItem", "name 1 string, label 2 int32, display_name 3 string")
declare_message("LabelMap", "item 1 LabelMapItem*")
declare_message(
    "NormalizeParameter",
    "across_spatial 1 bool true, scale_filler 2 FillerParameter, channel_shared 3 bool true, eps 4 float 1e-10",
    field="norm_param",
    number=206,
)


def permuted_axes(layer: LayerSpec, bottom: Shape) -> Shape:
    """Return the bottom's axes in the top's order: `order`, then those that it does not name."""
    order = tuple(layer.params.permute_param.order)
    if len(set(order)) != len(order) or any(axis >= len(bottom) for axis in order):
        raise fail(layer, f"order {order} of a bottom with shape {bottom}; expected different axes of it")
    return order + tuple(axis for axis in range(len(bottom)) if axis not in order)


def prior_shapes(layer: LayerSpec) -> list[tuple[float, float]]:
    """Return (width, height) in image px of every prior box of a cell, in the fork's order.

    For each `min_size`: its square, the square between it and its `max_size` where there is one, and its rectangles of
    the same area, one per aspect ratio and, with `flip`, one per inverse. Sizes are cut to whole px.
    """
    param = layer.params.prior_box_param
    low, high = param.min_size, param.max_size
    if not low or any(size <= 0 for size in low) or (high and len(high) != len(low)):
        raise fail(layer, f"min_size {low} and max_size {high}; expected as many, or no max_size")
    if any(larger <= size for size, larger in zip(low, high, strict=False)):
        raise fail(layer, f"max_size {high} is not greater than min_size {low}")
    ratios: list[float] = [1.0]
    for ratio in param.aspect_ratio:
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if param.flip else [ratio]
    shapes = []
    for index, size in enumerate(map(int, low)):
        shapes.append((float(size), float(size)))
        if high:
            between = math.sqrt(size * int(high[index]))
            shapes.append((between, between))
        shapes += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios[1:]]
    return shapes


def _permute(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    return [tuple(bottoms[0][axis] for axis in permuted_axes(layer, bottoms[0]))]


def _prior_box(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1, 2)
    param = layer.params.prior_box_param
    if any(len(shape) != 4 for shape in bottoms):
        raise fail(layer, f"bottoms {bottoms}; expected maps of 4 axes")
    if len(bottoms) == 1 and not (param.img_size or (param.img_h and param.img_w)):
        raise fail(layer, "has one bottom and no img_size; expected the image as a second bottom, or its size")
    if len(param.variance) not in (0, 1, 4):
        raise fail(layer, f"{len(param.variance)} variances; expected none, one or 4")
    return [(1, 2, math.prod(bottoms[0][2:]) * len(prior_shapes(layer)) * 4)]


def _detection_output(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Give room for one detection, as the fork does before it has run."""
    need_bottoms(layer, bottoms, 3)
    param = layer.params.detection_output_param
    places, scores, priors = (math.prod(shape[1:]) for shape in bottoms)
    count = priors // 8
    classes = param.num_classes
    if priors % 8 or classes < 1 or scores != count * classes or len(bottoms[2]) < 2 or bottoms[2][1] != 2:
        raise fail(layer, f"bottoms {bottoms} for {classes} classes; expected scores per class of every prior box")
    if places != count * 4 * (1 if param.share_location else classes) or bottoms[0][0] != bottoms[1][0]:
        raise fail(layer, f"bottoms {bottoms}; expected four numbers per place of every prior box")
    return [(1, 1, 1, 7)]


def _normalize(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    axis_of(layer, 1, bottoms[0])
    return [bottoms[0]]


def _normalize_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    return [() if layer.params.norm_param.channel_shared else (bottoms[0][1],)]


declare(
    LayerType("DetectionOutput", _detection_output, origin=_FORK),
    LayerType("Normalize", _normalize, _normalize_params, origin=_FORK),
    LayerType("Permute", _permute, origin=_FORK),
    LayerType("PriorBox", _prior_box, origin=_FORK),
)
