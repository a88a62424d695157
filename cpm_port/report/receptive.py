"""Receptive fields: which part of an input a value of a blob can see.

For every blob and spatial axis a `Field` says that index i sees the source's indices i * jump + low ... i * jump +
high. Layers compose fields exactly; where branches meet, the hull counts. Padding is seen like pixels, so a field may
reach beyond the picture. A layer that mixes all positions (InnerProduct, global pooling, ...) sees the whole source:
`WHOLE`. What each layer type sees is declared with it (`cpm_port/caffe/layer_types/`); where a type does not tell, what
stands behind it is not known: None.

The paper counts otherwise: a pooling as a window of its stride, so that the released 3 x 3 / 2 poolings add no border.
Stage 1 then sees 160 x 160 pixels; exactly, it sees 167 x 167. `pool_as_stride` gives the paper's count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cpm_port.caffe import LayerSpec, NetSpec
from cpm_port.caffe.layer_types import POINTWISE, WHOLE, Field, Fields, Shape
from cpm_port.caffe.shapes import layer_sees

__all__ = ["WHOLE", "Field", "Fields", "receptive_fields"]


def receptive_fields(
    net: NetSpec, shapes: Mapping[str, Shape], sources: Iterable[str], *, pool_as_stride: bool = False
) -> dict[str, Fields | None]:
    """Return the fields of every blob that depends on `sources`.

    Parameters
    ----------
    net : NetSpec
    shapes : mapping of str to shape
        Shapes of the net's blobs; what layers see whose bottoms are not in it is not known.
    sources : iterable of str
        Blobs in whose indices the fields are given; all must have the same spatial scale.
    pool_as_stride : bool
        Count a pooling's window as its stride (the paper's way).

    Returns
    -------
    dict of str to Fields or None
        A field per spatial axis, `WHOLE`, or None where it is not known. For a blob changed in place, its last content.
    """
    fields: dict[str, Fields | None] = {}
    sources = set(sources)
    for layer in net.layers:
        seen = [fields[bottom] for bottom in layer.bottoms if bottom in fields]
        for top in layer.tops:
            if top in sources and top not in layer.bottoms:
                fields[top] = POINTWISE
            elif seen:
                fields[top] = _through(layer, _hull(seen), shapes, pool_as_stride)
    return fields


def _hull(seen: list[Fields | None]) -> Fields | None:
    """Return the union of several bottoms' fields; `WHOLE` where one is, or where their scales differ."""
    known = [fields for fields in seen if fields is not None]
    if any(fields == WHOLE for fields in known):
        return WHOLE
    if len(known) < len(seen):
        return None
    hull = []
    for axis in zip(*known, strict=True):
        if len({field.jump for field in axis}) > 1:
            return WHOLE
        hull.append(Field(axis[0].jump, min(f.low for f in axis), max(f.high for f in axis)))
    return tuple(hull)


def _through(
    layer: LayerSpec, bottom: Fields | None, shapes: Mapping[str, Shape], pool_as_stride: bool
) -> Fields | None:
    """Return what the layer's tops see, where its bottoms see `bottom`."""
    if not bottom or any(name not in shapes for name in layer.bottoms):
        return bottom if bottom == WHOLE else None
    own = layer_sees(layer, [shapes[name] for name in layer.bottoms])
    if not own:
        return own
    fields = []
    for field, window in zip(bottom, own, strict=True):
        strided = pool_as_stride and layer.type == "Pooling"
        high = window.low + window.jump - 1 if strided else window.high
        fields.append(
            Field(field.jump * window.jump, field.low + field.jump * window.low, field.high + field.jump * high)
        )
    return tuple(fields)
