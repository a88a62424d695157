"""LayerType, the table of all of them, and how rules refuse what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from cpm_port.caffe.spec import LayerSpec
from cpm_port.errors import LayerError

__all__ = [
    "LAYER_TYPES",
    "POINTWISE",
    "WHOLE",
    "Field",
    "Fields",
    "LayerType",
    "Shape",
    "axis_of",
    "declare",
    "fail",
    "is_source",
    "need_bottoms",
    "origin_of",
    "same_shape",
    "sees_own_position",
]

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """What index i of a blob's axis sees of another blob's: i * jump + low to i * jump + high, both included.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from cpm_port.graph import Field
    >>> Field(Fraction(2), Fraction(-1), Fraction(1)).size  # of a kernel of 3, padded by 1, in steps of 2
    3
    """

    jump: Fraction
    low: Fraction
    high: Fraction

    @property
    def size(self) -> int:
        """Number of indices seen (of the largest window, where windows differ)."""
        return int(self.high - self.low) + 1


Fields: TypeAlias = tuple[Field, ...]
"""One field per spatial axis, height first."""

POINTWISE: Fields = (Field(Fraction(1), Fraction(0), Fraction(0)),) * 2
"""A value sees the bottoms at its own position only."""

WHOLE: Fields = ()
"""A value sees every position."""

Rule: TypeAlias = Callable[[LayerSpec, list[Shape]], list[Shape]]


def _none(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    return []


def _uncounted(layer: LayerSpec, bottoms: list[Shape]) -> int | None:
    return 0


def _whole(layer: LayerSpec, bottoms: list[Shape]) -> Fields | None:
    return WHOLE


def _all_trained(layer: Any) -> tuple[int, ...]:
    return ()


def sees_own_position(layer: LayerSpec, bottoms: list[Shape]) -> Fields:
    """Say that a value sees its own position only."""
    return POINTWISE


@dataclass(frozen=True)
class LayerType:
    """One layer type. Every rule takes a layer and its bottoms' shapes.

    Attributes
    ----------
    name : str
        As V2 prototxts write it: `"Convolution"`.
    top_shapes : callable
        Returns one shape per top; raises LayerError for bottoms or fields that do not fit, as Caffe does.
    param_shapes : callable
        Returns one shape per parameter blob, in Caffe's order.
    flops : callable
        Returns multiplications plus additions, or None where the type does not tell. By convention only products of
        weights count, and their biases; other types give 0.
    sees : callable
        Returns what an index of a top sees of the bottoms, `POINTWISE` and `WHOLE` among others, or None where the type
        does not tell.
    kind : {"layer", "loss", "source"}
        A loss counts in the total and needs no written top; a source brings the net's inputs.
    untrained : callable
        Takes the layer's message and returns the indices of parameters that no solver touches: running sums.
    origin : str
        `"upstream"`, or which fork of Caffe has the type: `"SSD fork"`.
    by_module : bool
        The rules ask the type's module, which needs torch: `cpm_port.graph.register` declared it.
    """

    name: str
    top_shapes: Rule
    param_shapes: Rule = _none
    flops: Callable[[LayerSpec, list[Shape]], int | None] = _uncounted
    sees: Callable[[LayerSpec, list[Shape]], Fields | None] = _whole
    kind: Literal["layer", "loss", "source"] = "layer"
    untrained: Callable[[Any], tuple[int, ...]] = _all_trained
    origin: str = "upstream"
    by_module: bool = False


LAYER_TYPES: dict[str, LayerType] = {}


def declare(*types: LayerType) -> None:
    """Enter types into the table.

    Raises
    ------
    LayerError
        A type of that name is there already.
    """
    for entry in types:
        if entry.name in LAYER_TYPES:
            raise LayerError(f"layer type {entry.name!r}: declared already")
        LAYER_TYPES[entry.name] = entry


def is_source(layer: LayerSpec) -> bool:
    """Tell whether a layer's tops are inputs of the net: it brings data, or is of unknown type and has no bottoms.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> from cpm_port.graph import is_source
    >>> [layer.name for layer in net.layers if is_source(layer)]
    ['input']
    """
    entry = LAYER_TYPES.get(layer.type)
    return entry.kind == "source" if entry is not None else bool(layer.tops) and not layer.bottoms


def origin_of(kind: str) -> str:
    """Return where a layer type is from: `"upstream"`, a fork, the module that registered it, or `"unknown"`."""
    return LAYER_TYPES[kind].origin if kind in LAYER_TYPES else "unknown"


# What rules share


def fail(layer: LayerSpec, what: str) -> LayerError:
    """Return the error that says what is wrong with a layer."""
    return LayerError(f"layer {layer.name!r} ({layer.type}): {what}")


def need_bottoms(layer: LayerSpec, bottoms: Sequence[Shape], low: int, high: int | None = None) -> None:
    """Raise where a layer has fewer than `low` or more than `high` bottoms (`low` where not given)."""
    high = low if high is None else high
    if not low <= len(bottoms) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise fail(layer, f"has {len(bottoms)} bottoms; expected {wanted}")


def axis_of(layer: LayerSpec, axis: int, shape: Shape, extra: int = 0) -> int:
    """Return a possibly negative axis as a position in `shape` (which may have `extra` positions more)."""
    if not -len(shape) <= axis < len(shape) + extra:
        raise fail(layer, f"axis {axis} of a bottom with shape {shape}")
    return axis + len(shape) if axis < 0 else axis


def same_shape(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Give the one bottom's shape to the one top."""
    need_bottoms(layer, bottoms, 1)
    return [bottoms[0]]
