"""Types whose values see a window of the bottom: Convolution, Deconvolution, Im2col, Pooling, SPP.

Pooling rounds up, and with padding drops a last window that starts beyond the padded input's real part; convolution
rounds down. It knowingly differs: a convolution whose kernel exceeds the padded input is an error (Caffe's integer
division may give one output).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from cpm_port.caffe.layer_types.table import (
    WHOLE,
    Field,
    Fields,
    LayerType,
    Shape,
    axis_of,
    declare,
    fail,
    need_bottoms,
)
from cpm_port.caffe.spec import LayerSpec

__all__ = ["Window", "convolved_sizes", "pooled_sizes", "spatial_window"]

Window: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Kernel, stride, pad and dilation, per spatial axis."""

_MAX_PYRAMID = 15  # more levels have more bins than Caffe can count


def spatial_window(layer: LayerSpec, bottom_shape: Sequence[int]) -> Window:
    """Return (kernel, stride, pad, dilation) per spatial axis of a Convolution, Deconvolution, Im2col or Pooling layer.

    Raises
    ------
    LayerError
        For contradicting or missing fields.
    """
    bottom = tuple(int(dim) for dim in bottom_shape)
    if layer.type == "Pooling":
        kernel, stride, pad = _pooling_window(layer, bottom)
        return kernel, stride, pad, (1, 1)
    return _conv_window(layer, bottom)


def pooled_sizes(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], *, ceil: bool = True
) -> Shape:
    """Return a pooled map's size per axis: the one rule that shapes and tensors follow; below 1 where nothing fits.

    Parameters
    ----------
    sizes, kernel, stride, pad : sequence of int
        Per spatial axis.
    ceil : bool
        Whether the size rounds up (`round_mode: CEIL`, the default).
    """
    out = []
    for size, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        room = size + 2 * p - k
        windows = (-(-room // s) if ceil else room // s) + 1
        if any(pad) and (windows - 1) * s >= size + p:
            windows -= 1
        out.append(windows)
    return tuple(out)


def convolved_sizes(sizes: Sequence[int], window: Window) -> Shape:
    """Return how many places a convolution's window has on each axis; below 1 where it does not fit."""
    return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in zip(sizes, *window, strict=True))


def _convolution(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.convolution_param
    if not bottoms or any(shape != bottoms[0] for shape in bottoms):
        raise fail(layer, f"bottoms {bottoms}; expected one or more of one shape")
    axis = axis_of(layer, param.axis, bottoms[0])
    _conv_params(layer, bottoms)
    return [(*shape[:axis], param.num_output, *_conv_spatial(layer, shape)) for shape in bottoms]


def _conv_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.convolution_param
    channels = bottoms[0][axis_of(layer, param.axis, bottoms[0])]
    outputs, group = param.num_output, param.group
    if outputs < 1 or group < 1 or outputs % group or channels % group:
        raise fail(
            layer, f"num_output {outputs} and {channels} channels; expected multiples of group {group}, and at least 1"
        )
    kernel = _conv_window(layer, bottoms[0])[0]
    first, second = (outputs, channels) if layer.type == "Convolution" else (channels, outputs)
    return [(first, second // group, *kernel), *([(outputs,)] if param.bias_term else [])]


def _conv_flops(layer: LayerSpec, bottoms: list[Shape]) -> int:
    weight, *bias = _conv_params(layer, bottoms)
    total = 0
    for bottom, top in zip(bottoms, _convolution(layer, bottoms), strict=True):
        axis = axis_of(layer, layer.params.convolution_param.axis, bottom)
        positions = (top if layer.type == "Convolution" else bottom)[axis + 1 :]
        total += 2 * math.prod(weight) * math.prod(positions) * math.prod(bottom[:axis])
        total += math.prod(top) if bias else 0
    return total


def _im2col(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    axis = axis_of(layer, layer.params.convolution_param.axis, bottoms[0])
    kernel = _conv_window(layer, bottoms[0])[0]
    return [(*bottoms[0][:axis], bottoms[0][axis] * math.prod(kernel), *_conv_spatial(layer, bottoms[0]))]


def _pooling(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param = layer.params.pooling_param
    kernel, stride, pad = _pooling_window(layer, bottoms[0])
    out = pooled_sizes(bottoms[0][2:], kernel, stride, pad, ceil=param.round_mode != "FLOOR")
    if min(out) < 1:
        raise fail(layer, f"a bottom of shape {bottoms[0]} is too small for kernel {kernel}, pad {pad}")
    if len(layer.tops) > 1 and param.pool != "MAX":
        raise fail(layer, f"{param.pool} pooling has one top")
    return [(*bottoms[0][:2], *out)] * len(layer.tops)


def _spp(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    height = layer.params.spp_param.pyramid_height
    if len(bottoms[0]) != 4 or not 1 <= height <= _MAX_PYRAMID:
        wanted = f"expected 4 axes and 1 to {_MAX_PYRAMID}"
        raise fail(layer, f"a bottom of shape {bottoms[0]} and pyramid_height {height}; {wanted}")
    num, channels = bottoms[0][:2]
    return [(num, channels, 1, 1)] if height == 1 else [(num, channels * (4**height - 1) // 3)]


def _sees(layer: LayerSpec, bottoms: list[Shape]) -> Fields:
    """Say what a window sees; all of the map for other than two spatial axes, and for global pooling."""
    window = spatial_window(layer, bottoms[0])
    whole_map = layer.type == "Pooling" and layer.params.pooling_param.global_pooling
    if len(bottoms[0]) != 4 or len(window[0]) != 2 or whole_map:
        return WHOLE
    seen = []
    for kernel, stride, pad, dilation in zip(*window, strict=True):
        reach = (kernel - 1) * dilation
        if layer.type == "Deconvolution":
            seen.append(Field(Fraction(1, stride), Fraction(pad - reach, stride), Fraction(pad, stride)))
        else:
            seen.append(Field(Fraction(stride), Fraction(-pad), Fraction(reach - pad)))
    return tuple(seen)


def _conv_window(layer: LayerSpec, bottom: Shape) -> Window:
    param = layer.params.convolution_param
    count = len(bottom) - axis_of(layer, param.axis, bottom) - 1
    kernel = _per_axis(layer, param, "kernel_size", count, None)
    stride = _per_axis(layer, param, "stride", count, 1)
    pad = _per_axis(layer, param, "pad", count, 0)
    dilation = _per_axis(layer, param, "dilation", count, 1)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(value < 1 for value in values):
            raise fail(layer, f"{name} is {values}; expected at least 1")
    return kernel, stride, pad, dilation


def _per_axis(layer: LayerSpec, param: Any, name: str, count: int, default: int | None) -> tuple[int, ...]:
    """Read kernel_size, stride, pad or dilation of a convolution: one value, one per axis, or the `_h`/`_w` pair."""
    stem = {"kernel_size": "kernel", "stride": "stride", "pad": "pad"}.get(name)
    listed = getattr(param, name)
    if stem and (param.has(f"{stem}_h") or param.has(f"{stem}_w")):
        if listed:
            raise fail(layer, f"gives both {name} and {stem}_h/{stem}_w; expected one")
        if count != 2:
            raise fail(layer, f"gives {stem}_h/{stem}_w with {count} spatial axes; they are for two")
        return (getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w"))
    if not listed and default is not None:
        return (default,) * count
    if len(listed) not in (1, count):
        raise fail(layer, f"gives {name} {len(listed)} times; expected once, or {count} times for {count} spatial axes")
    return tuple(listed) * count if len(listed) == 1 else tuple(listed)


def _conv_spatial(layer: LayerSpec, bottom: Shape) -> Shape:
    window = kernel, _, pad, dilation = _conv_window(layer, bottom)
    sizes = bottom[len(bottom) - len(kernel) :]
    if layer.type == "Deconvolution":
        axes = zip(sizes, *window, strict=True)
        out = tuple(s * (size - 1) + d * (k - 1) + 1 - 2 * p for size, k, s, p, d in axes)
    else:
        out = convolved_sizes(sizes, window)
    if any(size < 1 for size in out):
        raise fail(
            layer, f"a bottom of shape {bottom} is too small for kernel {kernel}, pad {pad}, dilation {dilation}"
        )
    return out


def _pooling_window(layer: LayerSpec, bottom: Shape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    param = layer.params.pooling_param
    if len(bottom) != 4:
        raise fail(layer, f"a bottom of shape {bottom}; expected 4 axes")
    sized = param.has("kernel_size") or param.has("kernel_h") or param.has("kernel_w")
    pairs = {}
    for name in ("stride", "pad"):
        pair = param.has(f"{name}_h") or param.has(f"{name}_w")
        if pair and (param.has(name) or not (param.has(f"{name}_h") and param.has(f"{name}_w"))):
            raise fail(layer, f"gives {name}_h or {name}_w; expected both of them and no {name}")
        one = getattr(param, name)
        pairs[name] = (getattr(param, f"{name}_h"), getattr(param, f"{name}_w")) if pair else (one, one)
    if param.global_pooling:
        if sized or pairs["pad"] != (0, 0) or pairs["stride"] != (1, 1):
            raise fail(layer, "pools globally and gives a kernel, pad or stride; expected none of them")
        return bottom[2:], (1, 1), (0, 0)
    if param.has("kernel_size") == (param.has("kernel_h") and param.has("kernel_w")):
        raise fail(layer, "expected either kernel_size, or kernel_h and kernel_w")
    one = param.kernel_size
    kernel = (one, one) if param.has("kernel_size") else (param.kernel_h, param.kernel_w)
    if min(kernel) < 1 or min(pairs["stride"]) < 1:
        raise fail(layer, f"kernel {kernel} and stride {pairs['stride']}; expected at least 1")
    if any(p >= k for p, k in zip(pairs["pad"], kernel, strict=True)):
        raise fail(layer, f"pad {pairs['pad']} is not smaller than kernel {kernel}")
    return kernel, pairs["stride"], pairs["pad"]


declare(
    LayerType("Convolution", _convolution, _conv_params, _conv_flops, _sees),
    LayerType("Deconvolution", _convolution, _conv_params, _conv_flops, _sees),
    LayerType("Im2col", _im2col, sees=_sees),
    LayerType("Pooling", _pooling, sees=_sees),
    LayerType("SPP", _spp),
)
