"""A layer's fields that the schema does not know and that may change what it computes: a fork's `ceil_mode`, `hole`.

Where in the flow: `netspec.py` asks for every layer that it takes in; whoever builds a net, opens a data layer or works
out shapes refuses layers that have such fields (`LayerSpec.strangers`).

A field that gets a meaning is declared beside its layer type (`schema.declare_fields`), and is no stranger any more.
One that changes the speed only is named in `HARMLESS`. Fields that only steer training (`param`, fillers) stay notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.caffe.schema import UNKNOWN_TEXT
from cpm_port.caffe.text import UnknownField, is_repeated

__all__ = ["HARMLESS", "Places", "places_of", "strangers_of"]

HARMLESS = frozenset(
    {
        ("ConvolutionParameter", "conv_algos_override"),  # NVIDIA's fork: how cuDNN computes
        ("ConvolutionParameter", "cudnn_convolution_algo_seeker"),
        ("DataParameter", "cache"),
        ("DataParameter", "parser_threads"),
        ("DataParameter", "threads"),
    }
)
"""(message, field) of forks that change no value."""

_OTHERS = ("blobs", "exclude", "include", "param")  # messages of a layer that are not its parameters

Places = Mapping[tuple[str, str, str], Sequence[str]]
"""(layer, message, field) -> where a text has that field: "line:column"."""


def places_of(unknown: Sequence[UnknownField]) -> Places:
    """Return where a text has the fields that its schema lacks."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for field in unknown:
        places.setdefault((field.layer, field.message, field.name), []).append(f"{field.line}:{field.column}: ")
    return places


def strangers_of(layer: Any, places: Places, *, flat: bool) -> tuple[str, ...]:
    """Say which fields of a LayerParameter the schema lacks that may change what it computes.

    Parameters
    ----------
    layer : LayerParameter
        In V2's form.
    places : mapping
        As of `places_of`; empty for a binary file.
    flat : bool
        Whether the layer was V0, whose parameters stand in the layer itself.
    """
    entry = LAYER_TYPES.get(layer.type)
    if entry is None and not layer.bottom:
        return ()  # an input of the net, whatever it reads
    is_source = entry is not None and entry.kind == "source"
    skipped = _OTHERS if is_source else (*_OTHERS, "transform_param")
    found = []
    for message, name, trouble in _strangers(layer, whole=flat, skipped=skipped):
        own_message = not flat and message == "LayerParameter"  # as `conv_param {`, or the message of a user's own type
        if (message, name) in HARMLESS or (own_message and entry is not None and entry.by_module):
            continue
        written_in = "V0LayerParameter" if flat and message == "LayerParameter" else message
        place = "".join(places.get((layer.name, written_in, name), ())[:1])
        what = (
            f"'s {name} {trouble}" if trouble else f" has no field {name!r}, which may change what the layer computes"
        )
        found.append(f"{place}{written_in}{what}")
    return tuple(dict.fromkeys(found))


def _strangers(message: Any, whole: bool, skipped: Sequence[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Yield (message, field, "") of unknown fields, and (message, field, trouble) of known ones with unknown values.

    With `whole` false, of the message's own only those of messages.
    """
    kind = message.DESCRIPTOR.name
    if kind == "FillerParameter":
        return
    for text in getattr(message, UNKNOWN_TEXT):
        name, value = text.split(None, 1)
        known = message.DESCRIPTOR.fields_by_name.get(name.rstrip(":"))
        if whole and known is not None and known.enum_type is not None:
            yield kind, known.name, f"is {value}; expected one of {', '.join(known.enum_type.values_by_name)}"
        elif whole or not name.endswith(":"):
            yield kind, name.rstrip(":"), ""
    if whole:
        unknown: Any = UnknownFieldSet(message)
        for number in sorted({field.field_number for field in unknown}):
            yield kind, str(number), ""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and descriptor.name not in skipped:
            for child in value if is_repeated(descriptor) else (value,):
                yield from _strangers(child, whole=True)
