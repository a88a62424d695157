"""Binary Caffe files: .caffemodel, .solverstate and .binaryproto, read over a memory map and written field by field.

`read_model` gives a `CaffeModel`: the net's message without blob values, and the blobs beside it as read-only views of
the file. `save` writes the same bytes again for a file that Caffe itself wrote (fields in order of number, floats
packed).

*Source*: BVLC/caffe@9b89154 src/caffe/blob.cpp (FromProto: the legacy four dimensions win over `shape`; values must
fill it).
"""

from __future__ import annotations

import math
import mmap
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from cpm_port.caffe import dialects, wire
from cpm_port.caffe.kinds import foreign_kind, looks_like_text, message_kind
from cpm_port.caffe.schema import UNKNOWN_TEXT, message_class
from cpm_port.caffe.text import is_repeated
from cpm_port.caffe.upgrade import generation_of
from cpm_port.errors import CaffeFormatError, MissingFileError, ShapeError
from cpm_port.files.atomic import atomic_path

__all__ = [
    "MAX_BLOB_AXES",
    "MAX_MESSAGE_BYTES",
    "CaffeModel",
    "StoredBlob",
    "blob_pieces",
    "check_blob",
    "layers_of",
    "map_file",
    "new_blob",
    "parse",
    "parse_blobs",
    "read_model",
    "split_file",
    "write_blobs",
    "write_pieces",
]

MAX_BLOB_AXES = 32  # Caffe's kMaxBlobAxes
MAX_MESSAGE_BYTES = 2**31 - 1  # what the protobuf library reads
_MAX_DIM = 2**31 - 1  # Caffe counts in int
_WITH_NAMES = frozenset(
    {
        "NetParameter",
        "LayerParameter",
        "V1LayerParameter",
        "V0LayerParameter",
        "ParamSpec",
        "NetState",
        "NetStateRule",
        "SolverState",
    }
)
_BLOBS_FIELD = {"V2": 7, "V1": 6, "V0": 50}
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # of NVIDIA's fork
_LEGACY = ("num", "channels", "height", "width")


@dataclass(frozen=True)
class StoredBlob:
    """One blob of a file: its message without values, and the values.

    Attributes
    ----------
    message : BlobProto
        Shape or legacy dimensions, and unknown fields.
    array : ndarray
        The values in their shape, read only, float32, or float64 where the file has double_data.
    diff : ndarray or None
        Gradients of the same shape, where the file has them.

    Examples
    --------
    >>> from cpm_port.caffe import read_model
    >>> from cpm_port.zoo import resolve
    >>> stored = next(blobs for blobs in read_model(resolve().weights).blobs if blobs)[0]
    >>> stored.array.dtype, stored.diff
    (dtype('float32'), None)
    """

    message: Any
    array: np.ndarray
    diff: np.ndarray | None = None


@dataclass(frozen=True)
class _Origin:
    """Where a model came from: its file; per layer the bytes there, the message (serialized) and the blobs as read."""

    data: Any
    spans: tuple[tuple[int, int], ...]
    messages: tuple[bytes, ...]
    blobs: tuple[tuple[StoredBlob, ...], ...]


@dataclass(frozen=True)
class CaffeModel:
    """A .caffemodel as it lies in the file.

    Attributes
    ----------
    message : NetParameter
        The net as stored (any generation), without its blobs. May be changed before `save`.
    blobs : tuple of tuple of StoredBlob
        Per layer, in file order (`layers_of(message)` gives the layers).
    source, dialect, generation : str
    notes : tuple of str
        Blobs that Caffe does not read, and so were left out.

    Examples
    --------
    >>> from cpm_port.caffe import read_model
    >>> from cpm_port.zoo import resolve
    >>> model = read_model(resolve().weights)
    >>> len(model.blobs) == len(model.message.layer)
    True
    """

    message: Any
    blobs: tuple[tuple[StoredBlob, ...], ...]
    source: str
    dialect: str
    generation: str
    notes: tuple[str, ...] = ()
    _origin: _Origin | None = field(default=None, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model: layers still as they were read keep their bytes, others are encoded as Caffe does."""
        net = type(self.message)()
        net.CopyFrom(self.message)
        drop_unknown_text(net)
        number = 100 if self.generation == "V2" else 2
        name = "layer" if self.generation == "V2" else "layers"
        chunks: list[Any] = []
        for index, (layer, blobs) in enumerate(zip(getattr(net, name), self.blobs, strict=True)):
            kept = self._unchanged(index, layer, blobs)
            chunks += _field(number, self._layer_pieces(layer, blobs)) if kept is None else [kept]
        net.ClearField(name)
        write_pieces(path, wire.splice(net.SerializeToString(), [(number, chunks)]))

    def _unchanged(self, index: int, layer: Any, blobs: tuple[StoredBlob, ...]) -> memoryview | None:
        """Return a layer's bytes in the file that it came from, if it still is what they say."""
        origin = self._origin
        if origin is None or index >= len(origin.spans) or blobs is not origin.blobs[index]:
            return None
        if layer.SerializeToString(deterministic=True) != origin.messages[index]:
            return None
        return memoryview(origin.data)[slice(*origin.spans[index])]

    def _layer_pieces(self, layer: Any, blobs: Sequence[StoredBlob]) -> list[Any]:
        number = _BLOBS_FIELD[self.generation]
        chunks: list[Any] = []
        for blob in blobs:
            chunks += _field(number, blob_pieces(blob))
        if self.generation != "V0":
            return wire.splice(layer.SerializeToString(), [(number, chunks)])
        inner = wire.splice(layer.layer.SerializeToString(), [(number, chunks)])
        outer = type(layer)()
        outer.CopyFrom(layer)
        outer.ClearField("layer")
        return wire.splice(outer.SerializeToString(), [(1, _field(1, inner))])


def map_file(path: str | os.PathLike[str]) -> mmap.mmap:
    """Map a file for reading.

    Raises
    ------
    MissingFileError, CaffeFormatError
        For a path without a file; for a folder, a device or an empty file.
    """
    name = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):  # looked at first: to open a pipe is to wait for its writer
            what = "is a folder; expected a file" if Path(name).is_dir() else "not a regular file"
            raise CaffeFormatError(f"{name}: {what}")
        with open(name, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise CaffeFormatError(f"{name}: the file is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, CaffeFormatError):
            raise
        raise CaffeFormatError(f"{name!r}: cannot be read: {error}") from None


def read_model(path: str | os.PathLike[str], *, dialect: str | None = None) -> CaffeModel:
    """Read a .caffemodel of any generation, zero-copy.

    Parameters
    ----------
    path : path-like
    dialect : {"bvlc", "cpm", "cpm2015"}, optional
        Overrides what the content says.

    Raises
    ------
    MissingFileError, CaffeFormatError
        Where the file is absent; where it is text, truncated or corrupt, or a blob's values do not fill its shape.

    Examples
    --------
    >>> from cpm_port.caffe import read_model
    >>> from cpm_port.zoo import resolve
    >>> read_model(resolve().weights).generation
    'V2'
    """
    source = os.fspath(path)
    data = _binary(path)
    if message_kind(data, source) == "a solver state":
        raise CaffeFormatError(f"{source}: this is a solver state{_model_of(data, source)}; expected a .caffemodel")
    parts = wire.split(data, wire.NET, source)
    if dialect is None:
        dialect = dialects.dialect_of_binary((s.type, s.fields, s.transform) for s in parts.signs)
    net = parse("NetParameter", dialect, parts.small, source)
    try:
        generation = generation_of(net)
    except CaffeFormatError as error:
        raise CaffeFormatError(f"{source}: {error}") from None
    if not layers_of(net):
        kind = message_kind(data, source)
        raise CaffeFormatError(f"{source}: {f'this is {kind}' if kind else 'holds no layers'}; expected a .caffemodel")
    # a V0 entry may have blobs beside those of the layer inside it; Caffe reads the latter only
    values = (found for found in parts.values if found.field == _BLOBS_FIELD[generation])
    stored, notes = [], []
    for layer in layers_of(net):
        held = layer.layer if generation == "V0" else layer
        if held is not layer and len(layer.blobs):
            notes.append(f"layer {held.name!r}: {len(layer.blobs)} blobs beside its V0 layer; not read, as in Caffe")
        stored.append(tuple(parse_blobs(held.blobs, values, f"{source}: layer {held.name!r}")))
        layer.ClearField("blobs")
        held.ClearField("blobs")
    blobs = tuple(stored)
    messages = tuple(layer.SerializeToString(deterministic=True) for layer in layers_of(net))
    origin = _Origin(data, tuple(parts.spans), messages, blobs)
    return CaffeModel(net, blobs, source, dialect, generation, tuple(notes), origin)


def _model_of(data: wire.Buffer, source: str) -> str:
    """Say which model a solver state names, if it does."""
    names = [bytes(data[start:stop]) for number, _, start, stop in wire.top_fields(data, source) if number == 2]
    return f", whose model is {names[-1].decode('utf-8', 'replace')!r}" if names else ""


def layers_of(net: Any) -> Any:
    """Return a NetParameter's layers, of whichever generation."""
    return net.layers if len(net.layers) else net.layer


def _binary(path: str | os.PathLike[str]) -> mmap.mmap:
    """Map a file that should hold a binary message; say what it is where it clearly does not."""
    data = map_file(path)
    name = os.fspath(path)
    if (kind := foreign_kind(data)) is not None:
        raise CaffeFormatError(f"{name}: this is {kind}; expected a binary protobuf message")
    if looks_like_text(data):
        raise CaffeFormatError(f"{name}: this is a text file (a prototxt?); expected a binary protobuf message")
    return data


def split_file(path: str | os.PathLike[str], tree: wire.Tree, expected: str) -> wire.SplitMessage:
    """Map a binary file of the `expected` kind (`message_kind`) and separate its message from its blobs' values
    (`wire.split`).
    """
    data, source = _binary(path), os.fspath(path)
    kind = message_kind(data, source)
    if kind not in (None, expected):
        raise CaffeFormatError(f"{source}: this is {kind}; expected {expected}")
    return wire.split(data, tree, source)


def parse(name: str, dialect: str, data: bytes, source: str) -> Any:
    """Parse a small serialized message."""
    message = message_class(name, dialect)()
    try:
        message.ParseFromString(data)
        _check_strings(message)
    except (DecodeError, ValueError, RecursionError) as error:
        raise CaffeFormatError(f"{source}: not a {name}: {error}") from None
    return message


def _check_strings(message: Any) -> None:
    """Refuse names that are not UTF-8, which the protobuf library gives as bytes; other strings may be anything."""
    if message.DESCRIPTOR.name not in _WITH_NAMES:
        return
    for descriptor, value in message.ListFields():
        for item in value if is_repeated(descriptor) else (value,):
            if descriptor.message_type is not None:
                _check_strings(item)
            elif isinstance(item, bytes) and descriptor.type == FieldDescriptor.TYPE_STRING:
                raise ValueError(f"{message.DESCRIPTOR.name}.{descriptor.name} is not UTF-8: {item[:40]!r}")


def parse_blobs(messages: Iterable[Any], values: Iterable[wire.Values], where: str) -> list[StoredBlob]:
    """Put blobs' values in the shapes that their messages say."""
    out = []
    numbers = iter(values)
    for index, stored in enumerate(messages):
        message = type(stored)()
        message.CopyFrom(stored)
        found = next(numbers)
        place = f"{where}, blob {index}"
        _take_raw(message, found, place)
        if all(v is None for v in (found.data, found.double_data)):
            data = np.zeros(0, np.float32)
        else:
            data = _one_of(found.data, found.double_data, place)
        shape = _shape(message, place)
        diff = None
        if found.diff is not None or found.double_diff is not None:
            diff = _fill(_one_of(found.diff, found.double_diff, place), shape, f"{place} (diff)")
        out.append(StoredBlob(message, _fill(data, shape, place), diff))
    return out


def _take_raw(message: Any, values: wire.Values, where: str) -> None:
    """Turn NVIDIA's raw bytes into data and diff: half precision becomes float32; the blob is then one as any other."""
    for name in ("data", "diff"):
        raw = getattr(values, f"raw_{name}")
        if raw is not None:
            if getattr(values, name) is not None or getattr(values, f"double_{name}") is not None:
                raise CaffeFormatError(f"{where}: has {name} and raw_{name}; expected one kind")
            code = getattr(message, f"raw_{name}_type")
            kind = _RAW_TYPES.get(code) if message.HasField(f"raw_{name}_type") else None
            if kind is None:
                raise CaffeFormatError(
                    f"{where}: raw_{name} of type {code}; expected double, float or half (0, 1 or 2)"
                )
            if len(raw) % np.dtype(kind).itemsize:
                raise CaffeFormatError(f"{where}: raw_{name} has {len(raw)} bytes, not whole numbers of type {kind}")
            numbers = raw.view(kind).astype("<f4") if kind == "<f2" else raw.view(kind)
            numbers.flags.writeable = False
            setattr(values, "double_" * (kind == "<f8") + name, numbers)
        message.ClearField(f"raw_{name}_type")


def _one_of(single: np.ndarray | None, double: np.ndarray | None, where: str) -> np.ndarray:
    if single is not None and double is not None and single.size and double.size:
        raise CaffeFormatError(f"{where}: has float and double values; expected one kind")
    chosen = double if double is not None and double.size else single if single is not None else double
    assert chosen is not None
    return chosen


def _shape(message: Any, where: str) -> tuple[int, ...]:
    if any(message.HasField(name) for name in _LEGACY):
        shape = tuple(int(getattr(message, name)) for name in _LEGACY)
    else:
        shape = tuple(int(dim) for dim in message.shape.dim[: MAX_BLOB_AXES + 1])
    shown = "x".join(map(str, shape)) or "()"
    if len(shape) > MAX_BLOB_AXES:
        raise CaffeFormatError(f"{where}: has more than {MAX_BLOB_AXES} dimensions, Caffe's limit")
    if any(dim < 0 or dim > _MAX_DIM for dim in shape) or math.prod(max(dim, 1) for dim in shape) > _MAX_DIM:
        raise CaffeFormatError(
            f"{where}: shape {shown} is negative or overflows; expected dimensions from 0, {_MAX_DIM} values"
        )
    return shape


def _fill(values: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    if math.prod(shape) != values.size:
        shown = "x".join(map(str, shape)) or "()"
        raise CaffeFormatError(f"{where}: shape {shown} means {math.prod(shape)} values, the file has {values.size}")
    return values.reshape(shape)


def new_blob(array: np.ndarray, dialect: str, diff: np.ndarray | None = None) -> StoredBlob:
    """Make a blob to write: float32 (or float64, kept as double_data), shape in `shape`.

    Raises
    ------
    ShapeError
        For more axes, or more values, than Caffe has.
    """
    array = check_blob(array)
    message = message_class("BlobProto", dialect)()
    message.shape.SetInParent()
    message.shape.dim.extend(array.shape)
    return StoredBlob(message, array, diff)


def check_blob(array: np.ndarray) -> np.ndarray:
    """Return an array if Caffe could hold it; ShapeError else."""
    array = np.asarray(array)
    if array.ndim > MAX_BLOB_AXES or array.size > _MAX_DIM:
        raise ShapeError(f"a blob of shape {array.shape}: Caffe has at most {MAX_BLOB_AXES} axes and {_MAX_DIM} values")
    return array


def blob_pieces(blob: StoredBlob) -> list[Any]:
    """Return a BlobProto's bytes as pieces, values in place."""
    inserts = []
    for array, single, double in ((blob.array, 5, 8), (blob.diff, 6, 9)):
        if array is not None and array.size:
            is_double = array.dtype == np.float64
            flat: Any = np.ascontiguousarray(array, "<f8" if is_double else "<f4").reshape(-1)
            number = double if is_double else single
            inserts.append((number, _field(number, [memoryview(flat).cast("B")])))
    return wire.splice(blob.message.SerializeToString(), sorted(inserts, key=lambda insert: insert[0]))


def _field(number: int, pieces: list[Any]) -> list[Any]:
    """Return a length-delimited field's pieces."""
    length = sum(len(piece) for piece in pieces)
    return [wire.encode_varint(number << 3 | 2) + wire.encode_varint(length), *pieces]


def write_pieces(path: str | os.PathLike[str], pieces: list[Any]) -> None:
    """Write a message's pieces to a file, whole or not at all.

    Raises
    ------
    CaffeFormatError
        For a message over 2 GiB, which no protobuf library reads.
    """
    total = sum(len(piece) for piece in pieces)
    if total > MAX_MESSAGE_BYTES:
        raise CaffeFormatError(
            f"{os.fspath(path)}: the message has {total} bytes; protobuf's limit is {MAX_MESSAGE_BYTES}"
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.writelines(pieces)


def write_blobs(path: str | os.PathLike[str], message: Any, number: int, blobs: Iterable[StoredBlob]) -> None:
    """Write a message whose repeated field `number` is the blobs."""
    chunks: list[Any] = []
    for blob in blobs:
        chunks += _field(number, blob_pieces(blob))
    write_pieces(path, wire.splice(message.SerializeToString(), [(number, chunks)]))


def drop_unknown_text(message: Any) -> None:
    """Clear the hidden text fields of a message and of all in it, in place."""
    message.ClearField(UNKNOWN_TEXT)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for child in value if is_repeated(descriptor) else (value,):
                drop_unknown_text(child)
