"""Layers without bottoms that bring data: their tops are the net's inputs, fed by the caller.

An Input layer declares its shapes. A data layer (CPMData, HDF5Data, ...) reads files in Caffe; here the
training room reads them and hands the tops to the net. Where the prototxt alone tells the shapes of those
tops they are taken from it; where the shapes lie in the data (an LMDB, an HDF5 file), the code that builds the net
names them. A layer of an unknown type without bottoms (a fork's data layer, a Python layer) is taken for such a source,
too: nothing else can run without an input.
"""

from __future__ import annotations

from collections.abc import Mapping

from cpm_port.caffe import NetSpec
from cpm_port.caffe.layer_types import LAYER_TYPES, is_source
from cpm_port.caffe.shapes import layer_shapes, stated_shapes
from cpm_port.errors import LayerError, UsageError
from cpm_port.graph.module import Shape

__all__ = ["DATA_TYPES", "SOURCE_TYPES", "is_source", "source_shapes"]

SOURCE_TYPES = frozenset(entry.name for entry in LAYER_TYPES.values() if entry.kind == "source")
DATA_TYPES = SOURCE_TYPES - {"Input"}


def source_shapes(net: NetSpec, given: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the shape of every input of the net, in the net's order.

    Parameters
    ----------
    net : NetSpec
    given : mapping of str to tuple of int
        Shapes that the caller knows; they go before declared ones.

    Raises
    ------
    LayerError
        An input's shape is neither declared nor given.
    UsageError
        `given` names a blob that is no input.
    """
    shapes: dict[str, Shape] = {}
    for layer in filter(is_source, net.layers):
        stated = stated_shapes(layer, given)
        if stated is not None:
            tops = stated
        else:
            try:
                tops = layer_shapes(layer, [])
            except LayerError as error:
                raise LayerError(f"{net.source}: {error}") from None
        for top, shape in zip(layer.tops, tops, strict=True):
            shapes[top] = tuple(int(size) for size in given.get(top, shape))
    unknown = [name for name in given if name not in shapes]
    if unknown:
        raise UsageError(f"{net.source}: input_shapes names {unknown}; the net's inputs are {list(shapes)}")
    return shapes
