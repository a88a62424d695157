"""Which schema a file was written with, told by what is in it.

Upstream Caffe and the CPM authors' fork share field numbers for different things (see `schema.py`), so a reader must
choose. In text the names decide. In binary the layers' types and the wire decide: a CPMData layer, or a transform_param
that holds fields of the fork and nothing that the fork does not have. Without such a sign a file is upstream's. A wrong
choice never makes a read fail: a field whose wire type does not fit becomes an unknown field, and is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from cpm_port.caffe.schema import UNKNOWN_TEXT, Message, dialect_of, field_names, message_class
from cpm_port.caffe.text import ParsedText, is_repeated, parse_text
from cpm_port.errors import CaffeFormatError

__all__ = ["dialect_of", "dialect_of_binary", "parse_message", "unknown_binary_fields"]

_FORK_TYPES = {"CPMData": (140, 147), "ROIPooling": (141, 148)}  # its parameters' numbers in 2015, and later
_WIRE_TYPES = {  # all others are varints
    FieldDescriptor.TYPE_FLOAT: 5,
    FieldDescriptor.TYPE_STRING: 2,
    FieldDescriptor.TYPE_MESSAGE: 2,
}


def parse_message(text: str, name: str, *, source: str, dialect: str | None = None) -> ParsedText:
    """Parse text as a message of the given dialect, or of the one whose words it uses.

    Raises
    ------
    CaffeFormatError
        Where the text is not protobuf's; where it holds fields, but none that the message has.
    """
    parsed = parse_text(text, message_class(name, dialect or "bvlc")(), source=source)
    fields = [field for field in parsed.unknown if not field.wanted]  # others are fields of upstream's
    if dialect is None and (
        _has_fork_layer(parsed.message) or any(_is_fork_field(field.message, field.name) for field in fields)
    ):
        parsed = parse_text(text, message_class(name, "cpm")(), source=source)
    if parsed.unknown and all(field.name == UNKNOWN_TEXT for field, _ in parsed.message.ListFields()):
        raise CaffeFormatError(f"{source}:{parsed.unknown[0]}; nor is any other field one of a {name}")
    return parsed


def _is_fork_field(message: str, name: str) -> bool:
    return name in field_names(message, "cpm")


def _has_fork_layer(message: Message) -> bool:
    return any(layer.type == "CPMData" for layer in getattr(message, "layer", ()))


def dialect_of_binary(layers: Iterable[tuple[str, Iterable[tuple[int, int]], Iterable[tuple[int, int]]]]) -> str:
    """Tell the dialect of a binary net.

    Parameters
    ----------
    layers : iterable of (type, fields, transform_fields)
        Per layer its type string, and the (number, wire type) pairs in its message and in its transform_param.
    """
    for kind, fields, transform in layers:
        first, later = ((number, 2) in set(fields) for number in _FORK_TYPES.get(kind, (0, 0)))
        if first:
            return "cpm2015"
        shown = set(transform)
        if later or kind == "CPMData" or (shown <= _fork_transform() and any(field >= (7, 5) for field in shown)):
            return "cpm"
    return "bvlc"


@functools.cache
def _fork_transform() -> frozenset[tuple[int, int]]:
    """Return (number, wire type) of every field of the fork's TransformationParameter."""
    fields = message_class("TransformationParameter", "cpm").DESCRIPTOR.fields
    return frozenset((field.number, _WIRE_TYPES.get(field.type, 0)) for field in fields)


def unknown_binary_fields(message: Message, where: str) -> Iterator[str]:
    """Name the fields of a parsed message, and of all in it, that its schema does not know."""
    unknown: Any = UnknownFieldSet(message)
    for number in sorted({field.field_number for field in unknown}):
        yield f"{where}: {message.DESCRIPTOR.name} has no field {number}; kept, not used"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for child in value if is_repeated(descriptor) else (value,):
                named = getattr(child, "name", "") if descriptor.name in ("layer", "layers") else ""
                yield from unknown_binary_fields(child, f"layer {named!r}" if named else where)
