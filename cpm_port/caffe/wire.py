"""The protobuf wire format over a memory map: take the big arrays out of a Caffe file without copying them.

`split` walks a serialized NetParameter, SolverState or BlobProto only as deep as its blobs. It returns the message
without blob values (small, for the protobuf library to parse) and, in the order in which they stand, the blobs' values
as read-only views of the map. `splice` is the way back: it puts values into a serialized message at the place where
Caffe writes them.

Packed floats are views. Unpacked and split arrays, which foreign writers may leave, are copied together. Views may be
unaligned: a file gives its floats no alignment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from cpm_port.errors import CaffeFormatError

__all__ = [
    "BLOB",
    "LAYER",
    "NET",
    "SOLVER_STATE",
    "Buffer",
    "LayerSigns",
    "SplitMessage",
    "Tree",
    "Values",
    "encode_varint",
    "splice",
    "split",
    "top_fields",
]

Buffer: TypeAlias = Any  # bytes, memoryview or mmap: what protobuf and NumPy accept

MAX_FIELDS = 100_000  # that we walk one by one; a six-stage CPM has 1,000
MAX_SMALL = 2 << 20  # bytes that are not blob values; a six-stage CPM has 9,000

# How deep to walk: field number -> the message in it. BLOB ends the walk.
Tree: TypeAlias = Mapping[int, Any]
BLOB: Tree = {}
LAYER: Tree = {7: BLOB}
NET: Tree = {100: LAYER, 2: {6: BLOB, 1: {50: BLOB}}}
SOLVER_STATE: Tree = {3: BLOB}

_VALUE_FIELDS = {
    5: ("data", "<f4"),
    6: ("diff", "<f4"),
    8: ("double_data", "<f8"),
    9: ("double_diff", "<f8"),
    12: ("raw_data", "u1"),
    13: ("raw_diff", "u1"),
}
_WIRE_OF_ONE = {"<f4": 5, "<f8": 1}  # the wire type of a number that is not packed


@dataclass
class Values:
    """The numbers of one blob, as flat arrays: at most one of data and double_data, one of diff and double_diff.

    NVIDIA's fork writes bytes instead, `raw_data` and `raw_diff`; what they mean stands in the blob's message.
    `field` is the number of the field that the blob was: the same message may hold blobs under several.
    """

    field: int = 0
    data: np.ndarray | None = None
    diff: np.ndarray | None = None
    double_data: np.ndarray | None = None
    double_diff: np.ndarray | None = None
    raw_data: np.ndarray | None = None
    raw_diff: np.ndarray | None = None


@dataclass
class LayerSigns:
    """What tells a layer's dialect: its type, and the (number, wire type) pairs in it and in its transform_param."""

    type: str = ""
    fields: list[tuple[int, int]] = field(default_factory=list)
    transform: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class SplitMessage:
    """A message without its blobs' values.

    Attributes
    ----------
    small : bytes
    values : list of Values
        In file order.
    spans : list of (int, int)
        Where each layer of a net lies in the file, tag included.
    signs : list of LayerSigns
        Of each V2 layer.
    """

    small: bytes
    values: list[Values]
    spans: list[tuple[int, int]]
    signs: list[LayerSigns]


def split(data: Buffer, tree: Tree, source: str) -> SplitMessage:
    """Separate a serialized message from its blobs' values.

    Parameters
    ----------
    data : buffer
        Read only; the values will be views of it.
    tree : mapping
        `NET`, `SOLVER_STATE` or `BLOB`.
    source : str
        The file, for messages.

    Raises
    ------
    CaffeFormatError
        For anything that is not protobuf, and for messages too large to be a net's.
    """
    walker = _Walker(data, source)
    small = walker.strip(0, len(data), tree)
    return SplitMessage(small, walker.values, walker.spans, walker.signs)


def top_fields(data: Buffer, source: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start of its value, its end) for each field of a message, not of those in it.

    Raises
    ------
    CaffeFormatError
        For anything that is not protobuf.
    """
    for number, wire, _, value, stop in _Walker(data, source).fields(0, len(data)):
        yield number, wire, value, stop


def splice(small: bytes, inserts: Sequence[tuple[int, Sequence[Buffer]]]) -> list[Buffer]:
    """Return the pieces of a message with more fields put in, each before the first field of a higher number.

    Parameters
    ----------
    small : bytes
        A serialized message.
    inserts : sequence of (number, pieces)
        Whole fields, as pieces, sorted by number.
    """
    out: list[Buffer] = []
    waiting = list(inserts)
    start = 0
    for number, _, begin, _, _ in _Walker(small, "message").fields(0, len(small)):
        while waiting and waiting[0][0] < number:
            out += [small[start:begin], *waiting.pop(0)[1]]
            start = begin
    out.append(small[start:])
    for _, pieces in waiting:
        out += pieces
    return out


def encode_varint(value: int) -> bytes:
    """Return a non-negative integer as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Walker:
    def __init__(self, data: Buffer, source: str) -> None:
        self.data = data
        self.source = source
        self.count = 0
        self.kept = 0
        self.values: list[Values] = []
        self.spans: list[tuple[int, int]] = []
        self.signs: list[LayerSigns] = []

    def error(self, offset: int, what: str) -> CaffeFormatError:
        return CaffeFormatError(f"{self.source}: byte {offset}: {what}")

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Read a varint; return it with the position after it."""
        value = shift = 0
        start = position
        while position < end:
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift >= 70:
                raise self.error(start, "found a varint longer than 10 bytes; this is no protobuf message")
        raise self.error(start, "the data ends inside a varint; the file is truncated or corrupt")

    def fields(self, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (number, wire type, start of the field, start of its value, end) for each field of a message."""
        while position < end:
            self.count += 1
            if self.count > MAX_FIELDS:
                raise self.error(position, f"more than {MAX_FIELDS} fields; no Caffe file has so many")
            begin = position
            tag, position = self.varint(position, end)
            number, wire = tag >> 3, tag & 7
            if number == 0 or number > 0x1FFFFFFF:
                raise self.error(
                    begin, f"found field number {number}, which protobuf does not have; the file is corrupt"
                )
            value = position
            if wire == 0:
                _, position = self.varint(position, end)
            elif wire == 1:
                position += 8
            elif wire == 5:
                position += 4
            elif wire == 2:
                length, value = self.varint(position, end)
                position = value + length
            else:
                raise self.error(begin, f"found wire type {wire} at field {number}, which Caffe's messages do not use")
            if position > end:
                raise self.error(
                    begin,
                    f"field {number} needs {position - value} bytes, {end - value} are left; truncated or corrupt",
                )
            yield number, wire, begin, value, position

    def strip(self, start: int, end: int, tree: Tree, field: int = 0) -> bytes:
        """Return the bytes of a message, which is field `field` of another, without blob values; lengths of what was
        cut are rewritten.
        """
        if tree is BLOB:
            return self.strip_blob(start, end, field)
        signs = LayerSigns() if tree is LAYER else None
        pieces = []
        for number, wire, begin, value, stop in self.fields(start, end):
            if wire == 2 and number in tree:
                body = self.strip(value, stop, tree[number], number)
                if tree is NET:
                    self.spans.append((begin, stop))
                piece = encode_varint(number << 3 | 2) + encode_varint(len(body)) + body
            else:
                self.keep(begin, stop)
                piece = bytes(self.data[begin:stop])
            pieces.append(piece)
            if signs is not None:
                self.look(signs, number, wire, value, stop)
        if signs is not None:
            self.signs.append(signs)
        return b"".join(pieces)

    def keep(self, begin: int, stop: int) -> None:
        self.kept += stop - begin
        if self.kept > MAX_SMALL:
            raise self.error(begin, f"more than {MAX_SMALL} bytes besides blob values; no Caffe file has so many")

    def look(self, signs: LayerSigns, number: int, wire: int, value: int, stop: int) -> None:
        """Note what tells the dialect of a layer."""
        signs.fields.append((number, wire))
        if number == 2 and wire == 2:
            signs.type = bytes(self.data[value:stop]).decode("utf-8", "replace")
        elif number == 100 and wire == 2:
            try:
                signs.transform = [(inner, kind) for inner, kind, *_ in self.fields(value, stop)]
            except CaffeFormatError:
                signs.transform = []

    def strip_blob(self, start: int, end: int, field: int) -> bytes:
        """Keep a blob's shape and unknown fields, and note its values."""
        chunks: dict[str, list[np.ndarray]] = {}
        pieces = []
        position = start
        while position < end:
            for number, wire, begin, value, stop in self.fields(position, end):
                position = stop
                name, dtype = _VALUE_FIELDS.get(number, ("", ""))
                if name and wire == 2:
                    chunks.setdefault(name, []).append(self.packed(value, stop, dtype, name))
                elif name and wire == _WIRE_OF_ONE.get(dtype):
                    position, values = self.unpacked(begin, value, end, dtype)
                    chunks.setdefault(name, []).append(values)
                    break
                else:
                    self.keep(begin, stop)
                    pieces.append(bytes(self.data[begin:stop]))
        self.values.append(Values(field, **{name: _join(parts) for name, parts in chunks.items()}))
        return b"".join(pieces)

    def packed(self, value: int, stop: int, dtype: str, name: str) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        if (stop - value) % size:
            raise self.error(
                value, f"a blob's {name} has {stop - value} bytes, not a multiple of {size}; the file is corrupt"
            )
        view = np.frombuffer(self.data, np.dtype(dtype), (stop - value) // size, value)
        view.flags.writeable = False
        return view

    def unpacked(self, begin: int, value: int, end: int, dtype: str) -> tuple[int, np.ndarray]:
        """Read a run of single numbers, each behind the same tag; return the position after it and the numbers."""
        tag = bytes(self.data[begin:value])
        record = np.dtype([("tag", f"S{len(tag)}"), ("number", dtype)])
        count, length = 0, 16
        possible = (end - begin) // record.itemsize
        while count < possible:
            length = min(2 * length, possible - count)
            rows = np.frombuffer(self.data, record, length, begin + count * record.itemsize)
            other = np.flatnonzero(rows["tag"] != tag)
            count += length if other.size == 0 else int(other[0])
            if other.size:
                break
        numbers = np.frombuffer(self.data, record, count, begin)["number"].copy()
        return begin + count * record.itemsize, numbers


def _join(parts: list[np.ndarray]) -> np.ndarray:
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    joined.flags.writeable = False
    return joined
