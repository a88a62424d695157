"""Which schema a file was written with, told by what is in it.

Upstream Caffe and the CPM authors' fork share field numbers for different things (`notes` in `schema.py`), so a reader
must choose. In text the names decide. In binary the layers' types and the wire decide: a CPMData layer, or a
transform_param with fields that only the fork has. Without such a sign a file is upstream's. A wrong choice never makes
a read fail: a field whose wire type does not fit becomes an unknown field, and is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from cpm_port.caffe.schema import Message, dialect_of, field_names, message_class
from cpm_port.caffe.text import ParsedText, parse_text

__all__ = ["dialect_of", "dialect_of_binary", "parse_message"]

FORK_TYPES = ("CPMData", "ROIPooling")


def parse_message(text: str, name: str, *, source: str, dialect: str | None = None) -> ParsedText:
    """Parse text as a message of the given dialect, or of the one whose words it uses."""
    parsed = parse_text(text, message_class(name, dialect or "bvlc")(), source=source)
    if dialect is None and (
        _has_fork_layer(parsed.message) or any(_is_fork_field(f.message, f.name) for f in parsed.unknown)
    ):
        return parse_text(text, message_class(name, "cpm")(), source=source)
    return parsed


def _is_fork_field(message: str, name: str) -> bool:
    return name in field_names(message, "cpm")


def _has_fork_layer(message: Message) -> bool:
    return any(layer.type in FORK_TYPES for layer in getattr(message, "layer", ()))


def dialect_of_binary(layers: Iterable[tuple[str, Iterable[tuple[int, int]], Iterable[tuple[int, int]]]]) -> str:
    """Tell the dialect of a binary net.

    Parameters
    ----------
    layers : iterable of (type, fields, transform_fields)
        Per layer its type string, and the (number, wire type) pairs in its message and in its transform_param.
    """
    for kind, fields, transform in layers:
        numbers = {number for number, _ in fields}
        if kind in FORK_TYPES and numbers & {140, 141} and not numbers & {147, 148}:
            return "cpm2015"
        if kind in FORK_TYPES or any(number > 7 or (number, wire) == (7, 5) for number, wire in transform):
            return "cpm"
    return "bvlc"
