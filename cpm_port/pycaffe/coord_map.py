"""How a layer's output coordinates lie on its input's, and the Crop layer that lines two maps up.

A map is (axis, scale, shift) along the spatial axes behind `axis`, the channels: output = scale * input + shift.
Pointwise layers have (None, 1, 0), whatever the axis. A Crop layer's own `axis` is the first one that it cuts. Kernels,
strides and paddings may be numbers, or lists of one per axis.

*Source*: BVLC/caffe@9b89154 python/caffe/coord_map.py: conventions, and types of exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cpm_port.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "PASS_THROUGH_LAYERS",
    "AxisMismatchException",
    "UndefinedMapException",
    "compose",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "inverse",
]

PASS_THROUGH_LAYERS = (
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Dropout", "ELU", "Eltwise", "Exp", "LRN", "Log", "MVN", "PReLU", "Power",
    "ReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
)  # fmt: skip

CoordMap = tuple[Any, Any, Any]
_IDENTITY: CoordMap = (None, 1, 0)
_LEGACY = ("kernel_h", "kernel_w", "pad_h", "pad_w", "stride_h", "stride_w")


class UndefinedMapException(Exception):  # noqa: N818 - Caffe's name
    """A layer without a coordinate map, as InnerProduct."""


class AxisMismatchException(Exception):  # noqa: N818 - Caffe's name
    """Maps along different axes cannot be composed."""


def coord_map(fn: Function) -> CoordMap:
    """Return the map of one layer.

    Raises
    ------
    UndefinedMapException
        The type has none.
    AssertionError
        Separate fields for height and width (`kernel_h`, ...).
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name == "Crop":
        fields = fn.params.get("crop_param", fn.params)
        return fields.get("axis", 2) - 1, 1, -np.atleast_1d(fields.get("offset", 0))
    if fn.type_name not in ("Convolution", "Deconvolution", "Im2col", "Pooling"):
        raise UndefinedMapException(f"a {fn.type_name} layer has no coordinate map")
    fields = fn.params.get("convolution_param", fn.params.get("pooling_param", fn.params))
    legacy = sorted(set(_LEGACY) & set(fields))
    assert not legacy, f"cropping does not support {', '.join(legacy)}; expected kernel_size, stride and pad"
    stride, pad = _per_axis(fields, "stride", 1), _per_axis(fields, "pad", 0)
    reach = (_per_axis(fields, "kernel_size", None) - 1) * _per_axis(fields, "dilation", 1) / 2
    axis = fields.get("axis", 1)
    if fn.type_name == "Deconvolution":
        return axis, stride, reach - pad
    return axis, 1 / stride, (pad - reach) / stride


def _per_axis(fields: Mapping[str, Any], name: str, default: int | None) -> Any:
    value = fields.get(name, default)
    if value is None:
        raise UndefinedMapException(f"no {name} is given")
    return np.atleast_1d(value)


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """Return the map that applies `next_map` first, then `base_map`.

    Raises
    ------
    AxisMismatchException
        Both have an axis, and not the same.
    """
    (axis, scale, shift), (next_axis, next_scale, next_shift) = base_map, next_map
    if axis is not None and next_axis is not None and axis != next_axis:
        raise AxisMismatchException(f"maps along axes {axis} and {next_axis}")
    return next_axis if axis is None else axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: CoordMap) -> CoordMap:
    """Return the map back from output to input."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """Return the map from `top_from`'s coordinates to `top_to`'s, over a blob that both come from.

    Raises
    ------
    RuntimeError
        No such blob, or none that layers with a map lead to.
    """
    ancestors = dict(_walk_back(top_from))
    for top, to_map in _walk_back(top_to):
        if top in ancestors:
            return compose(to_map, inverse(ancestors[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _walk_back(top: Top) -> Any:
    """Yield every top that a map leads to from `top`, nearest first, with that map."""
    maps = {top: _IDENTITY}
    waiting = [top]
    while waiting:
        here = waiting.pop(0)
        yield here, maps[here]
        bottoms = here.fn.inputs[:1] if here.fn.type_name == "Crop" else here.fn.inputs
        for bottom in bottoms:
            try:
                maps[bottom] = compose(maps[here], coord_map(here.fn))
            except UndefinedMapException:
                break
            waiting.append(bottom)


def crop(top_from: Top, top_to: Top) -> Top:
    """Return a Crop layer's top: `top_from` cut to the place and size of `top_to`.

    Raises
    ------
    RuntimeError
        The two are not connected.
    AssertionError
        They have different scales, or the cut would begin before the first value, or between two.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.asarray(scale), np.asarray(shift)
    assert (scale == 1).all(), f"scale mismatch on crop (a = {scale})"
    assert (shift <= 0).all(), f"cannot crop negative offset (b = {shift})"
    assert (np.round(shift) == shift).all(), f"cannot crop noninteger offset (b = {shift})"
    offsets = [int(offset) for offset in np.atleast_1d(-np.round(shift))]
    cut: Top = layers.Crop(top_from, top_to, crop_param={"axis": axis + 1, "offset": offsets})
    return cut
