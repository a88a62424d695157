"""Shapes of blobs and parameters, and what layers cost and see: integers in, integers out, no arrays.

`infer_shapes` walks a NetSpec; the others answer for one layer, by its entry in `layer_types`. Shapes are Caffe's:
batch, channels, height, width where a blob has four axes, `()` for a single value such as a loss.

A type that only a module declares (`cpm_port.graph.register`) is known once that module is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cpm_port.caffe.layer_types import LAYER_TYPES, Fields, Shape, is_source
from cpm_port.caffe.layer_types.windows import Window, spatial_window
from cpm_port.caffe.spec import LayerSpec, NetSpec
from cpm_port.errors import CpmPortError, LayerError, UnsupportedLayerError

__all__ = [
    "Shape",
    "Window",
    "fits_blob",
    "fitting",
    "infer_shapes",
    "layer_flops",
    "layer_sees",
    "layer_shapes",
    "param_shapes",
    "spatial_window",
    "stated_shapes",
]

_IMAGES_AND_LABELS = ("Data", "ImageData", "WindowData")
_MAX_AXES = 32
_MAX_COUNT = 2**31 - 1  # Caffe counts a blob's values in int


def infer_shapes(net: NetSpec, input_shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Shape]:
    """Return the shape of every blob of a net.

    Parameters
    ----------
    net : NetSpec
    input_shapes : mapping of str to shape, optional
        Replaces the declared shapes of inputs; needed for inputs without one, and for the tops of data layers whose
        shapes lie in their source (Data, HDF5Data, ImageData, WindowData).

    Returns
    -------
    dict of str to tuple of int
        In the order in which blobs first appear; for a blob changed in place, its last shape.

    Raises
    ------
    UnsupportedLayerError
        Naming all layers whose type is not known here, or that have fields of unknown meaning.
    LayerError
        For a layer whose bottoms or fields do not fit, an input without a shape, or a name in `input_shapes` that is no
        input.

    Examples
    --------
    >>> from cpm_port.caffe import infer_shapes, parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> infer_shapes(net)["Mconv5_stage2"]
    (1, 15, 46, 46)
    """
    unknown = [
        f"{layer.name!r} ({layer.type})"
        for layer in net.layers
        if layer.type not in LAYER_TYPES and not is_source(layer)
    ]
    if unknown:
        raise UnsupportedLayerError(f"{net.source}: no shape rule for layers {', '.join(unknown)}")
    strange = [f"layer {layer.name!r}: {stranger}" for layer in net.layers for stranger in layer.strangers]
    if strange:
        raise UnsupportedLayerError("\n  ".join([f"{net.source}: fields of unknown meaning", *strange]))
    given = {name: tuple(int(dim) for dim in shape) for name, shape in (input_shapes or {}).items()}
    sources = {top for layer in net.layers if not layer.bottoms for top in layer.tops} | set(net.inputs)
    strangers = sorted(set(given) - sources)
    if strangers:
        raise LayerError(
            f"{net.source}: no inputs {', '.join(map(repr, strangers))}; the inputs are {', '.join(sorted(sources))}"
        )
    shapes = {name: given[name] for name in net.inputs if name in given}
    for layer in net.layers:
        for bottom in layer.bottoms:
            if bottom not in shapes:
                raise LayerError(f"{net.source}: input {bottom!r} has no declared shape; give it in input_shapes")
        stated = None if layer.bottoms else stated_shapes(layer, given)
        tops = layer_shapes(layer, [shapes[bottom] for bottom in layer.bottoms]) if stated is None else stated
        shapes.update(zip(layer.tops, tops, strict=True))
        if not layer.bottoms:
            shapes.update({top: given[top] for top in layer.tops if top in given})
    return shapes


def layer_shapes(layer: LayerSpec, bottom_shapes: Sequence[Sequence[int]]) -> list[Shape]:
    """Return the shapes of a layer's tops.

    Raises
    ------
    UnsupportedLayerError, LayerError
        For a type not known here; for bottoms or fields that do not fit.

    Examples
    --------
    >>> from cpm_port.caffe import layer_shapes, parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> layer = next(layer for layer in net.layers if layer.type == "Pooling")
    >>> layer_shapes(layer, [(1, 128, 368, 368)])
    [(1, 128, 46, 46)]
    """
    entry = LAYER_TYPES.get(layer.type)
    if entry is None and is_source(layer):
        raise LayerError(
            f"layer {layer.name!r}: type {layer.type!r} is unknown; without bottoms, its tops are inputs of the net: "
            f"give the shapes of {', '.join(layer.tops)} in input_shapes"
        )
    if entry is None:
        raise UnsupportedLayerError(f"no shape rule for layer {layer.name!r} of type {layer.type!r}")
    with fitting(layer, bottom_shapes):
        tops = entry.top_shapes(layer, _as_shapes(bottom_shapes))
    if len(tops) != len(layer.tops):
        raise LayerError(f"layer {layer.name!r} ({layer.type}) has {len(layer.tops)} tops; expected {len(tops)}")
    return [_countable(layer, "top", shape) for shape in tops]


@contextmanager
def fitting(layer: LayerSpec, bottom_shapes: Sequence[Sequence[int]]) -> Iterator[None]:
    """Name the layer where its type's rules cannot take its bottoms: too few of them, or with too few axes.

    Raises
    ------
    LayerError
        Instead of the IndexError, ValueError or ZeroDivisionError that such bottoms end in.
    """
    try:
        yield
    except CpmPortError:
        raise
    except (IndexError, ValueError, ZeroDivisionError) as error:
        shapes = ", ".join(map(str, map(tuple, bottom_shapes))) or "none"
        raise LayerError(
            f"layer {layer.name!r} ({layer.type}): expected bottoms that fit its fields, got {shapes} ({error})"
        ) from error


def stated_shapes(layer: LayerSpec, given: Mapping[str, Sequence[int]]) -> list[Shape] | None:
    """Return the shapes of a source's tops by those that somebody states; None where they do not tell all of them.

    Of images with labels, the images' shape tells the labels' too: one for each.
    """
    if layer.tops and all(top in given for top in layer.tops):
        return _as_shapes([given[top] for top in layer.tops])
    if layer.type in _IMAGES_AND_LABELS and len(layer.tops) == 2 and layer.tops[0] in given:
        images = tuple(given[layer.tops[0]])
        return _as_shapes([images, images[:1]])
    return None


def param_shapes(layer: LayerSpec, bottom_shapes: Sequence[Sequence[int]]) -> list[Shape]:
    """Return the shapes of a layer's parameter blobs, in Caffe's order; empty for a layer that has none.

    Examples
    --------
    >>> from cpm_port.caffe import param_shapes, parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> layer = next(layer for layer in net.layers if layer.type == "Convolution")
    >>> param_shapes(layer, [(1, 3, 368, 368)])
    [(128, 3, 9, 9), (128,)]
    """
    entry = LAYER_TYPES.get(layer.type)
    shapes = [] if entry is None else entry.param_shapes(layer, _as_shapes(bottom_shapes))
    return [_countable(layer, "parameter", shape) for shape in shapes]


def layer_flops(layer: LayerSpec, bottom_shapes: Sequence[Sequence[int]]) -> int | None:
    """Return a layer's multiplications plus additions; None where its type is unknown or does not tell.

    Counted are products of weights (convolution, deconvolution, inner product) with their biases; Caffe's other types
    give 0.

    Examples
    --------
    >>> from cpm_port.caffe import layer_flops, parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> layer = next(layer for layer in net.layers if layer.type == "Convolution")
    >>> layer_flops(layer, [(1, 3, 368, 368)])
    8441790464
    """
    entry = LAYER_TYPES.get(layer.type)
    return None if entry is None else entry.flops(layer, _as_shapes(bottom_shapes))


def layer_sees(layer: LayerSpec, bottom_shapes: Sequence[Sequence[int]]) -> Fields | None:
    """Return what an index of a layer's tops sees of its bottoms; None where its type is unknown or does not tell."""
    entry = LAYER_TYPES.get(layer.type)
    return None if entry is None else entry.sees(layer, _as_shapes(bottom_shapes))


def fits_blob(stored: Shape, wanted: Shape) -> bool:
    """Tell whether a stored array fits a parameter of shape `wanted`.

    Old files give every blob four axes: a bias of (n,) lies there as (1, 1, 1, n).
    """
    return stored == wanted or (len(stored) == 4 and stored == (1,) * (4 - len(wanted)) + wanted)


def _as_shapes(shapes: Sequence[Sequence[int]]) -> list[Shape]:
    return [tuple(int(dim) for dim in shape) for shape in shapes]


def _countable(layer: LayerSpec, what: str, shape: Shape) -> Shape:
    """Return a shape, if Caffe could have a blob of it."""
    if len(shape) > _MAX_AXES or any(dim < 0 for dim in shape) or math.prod(max(dim, 1) for dim in shape) > _MAX_COUNT:
        shown = str(shape) if len(shape) <= _MAX_AXES else f"{len(shape)} axes"
        limits = f"Caffe's limits are {_MAX_AXES} axes and {_MAX_COUNT} values"
        raise LayerError(f"layer {layer.name!r}: a {what} of shape {shown}; {limits}")
    return shape
