"""Types that move, join, cut, pick or reduce values (Concat, Slice, Reshape, ArgMax, ...), and those without tops."""

from __future__ import annotations

import itertools
import math
from typing import Any

from cpm_port.caffe.layer_types.table import LayerType, Shape, axis_of, declare, fail, need_bottoms, sees_own_position
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []


def _legacy_axis(layer: LayerSpec, param: Any, legacy: str, shape: Shape) -> int:
    if param.has(legacy):
        if param.has("axis"):
            raise fail(layer, f"gives both axis and {legacy}; expected one")
        return axis_of(layer, getattr(param, legacy), shape)
    return axis_of(layer, param.axis, shape)


def _concat(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if not bottoms:
        raise fail(layer, "has no bottoms")
    axis = _legacy_axis(layer, layer.params.concat_param, "concat_dim", bottoms[0])
    first = bottoms[0]
    for shape in bottoms[1:]:
        if len(shape) != len(first) or shape[:axis] != first[:axis] or shape[axis + 1 :] != first[axis + 1 :]:
            raise fail(layer, f"bottoms {bottoms} differ outside axis {axis}")
    return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]


def _slice(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param, shape, count = layer.params.slice_param, bottoms[0], len(layer.tops)
    axis = _legacy_axis(layer, param, "slice_dim", shape)
    points = tuple(param.slice_point)
    if not points:
        if count == 0 or shape[axis] % count:
            raise fail(layer, f"{shape[axis]} values on axis {axis} do not divide into {count} tops")
        points = tuple(range(shape[axis] // count, shape[axis], shape[axis] // count)) if shape[axis] else ()
    bounds = (0, *points, shape[axis])
    if len(points) != count - 1 or any(low >= high for low, high in itertools.pairwise(bounds)):
        raise fail(layer, f"slice points {points} for {count} tops and {shape[axis]} values on axis {axis}")
    return [(*shape[:axis], high - low, *shape[axis + 1 :]) for low, high in itertools.pairwise(bounds)]


def _eltwise(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    if len(bottoms) < 2 or any(shape != bottoms[0] for shape in bottoms):
        raise fail(layer, f"bottoms {bottoms}; expected two or more of one shape")
    coeff = layer.params.eltwise_param.coeff
    if coeff and len(coeff) != len(bottoms):
        raise fail(layer, f"{len(coeff)} coefficients for {len(bottoms)} bottoms")
    return [bottoms[0]]


def _reduction(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    return [bottoms[0][: axis_of(layer, layer.params.reduction_param.axis, bottoms[0])]]


def _reshape(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param, shape = layer.params.reshape_param, bottoms[0]
    start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
    stop = len(shape) if param.num_axes == -1 else start + param.num_axes
    if not 0 <= start <= stop <= len(shape) or param.num_axes < -1:
        raise fail(layer, f"axis {param.axis} and num_axes {param.num_axes} of a bottom with shape {shape}")
    wanted = tuple(param.shape.dim)
    middle = []
    for index, dim in enumerate(wanted):
        if dim == 0 and start + index >= len(shape):
            raise fail(layer, f"dimension {index} is copied from a bottom with shape {shape}, which lacks it")
        middle.append(shape[start + index] if dim == 0 else dim)
    if middle.count(-1) > 1 or any(dim < -1 for dim in middle):
        raise fail(layer, f"shape {wanted}; expected at most one -1, and nothing below")
    fixed = math.prod(dim for dim in (*shape[:start], *middle, *shape[stop:]) if dim != -1)
    if -1 in middle:
        if fixed == 0 or math.prod(shape) % fixed:
            raise fail(layer, f"a bottom of shape {shape} does not fill {wanted}")
        middle[middle.index(-1)] = math.prod(shape) // fixed
    out = (*shape[:start], *middle, *shape[stop:])
    if math.prod(out) != math.prod(shape):
        raise fail(layer, f"a bottom of shape {shape} has {math.prod(shape)} values, {out} has {math.prod(out)}")
    return [out]


def _flatten(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param, shape = layer.params.flatten_param, bottoms[0]
    start, end = axis_of(layer, param.axis, shape), axis_of(layer, param.end_axis, shape)
    if end < start:
        raise fail(layer, f"axis {param.axis} lies behind end_axis {param.end_axis}")
    return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]


def _argmax(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param, shape = layer.params.argmax_param, bottoms[0]
    axis = axis_of(layer, param.axis, shape) if param.has("axis") else None
    count = math.prod(shape[1:]) if axis is None else shape[axis]
    if not 1 <= param.top_k <= count:
        raise fail(layer, f"top_k is {param.top_k} of {count} values; expected at least 1, and no more than there are")
    if axis is not None:
        return [(*shape[:axis], param.top_k, *shape[axis + 1 :])]
    out = [1] * max(len(shape), 3)
    out[0], out[1], out[2] = shape[0], 2 if param.out_max_val else 1, param.top_k
    return [tuple(out)]


def _accuracy(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    axis = axis_of(layer, layer.params.accuracy_param.axis, bottoms[0])
    per_position = math.prod(bottoms[0][:axis]) * math.prod(bottoms[0][axis + 1 :])
    if per_position != math.prod(bottoms[1]):
        raise fail(layer, f"labels {bottoms[1]} for predictions {bottoms[0]}; expected {per_position} labels")
    return [(), (bottoms[0][axis],)][: max(1, len(layer.tops))]


def _crop(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    param = layer.params.crop_param
    source, target = bottoms
    axis = axis_of(layer, param.axis, source)
    if len(source) != len(target) or len(param.offset) not in (0, 1, len(source) - axis):
        raise fail(layer, f"bottoms {bottoms} and {len(param.offset)} offsets from axis {axis}")
    offsets = list(param.offset) or [0]
    offsets = offsets * (len(source) - axis) if len(offsets) == 1 else offsets
    for size, wanted, offset in zip(source[axis:], target[axis:], offsets, strict=True):
        if offset + wanted > size:
            raise fail(layer, f"{wanted} values from offset {offset} do not lie in {size}")
    return [(*source[:axis], *target[axis:])]


def _tile(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    param = layer.params.tile_param
    axis = axis_of(layer, param.axis, bottoms[0])
    if param.tiles < 1:
        raise fail(layer, f"tiles is {param.tiles}; expected at least 1")
    return [(*bottoms[0][:axis], bottoms[0][axis] * param.tiles, *bottoms[0][axis + 1 :])]


def _batch_reindex(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    axis_of(layer, 0, bottoms[0])
    if len(bottoms[1]) != 1:
        raise fail(layer, f"indices of shape {bottoms[1]}; expected one axis")
    return [(bottoms[1][0], *bottoms[0][1:])]


def _filter(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Give each filtered bottom's shape to its top: the most that the selector can let through."""
    *values, selector = bottoms
    if not values or len(layer.tops) != len(values):
        raise fail(layer, f"has {len(bottoms)} bottoms and {len(layer.tops)} tops; expected one bottom more than tops")
    if not selector or any(size != 1 for size in selector[1:]) or any(shape[:1] != selector[:1] for shape in values):
        raise fail(layer, f"bottoms {bottoms}; expected the last one to hold one value per item of each other")
    return values


def _hdf5_output(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 2)
    if not layer.params.hdf5_output_param.file_name:
        raise fail(layer, "has no file_name")
    if any(not 1 <= len(shape) <= 4 for shape in bottoms) or bottoms[0][0] != bottoms[1][0]:
        raise fail(layer, f"bottoms {bottoms}; expected two of 1 to 4 axes and one batch size")
    return []


def _split(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    need_bottoms(layer, bottoms, 1)
    return [bottoms[0]] * len(layer.tops)


def _nothing(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    return []


declare(
    LayerType("Accuracy", _accuracy),
    LayerType("ArgMax", _argmax),
    LayerType("BatchReindex", _batch_reindex),
    LayerType("Concat", _concat, sees=sees_own_position),
    LayerType("Crop", _crop, sees=sees_own_position),
    LayerType("Eltwise", _eltwise, sees=sees_own_position),
    LayerType("Filter", _filter),
    LayerType("Flatten", _flatten),
    LayerType("HDF5Output", _hdf5_output),
    LayerType("Reduction", _reduction),
    LayerType("Reshape", _reshape),
    LayerType("Silence", _nothing),
    LayerType("Slice", _slice, sees=sees_own_position),
    LayerType("Split", _split, sees=sees_own_position),
    LayerType("Tile", _tile),
)
