"""Receptive fields: which part of an input a value of a blob can see.

For every blob and spatial axis a `Field` says that index i sees the source's indices i * jump + low ... i * jump +
high. Layers compose fields exactly; where branches meet, the hull counts. Padding is seen like pixels, so a field may
reach beyond the picture. A layer that mixes all positions (InnerProduct, global pooling, ...) sees the whole source:
`WHOLE`.

The paper counts otherwise: a pooling as a window of its stride, so that the released 3 x 3 / 2 poolings add no border.
Stage 1 then sees 160 x 160 pixels; exactly, it sees 167 x 167. `pool_as_stride` gives the paper's count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from cpm_port.caffe import LayerSpec, NetSpec
from cpm_port.caffe.shapes import Shape, spatial_window

__all__ = ["WHOLE", "Field", "Fields", "receptive_fields"]


@dataclass(frozen=True)
class Field:
    """What index i of a blob's axis sees of the source's: i * jump + low to i * jump + high, both included."""

    jump: Fraction
    low: Fraction
    high: Fraction

    @property
    def size(self) -> int:
        """Number of indices seen (of the largest window, where windows differ)."""
        return int(self.high - self.low) + 1


Fields = tuple[Field, ...]  # one per spatial axis, height first
WHOLE: Fields = ()

_POINTWISE = frozenset(
    {"AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Concat", "Crop", "Dropout", "ELU", "Eltwise", "Exp", "LRN", "Log",
     "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "Silence", "Slice", "Softmax", "Split", "Swish", "TanH", "Threshold"}
)  # fmt: skip
_WINDOWED = frozenset({"Convolution", "Deconvolution", "Im2col", "Pooling"})


def receptive_fields(
    net: NetSpec, shapes: Mapping[str, Shape], sources: Iterable[str], *, pool_as_stride: bool = False
) -> dict[str, Fields]:
    """Return the fields of every blob that depends on `sources`.

    Parameters
    ----------
    net : NetSpec
    shapes : mapping of str to shape
        Shapes of the net's blobs; layers whose bottoms are not in it count as unknown and see the whole.
    sources : iterable of str
        Blobs in whose indices the fields are given; all must have the same spatial scale.
    pool_as_stride : bool
        Count a pooling's window as its stride (the paper's way).

    Returns
    -------
    dict of str to Fields
        A field per spatial axis, or `WHOLE`. For a blob changed in place, its last content.
    """
    start = Field(Fraction(1), Fraction(0), Fraction(0))
    fields: dict[str, Fields] = {}
    sources = set(sources)
    for layer in net.layers:
        seen = [fields[bottom] for bottom in layer.bottoms if bottom in fields]
        for top in layer.tops:
            if top in sources and top not in layer.bottoms:
                fields[top] = (start, start)
            elif seen:
                fields[top] = _through(layer, _hull(seen), shapes, pool_as_stride)
    return fields


def _hull(seen: list[Fields]) -> Fields:
    """Return the union of several bottoms' fields; `WHOLE` where one is, or where their scales differ."""
    if any(fields == WHOLE for fields in seen):
        return WHOLE
    hull = []
    for axis in zip(*seen, strict=True):
        if len({field.jump for field in axis}) > 1:
            return WHOLE
        hull.append(Field(axis[0].jump, min(f.low for f in axis), max(f.high for f in axis)))
    return tuple(hull)


def _through(layer: LayerSpec, bottom: Fields, shapes: Mapping[str, Shape], pool_as_stride: bool) -> Fields:
    if bottom == WHOLE or (layer.type == "LRN" and layer.params.lrn_param.norm_region == "WITHIN_CHANNEL"):
        return WHOLE
    if layer.type in _POINTWISE:
        return bottom
    shape = shapes.get(layer.bottoms[0])
    if layer.type not in _WINDOWED or shape is None or len(shape) != 4:
        return WHOLE
    if layer.type == "Pooling" and layer.params.pooling_param.global_pooling:
        return WHOLE
    kernels, strides, pads, dilations = spatial_window(layer, shape)
    fields = []
    for field, kernel, stride, pad, dilation in zip(bottom, kernels, strides, pads, dilations, strict=True):
        window = stride if layer.type == "Pooling" and pool_as_stride else kernel
        reach = (window - 1) * dilation
        if layer.type == "Deconvolution":
            jump = field.jump / stride
            fields.append(Field(jump, field.low + jump * (pad - reach), field.high + jump * pad))
        else:
            low = field.low - field.jump * pad
            fields.append(Field(field.jump * stride, low, field.high + field.jump * (reach - pad)))
    return tuple(fields)
