"""Caffe's protobuf messages as classes, built at run time: the first step of every file that we read or write.

The field numbers of `_tables.py` are turned into descriptors in a private pool, one pool per dialect. Nothing is generated
by protoc, so any protobuf from 4.25 on works, and no other package's `caffe_pb2` in the process can collide with ours.

Dialects: `"bvlc"` is upstream Caffe; `"cpm"` the CPM authors' fork; `"cpm2015"` the same fork at the time of the paper's models, when
its data layer's number was 140 (now 147; both mean something else upstream). See `dialects.py` for how a file is told apart.

It knowingly differs in one thing: every message has a hidden repeated string, `UNKNOWN_TEXT`. It carries the fields of a
prototxt that the schema does not know, so that they survive upgrades and are written back; it is never written to binary files.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from cpm_port.caffe import _tables
from cpm_port.errors import UsageError

__all__ = ["DIALECTS", "UNKNOWN_TEXT", "Message", "dialect_of", "field_names", "message_class"]

Message = message.Message

DIALECTS = ("bvlc", "cpm", "cpm2015")
UNKNOWN_TEXT = "_unknown_text"
_UNKNOWN_TEXT_NUMBER = 536_870_911  # the highest that protobuf allows

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def message_class(name: str, dialect: str = "bvlc") -> Any:
    """Return the class of a Caffe message, for example `NetParameter`, `SolverParameter`, `Datum` or `BlobProto`.

    Parameters
    ----------
    name : str
        The message's name in Caffe's schema.
    dialect : {"bvlc", "cpm", "cpm2015"}

    Raises
    ------
    UsageError
        For a dialect or message that does not exist.
    """
    classes = _classes(dialect)
    if name not in classes:
        raise UsageError(f"Caffe's schema (dialect {dialect!r}) has no message {name!r}")
    return classes[name]


def dialect_of(msg: Message) -> str:
    """Return the dialect of a message that was made from one of our classes."""
    return str(msg.DESCRIPTOR.file.package.split(".")[-1])


def field_names(name: str, dialect: str) -> frozenset[str]:
    """Return the names of a message's fields; empty where the dialect has no such message."""
    found = _classes(dialect).get(name)
    return frozenset(found.DESCRIPTOR.fields_by_name) if found is not None else frozenset()


@functools.lru_cache(maxsize=None)
def _classes(dialect: str) -> dict[str, Any]:
    overlays = {"bvlc": {}, "cpm": _tables.CPM, "cpm2015": _tables.CPM2015}
    if dialect not in overlays:
        raise UsageError(f"dialect {dialect!r}: expected one of {', '.join(DIALECTS)}")
    tables: dict[str, str] = {**_tables.UPSTREAM, **overlays[dialect]}
    package = f"cpm_port.{dialect}"
    file = descriptor_pb2.FileDescriptorProto(name=f"cpm_port/{dialect}.proto", package=package, syntax="proto2")
    for enum, values in _tables.ENUMS.items():
        _declare_enum(file.enum_type.add(), enum, values)
    for name, table in tables.items():
        _declare_message(file.message_type.add(), name, table, package, tables)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in tables}


def _declare_enum(proto: Any, name: str, values: str) -> None:
    proto.name = name
    for value in values.split():
        label, number = value.split("=")
        proto.value.add(name=label, number=int(number))


def _declare_message(proto: Any, name: str, table: str, package: str, messages: dict[str, str]) -> None:
    proto.name = name
    own_enums = set()
    fields = []
    for line in table.splitlines():
        if line.strip().startswith("enum "):
            _, enum, values = line.split(None, 2)
            own_enums.add(enum)
            _declare_enum(proto.enum_type.add(), enum, values)
        else:
            fields.append(line)
    for entry in " ".join(fields).split(","):
        field_name, number, kind, *default = entry.split()
        repeated, packed = kind[-1] in "*+", kind[-1] == "+"
        kind = kind.rstrip("*+")
        field = proto.field.add(name=field_name, number=int(number))
        field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        if packed:
            field.options.packed = True
        if default:
            field.default_value = default[0]
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        elif kind in own_enums or kind in _tables.ENUMS:
            field.type = _Field.TYPE_ENUM
            field.type_name = f".{package}.{name}.{kind}" if kind in own_enums else f".{package}.{kind}"
        else:
            assert kind in messages, f"{name}.{field_name}: no type {kind!r} in the tables"
            field.type = _Field.TYPE_MESSAGE
            field.type_name = f".{package}.{kind}"
    proto.field.add(
        name=UNKNOWN_TEXT, number=_UNKNOWN_TEXT_NUMBER, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED
    )
