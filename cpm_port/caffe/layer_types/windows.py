"""Types whose values see a window of the bottom: Convolution, Deconvolution, Im2col, Pooling, SPP; and the depthwise
types of MobileNet's forks.

Pooling rounds up, and with padding drops a last window that starts beyond the padded input's real part; convolution
rounds down. It knowingly differs: a convolution whose kernel exceeds the padded input is an error (Caffe's integer
division may give one output).

Fields that forks added to upstream's messages count here, too. Of a convolution, `hole` is the dilation (DeepLab's
first fork). Of a pooling, `ceil_mode: false` and `round_below: true` round down unless `round_mode` is given; `kstride`
and `dilation` are the distance between a window's values (naibaf7/caffe); `pad_l`, `pad_r`, `pad_t` and `pad_b` pad
each side by itself. The numbers of `ceil_mode` and of the pads are those of
foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36; the others, which upstream has given away or we have not
seen, are our own.
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
from cpm_port.caffe.schema import declare_fields
from cpm_port.caffe.spec import LayerSpec

__all__ = ["Window", "convolved_sizes", "pooled_sizes", "rounds_up", "spatial_window", "trailing_pad"]

declare_fields("ConvolutionParameter", "hole 10018 uint32, hole_h 10019 uint32, hole_w 10020 uint32")
declare_fields(
    "PoolingParameter",
    """ceil_mode 14 bool true, pad_l 16 uint32 0, pad_r 17 uint32 0, pad_t 18 uint32 0, pad_b 19 uint32 0,
    round_below 10001 bool false, kstride 10002 uint32*, dilation 10003 uint32*""",
)

Window: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Kernel, stride, pad and dilation, per spatial axis."""

DEPTHWISE = ("ConvolutionDepthwise", "DepthwiseConvolution")
_SIDES = ("pad_t", "pad_l", "pad_b", "pad_r")
_MAX_PYRAMID = 15  # more levels have more bins than Caffe can count


def spatial_window(layer: LayerSpec, bottom_shape: Sequence[int]) -> Window:
    """Return (kernel, stride, pad, dilation) per spatial axis of a Convolution, Deconvolution, Im2col or Pooling layer.

    The pad is the one before the first value; `trailing_pad` tells the other where they may differ.

    Raises
    ------
    LayerError
        For contradicting or missing fields.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net, spatial_window
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> layer = next(layer for layer in net.layers if layer.type == "Convolution")
    >>> spatial_window(layer, (1, 3, 368, 368))
    ((9, 9), (1, 1), (4, 4), (1, 1))
    """
    bottom = tuple(int(dim) for dim in bottom_shape)
    if layer.type == "Pooling":
        return _pooling_window(layer, bottom)
    return _conv_window(layer, bottom)


def trailing_pad(layer: LayerSpec, pad: tuple[int, ...]) -> tuple[int, ...]:
    """Return the (height, width) padding behind the last value of a Pooling layer whose leading padding is `pad`."""
    param = layer.params.pooling_param
    return (param.pad_b, param.pad_r) if _padded_by_side(param) else pad


def rounds_up(layer: LayerSpec) -> bool:
    """Tell whether a Pooling layer's size rounds up."""
    param = layer.params.pooling_param
    if param.has("round_mode"):
        return bool(param.round_mode == "CEIL")
    return bool(param.ceil_mode) and not param.round_below


def pooled_sizes(sizes: Sequence[int], window: Window, end: Sequence[int], *, ceil: bool = True) -> Shape:
    """Return a pooled map's size per axis: the one rule that shapes and tensors follow; below 1 where nothing fits.

    Parameters
    ----------
    sizes : sequence of int
        Per spatial axis.
    window : Window
        Kernel, stride, leading padding and dilation.
    end : sequence of int
        The trailing padding.
    ceil : bool
        Whether the size rounds up (`round_mode: CEIL`, the default).
    """
    out = []
    for size, k, s, p, d, e in zip(sizes, *window, end, strict=True):
        room = size + p + e - d * (k - 1) - 1
        windows = (-(-room // s) if ceil else room // s) + 1
        if (any(window[2]) or any(end)) and (windows - 1) * s >= size + p:
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
    outputs, group = param.num_output, channels if layer.type in DEPTHWISE else param.group
    if layer.type in DEPTHWISE and outputs != channels:
        raise fail(layer, f"num_output {outputs} for {channels} channels; expected as many")
    if outputs < 1 or group < 1 or outputs % group or channels % group:
        raise fail(
            layer, f"num_output {outputs} and {channels} channels; expected multiples of group {group}, and at least 1"
        )
    kernel = _conv_window(layer, bottoms[0])[0]
    first, second = (channels, outputs) if layer.type == "Deconvolution" else (outputs, channels)
    return [(first, second // group, *kernel), *([(outputs,)] if param.bias_term else [])]


def _conv_flops(layer: LayerSpec, bottoms: list[Shape]) -> int:
    weight, *bias = _conv_params(layer, bottoms)
    total = 0
    for bottom, top in zip(bottoms, _convolution(layer, bottoms), strict=True):
        axis = axis_of(layer, layer.params.convolution_param.axis, bottom)
        positions = (bottom if layer.type == "Deconvolution" else top)[axis + 1 :]
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
    window = kernel, _, pad, _ = _pooling_window(layer, bottoms[0])
    out = pooled_sizes(bottoms[0][2:], window, trailing_pad(layer, pad), ceil=rounds_up(layer))
    if min(out) < 1:
        raise fail(layer, f"a bottom of shape {bottoms[0]} is too small for kernel {kernel}, pad {pad}")
    if len(layer.tops) > 1 and param.pool != "MAX":
        raise fail(layer, f"{param.pool} pooling has one top")
    return [(*bottoms[0][:2], *out)] * min(max(len(layer.tops), 1), 2)


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
    if any(param.has(name) for name in ("hole", "hole_h", "hole_w")):
        if param.dilation or count != 2:
            raise fail(
                layer, f"gives hole with {count} spatial axes or beside dilation; expected two axes, and one name"
            )
        dilation = tuple(getattr(param, name) if param.has(name) else param.hole or 1 for name in ("hole_h", "hole_w"))
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


def _padded_by_side(param: Any) -> bool:
    return any(getattr(param, side) for side in _SIDES)


def _pooling_window(layer: LayerSpec, bottom: Shape) -> Window:
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
        return bottom[2:], (1, 1), (0, 0), (1, 1)
    if param.has("kernel_size") == (param.has("kernel_h") and param.has("kernel_w")):
        raise fail(layer, "expected either kernel_size, or kernel_h and kernel_w")
    one = param.kernel_size
    kernel = (one, one) if param.has("kernel_size") else (param.kernel_h, param.kernel_w)
    if min(kernel) < 1 or min(pairs["stride"]) < 1:
        raise fail(layer, f"kernel {kernel} and stride {pairs['stride']}; expected at least 1")
    dilation = _pool_dilation(layer, param)
    if _padded_by_side(param):
        if any(param.has(name) for name in ("pad", "pad_h", "pad_w")):
            raise fail(layer, "gives pad beside pad_l, pad_r, pad_t, pad_b; expected one kind")
        pairs["pad"] = (param.pad_t, param.pad_l)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    for pad in (pairs["pad"], trailing_pad(layer, pairs["pad"])):
        if any(p >= k for p, k in zip(pad, reach, strict=True)):
            raise fail(layer, f"pad {pad} is not smaller than kernel {reach}")
    return kernel, pairs["stride"], pairs["pad"], dilation


def _pool_dilation(layer: LayerSpec, param: Any) -> tuple[int, ...]:
    """Read the distance between a pooling window's values, one for both axes or one per axis."""
    if param.kstride and param.dilation:
        raise fail(layer, "gives both kstride and dilation; expected one")
    given = tuple(param.kstride or param.dilation or (1,))
    if len(given) > 2 or min(given) < 1:
        raise fail(layer, f"kstride or dilation is {given}; expected one or two, and at least 1")
    return given * 2 if len(given) == 1 else given


declare(
    *(LayerType(name, _convolution, _conv_params, _conv_flops, _sees, origin="MobileNet forks") for name in DEPTHWISE),
    LayerType("Convolution", _convolution, _conv_params, _conv_flops, _sees),
    LayerType("Deconvolution", _convolution, _conv_params, _conv_flops, _sees),
    LayerType("Im2col", _im2col, sees=_sees),
    LayerType("Pooling", _pooling, sees=_sees),
    LayerType("SPP", _spp),
)
