"""A read-only face for Caffe messages: what the rest of the package sees of protobuf.

`MessageView` gives a message's fields as plain Python values: defaults where a field is unset, tuples for repeated
fields, names for enums, views for messages. It cannot change the message, compares by content, and copies and pickles
as bytes.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from cpm_port.caffe.schema import UNKNOWN_TEXT, Message, dialect_of, message_class
from cpm_port.caffe.text import format_text, is_repeated

__all__ = ["MessageView"]


class MessageView:
    """A Caffe message, read only: `view.convolution_param.num_output`, `view.has("convolution_param")`.

    Parameters
    ----------
    message : protobuf message
        One of our classes (`schema.message_class`). The view does not copy it, so the message must not be changed any
        more.

    Raises
    ------
    AttributeError
        On reading a field that the message's dialect does not have.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> view = next(layer for layer in net.layers if layer.type == "Convolution").params.convolution_param
    >>> view.num_output, view.has("bias_filler")
    (128, True)
    """

    __slots__ = ("_message",)
    _message: Any

    def __init__(self, message: Message) -> None:
        object.__setattr__(self, "_message", message)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        message = self._message
        descriptor = message.DESCRIPTOR.fields_by_name.get(name)
        if descriptor is None:
            raise AttributeError(f"{message.DESCRIPTOR.name} has no field {name!r}")
        value = getattr(message, name)
        if is_repeated(descriptor):
            return tuple(_plain(descriptor, item) for item in value)
        return _plain(descriptor, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a MessageView is read only")

    def has(self, name: str) -> bool:
        """Tell whether a field was given (a repeated one: at least once); False for a field that the dialect lacks."""
        descriptor = self._message.DESCRIPTOR.fields_by_name.get(name)
        if descriptor is None or name == UNKNOWN_TEXT:
            return False
        if is_repeated(descriptor):
            return len(getattr(self._message, name)) > 0
        return bool(self._message.HasField(name))

    def fields(self) -> dict[str, Any]:
        """Return the fields that were given, in the schema's order."""
        return {d.name: getattr(self, d.name) for d, _ in self._message.ListFields() if d.name != UNKNOWN_TEXT}

    def message(self) -> Message:
        """Return a copy of the message, free to change."""
        copy = type(self._message)()
        copy.CopyFrom(self._message)
        return copy  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageView) and bool(self._message == other._message)

    def __hash__(self) -> int:
        return hash((self._message.DESCRIPTOR.full_name, self._message.SerializeToString(deterministic=True)))

    def __repr__(self) -> str:
        body = format_text(self._message).replace("\n", " ").strip()
        return f"<{self._message.DESCRIPTOR.name} {body if len(body) < 200 else body[:197] + '...'}>"

    def __copy__(self) -> MessageView:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MessageView:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        message = self._message
        return _restore, (message.DESCRIPTOR.name, dialect_of(message), message.SerializeToString())


def _plain(descriptor: Any, value: Any) -> Any:
    if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
        return MessageView(value)
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        return descriptor.enum_type.values_by_number[value].name
    if descriptor.type == FieldDescriptor.TYPE_STRING and isinstance(value, bytes):  # it is not UTF-8
        return value.decode("utf-8", "backslashreplace")
    return value


def _restore(name: str, dialect: str, data: bytes) -> MessageView:
    message = message_class(name, dialect)()
    message.ParseFromString(data)
    return MessageView(message)
