"""The rules behind `shapes.py`: per layer type, tops' shapes and parameters' shapes from the bottoms' shapes.

Every rule checks what Caffe checks, and raises a LayerError that names the layer. *Source*: see `shapes.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cpm_port.caffe.netspec import LOSS_TYPES, LayerSpec
from cpm_port.errors import LayerError

__all__ = ["PARAMS", "RULES", "Shape", "Window", "conv_window", "layer_axis", "pooling_window"]

Shape: TypeAlias = tuple[int, ...]
Window: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


_SAME = (
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Dropout", "ELU", "Exp", "LRN", "Log", "MVN", "PReLU", "Power",
    "ReLU", "Scale", "Sigmoid", "Softmax", "Swish", "TanH", "Threshold",
)  # fmt: skip
_MAX_PYRAMID = 15  # more levels have more bins than Caffe can count
_FROM_SOURCE = ("Data", "HDF5Data", "ImageData", "WindowData")


def _fail(layer: LayerSpec, what: str) -> LayerError:
    return LayerError(f"layer {layer.name!r} ({layer.type}): {what}")


def layer_axis(layer: LayerSpec, axis: int, shape: Shape, extra: int = 0) -> int:
    """Return a possibly negative axis as a position in `shape` (which may have `extra` positions more)."""
    if not -len(shape) <= axis < len(shape) + extra:
        raise _fail(layer, f"axis {axis} of a bottom with shape {shape}")
    return axis + len(shape) if axis < 0 else axis


def _need(layer: LayerSpec, bottoms: Sequence[Shape], low: int, high: int | None = None) -> None:
    high = low if high is None else high
    if not low <= len(bottoms) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise _fail(layer, f"has {len(bottoms)} bottoms; expected {wanted}")


def _same(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1, 2 if layer.type in ("Scale", "Bias") else 1)
    if len(bottoms) == 2:
        axis = layer_axis(layer, _scale_axis(layer, bottoms), bottoms[0], extra=1)
        if bottoms[0][axis : axis + len(bottoms[1])] != bottoms[1]:
            raise _fail(layer, f"second bottom {bottoms[1]} does not fit {bottoms[0]} from axis {axis}")
    return [bottoms[0]]


def _per_axis(layer: LayerSpec, param: Any, name: str, count: int, default: int | None) -> tuple[int, ...]:
    """Read kernel_size, stride, pad or dilation of a convolution: one value, one per axis, or the `_h`/`_w` pair."""
    stem = {"kernel_size": "kernel", "stride": "stride", "pad": "pad"}.get(name)
    listed = getattr(param, name)
    if stem and (param.has(f"{stem}_h") or param.has(f"{stem}_w")):
        if listed:
            raise _fail(layer, f"gives both {name} and {stem}_h/{stem}_w; expected one")
        if count != 2:
            raise _fail(layer, f"gives {stem}_h/{stem}_w with {count} spatial axes; they are for two")
        return (getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w"))
    if not listed and default is not None:
        return (default,) * count
    if len(listed) not in (1, count):
        raise _fail(
            layer, f"gives {name} {len(listed)} times; expected once, or {count} times for {count} spatial axes"
        )
    return tuple(listed) * count if len(listed) == 1 else tuple(listed)


def conv_window(layer: LayerSpec, bottom: Shape) -> Window:
    param = layer.params.convolution_param
    count = len(bottom) - layer_axis(layer, param.axis, bottom) - 1
    kernel = _per_axis(layer, param, "kernel_size", count, None)
    stride = _per_axis(layer, param, "stride", count, 1)
    pad = _per_axis(layer, param, "pad", count, 0)
    dilation = _per_axis(layer, param, "dilation", count, 1)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(value < 1 for value in values):
            raise _fail(layer, f"{name} is {values}; expected at least 1")
    return kernel, stride, pad, dilation


def _conv_spatial(layer: LayerSpec, bottom: Shape) -> Shape:
    kernel, stride, pad, dilation = conv_window(layer, bottom)
    sizes = bottom[len(bottom) - len(kernel) :]
    out = []
    for size, k, s, p, d in zip(sizes, kernel, stride, pad, dilation, strict=True):
        extent = d * (k - 1) + 1
        if layer.type == "Deconvolution":
            out.append(s * (size - 1) + extent - 2 * p)
        else:
            out.append((size + 2 * p - extent) // s + 1)
    if any(size < 1 for size in out):
        raise _fail(
            layer, f"a bottom of shape {bottom} is too small for kernel {kernel}, pad {pad}, dilation {dilation}"
        )
    return tuple(out)


def _convolution(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.convolution_param
    if not bottoms or any(shape != bottoms[0] for shape in bottoms):
        raise _fail(layer, f"bottoms {bottoms}; expected one or more of one shape")
    axis = layer_axis(layer, param.axis, bottoms[0])
    _conv_params(layer, bottoms)
    return [(*shape[:axis], param.num_output, *_conv_spatial(layer, shape)) for shape in bottoms]


def _conv_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.convolution_param
    channels = bottoms[0][layer_axis(layer, param.axis, bottoms[0])]
    outputs, group = param.num_output, param.group
    if outputs < 1 or group < 1 or outputs % group or channels % group:
        raise _fail(
            layer, f"num_output {outputs} and {channels} channels; expected multiples of group {group}, and at least 1"
        )
    kernel = conv_window(layer, bottoms[0])[0]
    first, second = (outputs, channels) if layer.type == "Convolution" else (channels, outputs)
    return [(first, second // group, *kernel), *([(outputs,)] if param.bias_term else [])]


def _im2col(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    axis = layer_axis(layer, layer.params.convolution_param.axis, bottoms[0])
    kernel = conv_window(layer, bottoms[0])[0]
    return [(*bottoms[0][:axis], bottoms[0][axis] * math.prod(kernel), *_conv_spatial(layer, bottoms[0]))]


def pooling_window(layer: LayerSpec, bottom: Shape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    param = layer.params.pooling_param
    if len(bottom) != 4:
        raise _fail(layer, f"a bottom of shape {bottom}; expected 4 axes")
    sized = param.has("kernel_size") or param.has("kernel_h") or param.has("kernel_w")
    pairs = {}
    for name in ("stride", "pad"):
        pair = param.has(f"{name}_h") or param.has(f"{name}_w")
        if pair and (param.has(name) or not (param.has(f"{name}_h") and param.has(f"{name}_w"))):
            raise _fail(layer, f"gives {name}_h or {name}_w; expected both of them and no {name}")
        one = getattr(param, name)
        pairs[name] = (getattr(param, f"{name}_h"), getattr(param, f"{name}_w")) if pair else (one, one)
    if param.global_pooling:
        if sized or pairs["pad"] != (0, 0) or pairs["stride"] != (1, 1):
            raise _fail(layer, "pools globally and gives a kernel, pad or stride; expected none of them")
        return bottom[2:], (1, 1), (0, 0)
    if param.has("kernel_size") == (param.has("kernel_h") and param.has("kernel_w")):
        raise _fail(layer, "expected either kernel_size, or kernel_h and kernel_w")
    one = param.kernel_size
    kernel = (one, one) if param.has("kernel_size") else (param.kernel_h, param.kernel_w)
    if min(kernel) < 1 or min(pairs["stride"]) < 1:
        raise _fail(layer, f"kernel {kernel} and stride {pairs['stride']}; expected at least 1")
    if any(p >= k for p, k in zip(pairs["pad"], kernel, strict=True)):
        raise _fail(layer, f"pad {pairs['pad']} is not smaller than kernel {kernel}")
    return kernel, pairs["stride"], pairs["pad"]


def _pooling(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param = layer.params.pooling_param
    kernel, stride, pad = pooling_window(layer, bottoms[0])
    out = []
    for size, k, s, p in zip(bottoms[0][2:], kernel, stride, pad, strict=True):
        room = size + 2 * p - k
        windows = (room // s if param.round_mode == "FLOOR" else -(-room // s)) + 1
        if any(pad) and (windows - 1) * s >= size + p:
            windows -= 1
        if windows < 1:
            raise _fail(layer, f"a bottom of shape {bottoms[0]} is too small for kernel {kernel}, pad {pad}")
        out.append(windows)
    if len(layer.tops) > 1 and param.pool != "MAX":
        raise _fail(layer, f"{param.pool} pooling has one top")
    return [(*bottoms[0][:2], *out)] * len(layer.tops)


def _inner_product(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param = layer.params.inner_product_param
    axis = layer_axis(layer, param.axis, bottoms[0])
    return [(*bottoms[0][:axis], param.num_output)]


def _inner_product_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.inner_product_param
    inputs = math.prod(bottoms[0][layer_axis(layer, param.axis, bottoms[0]) :])
    weight = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    return [weight, *([(param.num_output,)] if param.bias_term else [])]


def _embed(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    return [(*bottoms[0], layer.params.embed_param.num_output)]


def _embed_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.embed_param
    return [(param.input_dim, param.num_output), *([(param.num_output,)] if param.bias_term else [])]


def _legacy_axis(layer: LayerSpec, param: Any, legacy: str, shape: Shape) -> int:
    if param.has(legacy):
        if param.has("axis"):
            raise _fail(layer, f"gives both axis and {legacy}; expected one")
        return layer_axis(layer, getattr(param, legacy), shape)
    return layer_axis(layer, param.axis, shape)


def _concat(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if not bottoms:
        raise _fail(layer, "has no bottoms")
    axis = _legacy_axis(layer, layer.params.concat_param, "concat_dim", bottoms[0])
    first = bottoms[0]
    for shape in bottoms[1:]:
        if len(shape) != len(first) or shape[:axis] != first[:axis] or shape[axis + 1 :] != first[axis + 1 :]:
            raise _fail(layer, f"bottoms {bottoms} differ outside axis {axis}")
    return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]


def _slice(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param, shape, count = layer.params.slice_param, bottoms[0], len(layer.tops)
    axis = _legacy_axis(layer, param, "slice_dim", shape)
    points = tuple(param.slice_point)
    if not points:
        if count == 0 or shape[axis] % count:
            raise _fail(layer, f"{shape[axis]} values on axis {axis} do not divide into {count} tops")
        points = tuple(range(shape[axis] // count, shape[axis], shape[axis] // count)) if shape[axis] else ()
    bounds = (0, *points, shape[axis])
    if len(points) != count - 1 or any(low >= high for low, high in itertools.pairwise(bounds)):
        raise _fail(layer, f"slice points {points} for {count} tops and {shape[axis]} values on axis {axis}")
    return [(*shape[:axis], high - low, *shape[axis + 1 :]) for low, high in itertools.pairwise(bounds)]


def _eltwise(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if len(bottoms) < 2 or any(shape != bottoms[0] for shape in bottoms):
        raise _fail(layer, f"bottoms {bottoms}; expected two or more of one shape")
    coeff = layer.params.eltwise_param.coeff
    if coeff and len(coeff) != len(bottoms):
        raise _fail(layer, f"{len(coeff)} coefficients for {len(bottoms)} bottoms")
    return [bottoms[0]]


def _reduction(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    return [bottoms[0][: layer_axis(layer, layer.params.reduction_param.axis, bottoms[0])]]


def _reshape(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param, shape = layer.params.reshape_param, bottoms[0]
    start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
    stop = len(shape) if param.num_axes == -1 else start + param.num_axes
    if not 0 <= start <= stop <= len(shape) or param.num_axes < -1:
        raise _fail(layer, f"axis {param.axis} and num_axes {param.num_axes} of a bottom with shape {shape}")
    wanted = tuple(param.shape.dim)
    middle = []
    for index, dim in enumerate(wanted):
        if dim == 0 and start + index >= len(shape):
            raise _fail(layer, f"dimension {index} is copied from a bottom with shape {shape}, which lacks it")
        middle.append(shape[start + index] if dim == 0 else dim)
    if middle.count(-1) > 1 or any(dim < -1 for dim in middle):
        raise _fail(layer, f"shape {wanted}; expected at most one -1, and nothing below")
    fixed = math.prod(dim for dim in (*shape[:start], *middle, *shape[stop:]) if dim != -1)
    if -1 in middle:
        if fixed == 0 or math.prod(shape) % fixed:
            raise _fail(layer, f"a bottom of shape {shape} does not fill {wanted}")
        middle[middle.index(-1)] = math.prod(shape) // fixed
    out = (*shape[:start], *middle, *shape[stop:])
    if math.prod(out) != math.prod(shape):
        raise _fail(layer, f"a bottom of shape {shape} has {math.prod(shape)} values, {out} has {math.prod(out)}")
    return [out]


def _flatten(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param, shape = layer.params.flatten_param, bottoms[0]
    start, end = layer_axis(layer, param.axis, shape), layer_axis(layer, param.end_axis, shape)
    if end < start:
        raise _fail(layer, f"axis {param.axis} lies behind end_axis {param.end_axis}")
    return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]


def _argmax(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param, shape = layer.params.argmax_param, bottoms[0]
    if param.has("axis"):
        axis = layer_axis(layer, param.axis, shape)
        return [(*shape[:axis], param.top_k, *shape[axis + 1 :])]
    out = [1] * max(len(shape), 3)
    out[0], out[1], out[2] = shape[0], 2 if param.out_max_val else 1, param.top_k
    return [tuple(out)]


def _accuracy(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 2)
    axis = layer_axis(layer, layer.params.accuracy_param.axis, bottoms[0])
    per_position = math.prod(bottoms[0][:axis]) * math.prod(bottoms[0][axis + 1 :])
    if per_position != math.prod(bottoms[1]):
        raise _fail(layer, f"labels {bottoms[1]} for predictions {bottoms[0]}; expected {per_position} labels")
    return [(), (bottoms[0][axis],)][: max(1, len(layer.tops))]


def _crop(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 2)
    param = layer.params.crop_param
    source, target = bottoms
    axis = layer_axis(layer, param.axis, source)
    if len(source) != len(target) or len(param.offset) not in (0, 1, len(source) - axis):
        raise _fail(layer, f"bottoms {bottoms} and {len(param.offset)} offsets from axis {axis}")
    offsets = list(param.offset) or [0]
    offsets = offsets * (len(source) - axis) if len(offsets) == 1 else offsets
    for size, wanted, offset in zip(source[axis:], target[axis:], offsets, strict=True):
        if offset + wanted > size:
            raise _fail(layer, f"{wanted} values from offset {offset} do not lie in {size}")
    return [(*source[:axis], *target[axis:])]


def _tile(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    param = layer.params.tile_param
    axis = layer_axis(layer, param.axis, bottoms[0])
    if param.tiles < 1:
        raise _fail(layer, f"tiles is {param.tiles}; expected at least 1")
    return [(*bottoms[0][:axis], bottoms[0][axis] * param.tiles, *bottoms[0][axis + 1 :])]


def _batch_reindex(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 2)
    if len(bottoms[1]) != 1:
        raise _fail(layer, f"indices of shape {bottoms[1]}; expected one axis")
    return [(bottoms[1][0], *bottoms[0][1:])]


def _spp(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    height = layer.params.spp_param.pyramid_height
    if len(bottoms[0]) != 4 or not 1 <= height <= _MAX_PYRAMID:
        wanted = f"expected 4 axes and 1 to {_MAX_PYRAMID}"
        raise _fail(layer, f"a bottom of shape {bottoms[0]} and pyramid_height {height}; {wanted}")
    num, channels = bottoms[0][:2]
    return [(num, channels, 1, 1)] if height == 1 else [(num, channels * (4**height - 1) // 3)]


def _split(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 1)
    return [bottoms[0]] * len(layer.tops)


def _loss(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    _need(layer, bottoms, 2, 3)
    if (
        layer.type == "EuclideanLoss"
        and bottoms[0][1:] != bottoms[1][1:]
        and math.prod(bottoms[0][1:]) != math.prod(bottoms[1][1:])
    ):
        raise _fail(layer, f"bottoms {bottoms[0]} and {bottoms[1]}; expected the same number of values per sample")
    return [(), bottoms[0]][: len(layer.tops)]


def _input(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    shapes = [tuple(shape.dim) for shape in layer.params.input_param.shape]
    if not shapes:
        raise _fail(layer, "declares no shape; give it in input_shapes")
    return shapes * len(layer.tops) if len(shapes) == 1 else shapes


def _dummy_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param, count = layer.params.dummy_data_param, len(layer.tops)
    shapes: list[Shape] = [tuple(shape.dim) for shape in param.shape]
    if not shapes:
        columns = (param.num, param.channels, param.height, param.width)
        shapes = [tuple(dims) for dims in zip(*columns, strict=False)]
    if len(shapes) not in (1, count):
        raise _fail(layer, f"{len(shapes)} shapes for {count} tops; expected one, or one per top")
    return shapes * count if len(shapes) == 1 else shapes


def _memory_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.memory_data_param
    return [(param.batch_size, param.channels, param.height, param.width), (param.batch_size,)]


def _cpm_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Image with center map, and labels (*Source*: shihenw/caffe@d154e89 src/caffe/layers/cpm_data_layer.cpp)."""
    if not layer.params.has("cpmdata_param"):
        raise _fail(layer, "has no cpmdata_param")
    batch, transform = layer.params.cpmdata_param.batch_size, layer.params.transform_param
    height, width, stride = transform.crop_size_y, transform.crop_size_x, transform.stride
    if not transform.put_gaussian or stride < 1:
        raise _fail(layer, f"put_gaussian {transform.put_gaussian} and stride {stride}; expected true and at least 1")
    images: Shape = (batch, 4, height, width)
    labels: Shape = (batch, 2 * (transform.num_parts + 1), height // stride, width // stride)
    return [images, labels][: len(layer.tops)]


def _from_source(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    raise _fail(layer, "its shapes lie in its data source; give those of its tops in input_shapes")


def _scale_axis(layer: LayerSpec, bottoms: Sequence[Shape]) -> int:
    param = layer.params.scale_param if layer.type == "Scale" else layer.params.bias_param
    return 0 if len(bottoms) == 2 and not bottoms[1] else int(param.axis)


def _scale_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    is_scale = layer.type == "Scale"
    param = layer.params.scale_param if is_scale else layer.params.bias_param
    axis = layer_axis(layer, _scale_axis(layer, bottoms), bottoms[0], extra=1)
    count = len(bottoms[1]) if len(bottoms) == 2 else param.num_axes
    stop = len(bottoms[0]) if count == -1 else axis + count
    if count < -1 or stop > len(bottoms[0]):
        raise _fail(layer, f"num_axes {count} from axis {axis} of a bottom with shape {bottoms[0]}")
    shape = bottoms[0][axis:stop]
    own = [shape] if len(bottoms) == 1 else []
    return own + ([shape] if is_scale and param.bias_term else [])


def _prelu_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if len(bottoms[0]) < 2:
        raise _fail(layer, f"a bottom of shape {bottoms[0]}; expected at least 2 axes")
    return [() if layer.params.prelu_param.channel_shared else (bottoms[0][1],)]


def _batch_norm_params(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    channels = 1 if len(bottoms[0]) == 1 else bottoms[0][1]
    return [(channels,), (channels,), (1,)]


_Rule: TypeAlias = Callable[[LayerSpec, list[Shape]], list[Shape]]

RULES: dict[str, _Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(LOSS_TYPES, _loss),
    **dict.fromkeys(_FROM_SOURCE, _from_source),
    "Accuracy": _accuracy,
    "ArgMax": _argmax,
    "BatchReindex": _batch_reindex,
    "CPMData": _cpm_data,
    "Concat": _concat,
    "Convolution": _convolution,
    "Crop": _crop,
    "Deconvolution": _convolution,
    "DummyData": _dummy_data,
    "Eltwise": _eltwise,
    "Embed": _embed,
    "Flatten": _flatten,
    "HDF5Output": lambda layer, bottoms: [],
    "Im2col": _im2col,
    "InnerProduct": _inner_product,
    "Input": _input,
    "MemoryData": _memory_data,
    "Parameter": lambda layer, bottoms: [tuple(layer.params.parameter_param.shape.dim)],
    "Pooling": _pooling,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "SPP": _spp,
    "Silence": lambda layer, bottoms: [],
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}

PARAMS: dict[str, _Rule] = {
    "BatchNorm": _batch_norm_params,
    "Bias": _scale_params,
    "Convolution": _conv_params,
    "Deconvolution": _conv_params,
    "Embed": _embed_params,
    "InnerProduct": _inner_product_params,
    "PReLU": _prelu_params,
    "Parameter": lambda layer, bottoms: [tuple(layer.params.parameter_param.shape.dim)],
    "Scale": _scale_params,
}
