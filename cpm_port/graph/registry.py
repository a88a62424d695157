"""Layer type -> builder: the one place where the graph room learns what a type name in a prototxt means.

`register("PReLU")` decorates a builder: a callable `(spec, bottom_shapes) -> LayerModule`, usually a `LayerModule`
subclass itself. A type registered twice is an error, and so is looking up a type that is not registered. A new type is
one file, here in `layers/` or a user's own, imported before `load_net` is called:

    import math
    import torch
    from cpm_port.graph import POINTWISE, LayerModule, register

    @register("HardSwish")
    class HardSwish(LayerModule):
        def top_shapes(self, bottom_shapes):        # Caffe's Reshape: integers only
            return [bottom_shapes[0]]

        def flops(self, bottom_shapes):             # for `inspect`; without it, the cost is not told
            return 4 * math.prod(bottom_shapes[0])

        def sees(self, bottom_shapes):              # for receptive fields; without it, they are not known
            return POINTWISE

        def forward(self, x):                       # tensors in, a tuple of tensors out, one per top
            return (torch.nn.functional.hardswish(x),)

A layer with parameters also has `param_shapes` and `fillers`. A type with fields of its own names their message,
`message = "hard_swish_param"`, and gives the fields where it registers:
`@register("HardSwish", fields="beta 1 float 1", number=10_500)`. The types of upstream Caffe and of its forks have
their shapes, costs and messages in `cpm_port/caffe/layer_types/`, known without torch; their modules need
`forward` only (`layers/relu.py`), and `fillers` (`layers/prelu.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from cpm_port.caffe.layer_types import LAYER_TYPES, LayerType, declare
from cpm_port.caffe.schema import declare_message
from cpm_port.errors import LayerError, UnsupportedLayerError
from cpm_port.graph.sources import SOURCE_TYPES, is_source

if TYPE_CHECKING:
    from cpm_port.caffe import LayerSpec, NetSpec
    from cpm_port.graph.module import LayerModule, Shape

__all__ = ["Builder", "builder_of", "register", "require_supported", "supported_types", "unsupported_layers"]

Builder = Callable[["LayerSpec", "list[Shape]"], "LayerModule"]
Refusal = Callable[["LayerSpec"], "str | None"]
_B = TypeVar("_B", bound=Builder)


@dataclass(frozen=True)
class _Entry:
    builder: Builder
    refuse: Refusal | None


_ENTRIES: dict[str, _Entry] = {}
_log = logging.getLogger(__name__)


def register(
    layer_type: str,
    *,
    refuse: Refusal | None = None,
    loss: bool = False,
    fields: str = "",
    number: int = 0,
    origin: str = "",
) -> Callable[[_B], _B]:
    """Return the decorator that makes a builder responsible for `layer_type`.

    Parameters
    ----------
    layer_type : str
        The type as V2 prototxts write it: `"Convolution"`.
    refuse : callable, optional
        Looks at a layer's fields, before any shape is known, and returns why this variant of the type is not supported,
        or None where it is. Refusals join unknown types in one `UnsupportedLayerError`.
    loss : bool
        Whether a new type is a loss: it counts in the total, and needs no written top. Nets that are read afterwards
        know it so; of Caffe's own types it is known.

    fields : str
        The fields of a message of the type's own, whose name in a layer is the class's `message`: `"beta 1 float 1"`
        lets nets that are read afterwards say `hard_swish_param { beta: 2 }`; notation of `schema.declare_message`.
    number : int
        That message's number in binary files, from 10,000 on.

    origin : str
        Where a new type is from, for `inspect`; the builder's module where it is not said.

    Raises
    ------
    LayerError
        The type has a builder already.
    UsageError
        The schema has a message or field of that name or number already.

    Examples
    --------
    >>> from cpm_port.graph import LayerModule, register, supported_types
    >>> @register("Halved")
    ... class Halved(LayerModule):
    ...     def top_shapes(self, bottom_shapes):
    ...         return bottom_shapes
    ...
    ...     def forward(self, x):
    ...         return (x / 2,)
    >>> "Halved" in supported_types()
    True
    """

    def enter(builder: _B) -> _B:
        if layer_type in _ENTRIES:
            raise LayerError(f"layer type {layer_type!r}: registered already, by {_ENTRIES[layer_type].builder!r}")
        if fields:
            field = str(getattr(builder, "message", ""))
            name = "".join(map(str.capitalize, field.removesuffix("_param").split("_"))) + "Parameter"
            declare_message(name, fields, field=field, number=number)
        _ENTRIES[layer_type] = _Entry(builder, refuse)
        if layer_type not in LAYER_TYPES:
            declare(_told_by_modules(layer_type, builder, loss, origin))
        return builder

    return enter


def _told_by_modules(layer_type: str, builder: Builder, loss: bool, origin: str) -> LayerType:
    """Return an entry whose rules make a module without memory and ask it."""

    def module(layer: LayerSpec, bottoms: list[Shape]) -> LayerModule:
        with torch.device("meta"):
            return builder(layer, bottoms)

    return LayerType(
        layer_type,
        top_shapes=lambda layer, bottoms: module(layer, bottoms).top_shapes(bottoms),
        param_shapes=lambda layer, bottoms: module(layer, bottoms).param_shapes(bottoms),
        flops=lambda layer, bottoms: module(layer, bottoms).flops(bottoms),
        sees=lambda layer, bottoms: module(layer, bottoms).sees(bottoms),
        kind="loss" if loss else "layer",
        origin=origin or builder.__module__,
        by_module=True,
    )


def builder_of(layer: LayerSpec) -> Builder:
    """Return the builder of the layer's type; raise `UnsupportedLayerError` where there is none."""
    entry = _ENTRIES.get(layer.type)
    if entry is None:
        raise UnsupportedLayerError(f"layer {layer.name!r}: type {layer.type!r} has no builder")
    return entry.builder


def supported_types() -> tuple[str, ...]:
    """Return every type that a net may hold: the registered ones and the sources of its inputs, sorted.

    Examples
    --------
    >>> from cpm_port.graph import supported_types
    >>> "Convolution" in supported_types()
    True
    """
    return tuple(sorted(_ENTRIES.keys() | SOURCE_TYPES))


def unsupported_layers(layers: Iterable[LayerSpec], *, strict: bool = True) -> list[tuple[str, str, str]]:
    """Return (name, type, reason) for every layer that cannot be built as it is written, in the net's order.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> from cpm_port.graph import unsupported_layers
    >>> unsupported_layers(net.layers)
    []
    """
    found = []
    for layer in layers:
        if is_source(layer):
            continue
        entry = _ENTRIES.get(layer.type)
        reason = "unknown type" if entry is None else entry.refuse(layer) if entry.refuse is not None else None
        if reason is not None:
            found.append((layer.name, layer.type, reason))
        elif strict:
            found += [(layer.name, layer.type, stranger) for stranger in layer.strangers]
    return found


def require_supported(net: NetSpec, *, strict: bool = True) -> None:
    """Raise one `UnsupportedLayerError` that lists every layer of `net` that cannot be built.

    With `strict`, also those with fields that the schema lacks and that may change what they compute; else a warning
    lists these.
    """
    found = unsupported_layers(net.layers, strict=strict)
    if not strict:
        for name, kind, reason in unsupported_layers(net.layers):
            if (name, kind, reason) not in found:
                _log.warning("%s: layer %r: type %r: %s; it is not used", net.source, name, kind, reason)
    if found:
        lines = "\n".join(f"  layer {name!r}: type {kind!r}: {reason}" for name, kind, reason in found)
        raise UnsupportedLayerError(f"{net.source}: {len(found)} unsupported layer(s)\n{lines}")
