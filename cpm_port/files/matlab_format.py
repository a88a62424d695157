"""The bytes of MATLAB's `.mat` files, formats 4 and 5 (`save -v7` and older): every length is checked before it counts.

Where in the flow: below `matlab.py`, which everything else asks.

SciPy's reader writes and reads beyond its buffers where a file lies about its lengths, which ends the process. Reading
in a child process would be safe too, but it would cost half a second for every file, and as long again as the reading
to bring a data set of structs back. This reader takes as long as SciPy's for arrays and three times as long for many
small structs (1.7 s of processor time against 0.5 for the 2,958 people of MPII's validation struct), and saves SciPy's
import (0.3 s).

Conventions, as SciPy's with `mat_dtype=True`: numbers in the class that MATLAB holds them in (logicals as bool), column
order; a character array as an array of its rows; a cell as an array of objects; structs as a structured array whose
fields are objects. Differs knowingly: format 4's numbers are float64 whatever they are stored as, as in MATLAB; sparse
matrices, objects and function handles are None in an array of objects; complex numbers are refused.

*Source*: MathWorks, "MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError

__all__ = ["names_of", "variables_of"]

_FREE_BYTES = 256 << 20  # of all that is read, however small the file
_MAX_INFLATION = 32  # of larger ones, in all
_MATRIX_BYTES = 128  # what one array costs besides its values
_MAX_DEPTH = 32
_NAME_BYTES = 4096  # of a compressed variable, in which its name is found
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_COMPRESSED, _MATRIX = 15, 14
_CELL, _STRUCT, _CHAR = 1, 2, 4
_OPAQUE = (3, 5, 16, 17, 18)  # objects, sparse matrices, function handles, classes
_COMPLEX, _LOGICAL = 0x800, 0x200
_FORMAT_4 = ("f8", "f4", "i4", "i2", "u2", "u1")


def variables_of(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return a file's variables by name.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        What messages begin with.

    Raises
    ------
    DataError
        It is no MATLAB file, of format 7.3, truncated or corrupt, or holds complex numbers.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, value in _format_4(data, where) if _is_format_4(data) else _Reader(data, where).variables():
        if name in found:
            raise DataError(f"{where}: not a readable MATLAB file (variable {name!r} comes twice)")
        found[name] = value
    return found


def names_of(data: bytes, where: str) -> set[str]:
    """Return the names of a file's variables; parameters and errors as `variables_of`."""
    if _is_format_4(data):
        return {name for name, _ in _format_4(data, where)}
    return set(_Reader(data, where).names())


class _Reader:
    """One file of format 5."""

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        if data[:4] == b"\x89HDF" or data[512:516] == b"\x89HDF" or data[124:128] in (b"\0\2IM", b"\2\0MI"):
            raise DataError(f"{where}: saved with -v7.3, which is not read here; save it again with -v7")
        if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
            self._fail("its header is not MATLAB's")
        self._data = data
        self._order: Literal["<", ">"] = "<" if data[126:128] == b"IM" else ">"
        self._pair = struct.Struct(f"{self._order}II")
        self._left = max(_FREE_BYTES, _MAX_INFLATION * len(data))

    def variables(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield names and values; what MATLAB adds without a name is left out."""
        for buffer, start, stop in self._top(whole=True):
            name, value = self._matrix(buffer, start, stop, 0)
            if name:
                yield name, value

    def names(self) -> Iterator[str]:
        for buffer, start, stop in self._top(whole=False):
            _, _, name, _ = self._head(buffer, start, stop)
            if name:
                yield name

    def _top(self, whole: bool) -> Iterator[tuple[bytes, int, int]]:
        """Yield each variable's buffer and where its matrix begins and ends; not `whole`: at least its name."""
        at = 128
        while at < len(self._data):
            kind, start, count, next_at = self._element(self._data, at, len(self._data))
            if kind == _COMPRESSED:
                next_at = start + count
                packed = zlib.decompressobj()
                most = self._left + 1 if whole else _NAME_BYTES
                try:
                    inner = packed.decompress(self._data[start : start + count], most)
                except zlib.error as error:
                    self._fail(str(error))
                self._charge(len(inner))
                if len(inner) < 8:
                    self._fail("a compressed variable is empty")
                kind, count = self._pair.unpack_from(inner)
                if kind != _MATRIX or (whole and 8 + count > len(inner)):
                    self._fail("a compressed variable is cut short, or none")
                yield inner, 8, min(8 + count, len(inner))
            elif kind == _MATRIX:
                yield self._data, start, start + count
            else:
                self._fail(f"a variable of type {kind}")
            at = next_at

    def _element(self, buffer: bytes, at: int, stop: int) -> tuple[int, int, int, int]:
        """Return an element's type, where its data begins, their number of bytes, and where the next one begins."""
        if at + 8 > stop:
            self._fail("it ends within a tag")
        kind, count = self._pair.unpack_from(buffer, at)
        if kind >> 16:  # a small element: count and type in one word, up to four bytes in the next
            count, kind = kind >> 16, kind & 0xFFFF
            if count > 4:
                self._fail(f"a small element of {count} bytes")
            return kind, at + 4, count, at + 8
        if at + 8 + count > stop:
            self._fail(f"an element claims {count} bytes, {stop - at - 8} are left")
        return kind, at + 8, count, min(at + 8 + (count + 7) // 8 * 8, stop)

    def _head(self, buffer: bytes, start: int, stop: int) -> tuple[int, tuple[int, ...], str, int]:
        """Return a matrix's flags, dimensions and name, and where its content begins."""
        kind, at, count, next_at = self._element(buffer, start, stop)
        if kind != 6 or count < 8:
            self._fail("a matrix without flags")
        flags = self._pair.unpack_from(buffer, at)[0]
        if flags & 0xFF == 17:  # opaque: its name comes first, and it has no dimensions
            return flags, (), "", stop
        kind, at, count, next_at = self._element(buffer, next_at, stop)
        if kind != 5 or count % 4 or not 8 <= count <= 128:
            self._fail("a matrix without dimensions")
        dims = struct.unpack_from(f"{self._order}{count // 4}i", buffer, at)
        if min(dims) < 0:
            self._fail(f"a matrix of {dims}")
        kind, at, count, next_at = self._element(buffer, next_at, stop)
        if kind not in (1, 2, 16):
            self._fail("a matrix without a name")
        return flags, dims, self._decoded(buffer[at : at + count], "utf-8" if kind == 16 else "latin-1"), next_at

    def _matrix(self, buffer: bytes, start: int, stop: int, depth: int) -> tuple[str, NDArray[Any]]:
        flags, dims, name, at = self._head(buffer, start, stop)
        kind, size = flags & 0xFF, math.prod(dims)
        if kind in _OPAQUE:
            return name, np.array(None, dtype=object)
        if flags & _COMPLEX:
            raise DataError(f"{self._where}: holds complex numbers, expected real ones")
        if depth > _MAX_DEPTH:
            self._fail(f"cells and structs within each other, deeper than {_MAX_DEPTH}")
        if kind == _CELL:
            values, _ = self._matrices(buffer, at, stop, size, depth)
            return name, self._objects(values, dims, np.dtype(object))
        if kind == _STRUCT:
            return name, self._struct(buffer, at, stop, dims, depth)
        stored, at, count, _ = self._element(buffer, at, stop)
        if kind == _CHAR:
            return name, self._text(buffer[at : at + count], stored, dims)
        if kind not in _CLASSES or stored not in _STORED:
            self._fail(f"a matrix of class {kind}, stored as type {stored}")
        dtype = np.dtype(_STORED[stored]).newbyteorder(self._order)
        if size * dtype.itemsize != count:
            self._fail(f"{count} bytes for a matrix of {dims}")
        wanted = np.dtype(np.bool_ if flags & _LOGICAL else _CLASSES[kind])
        self._charge(_MATRIX_BYTES + size * wanted.itemsize)
        with np.errstate(all="ignore"):
            array = np.frombuffer(buffer, dtype, size, at).astype(wanted)
        return name, array.reshape(dims, order="F")

    def _matrices(self, buffer: bytes, at: int, stop: int, count: int, depth: int) -> tuple[list[Any], int]:
        """Read matrices that follow each other."""
        if count > (stop - at) // 8:
            self._fail(f"{count} members in {stop - at} bytes")
        values = []
        for _ in range(count):
            kind, start, length, next_at = self._element(buffer, at, stop)
            if kind != _MATRIX:
                self._fail(f"a member of type {kind}")
            self._charge(_MATRIX_BYTES)
            values.append(self._matrix(buffer, start, start + length, depth + 1)[1] if length else np.zeros((0, 0)))
            at = next_at
        return values, at

    def _struct(self, buffer: bytes, at: int, stop: int, dims: tuple[int, ...], depth: int) -> NDArray[Any]:
        kind, start, count, at = self._element(buffer, at, stop)
        width = int.from_bytes(buffer[start : start + 4], "little" if self._order == "<" else "big")
        if kind != 5 or count != 4 or not 1 <= width <= 1024:
            self._fail("a struct without the length of its names")
        kind, start, count, at = self._element(buffer, at, stop)
        if kind not in (1, 2) or count % width:
            self._fail("a struct without names")
        fields = [buffer[place : place + width].split(b"\0", 1)[0] for place in range(start, start + count, width)]
        names = [self._decoded(field, "latin-1") for field in fields]
        if len(set(names)) != len(names) or not all(names):
            self._fail(f"a struct with fields {names}")
        size = math.prod(dims)
        if not names:
            return self._objects([None] * min(size, 1), (min(size, 1),), np.dtype(object))
        values, _ = self._matrices(buffer, at, stop, size * len(names), depth)
        records = [tuple(values[place : place + len(names)]) for place in range(0, len(values), len(names))]
        return self._objects(records, dims, np.dtype([(name, object) for name in names]))

    def _objects(self, values: list[Any], dims: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        self._charge(len(values) * dtype.itemsize)
        array = np.empty(len(values), dtype)
        for index, value in enumerate(values):
            array[index] = value
        return array.reshape(dims, order="F")

    def _text(self, content: bytes, stored: int, dims: tuple[int, ...]) -> NDArray[Any]:
        if stored not in _TEXT:
            self._fail(f"characters stored as type {stored}")
        codec = _TEXT[stored]
        if codec in ("utf-16", "utf-32"):
            codec += "-le" if self._order == "<" else "-be"
        text = self._decoded(content, codec)
        size = math.prod(dims)
        if len(text) != size and not (dims[0] == 1 and len(dims) == 2 and 0 < len(text) < size):  # of several units
            self._fail(f"{len(text)} characters for an array of {dims}")
        self._charge(_MATRIX_BYTES + 4 * len(text))
        if dims[0] == 1 and len(dims) == 2:
            return np.array([text])
        if not size:
            return np.zeros((0,), "U1")
        letters = np.array(list(text)).reshape(dims, order="F")
        return np.array(["".join(row) for row in letters.reshape(-1, dims[-1])]).reshape(dims[:-1])

    def _decoded(self, content: bytes, codec: str) -> str:
        try:
            return content.decode(codec)
        except UnicodeError as error:
            self._fail(str(error))

    def _charge(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise DataError(
                f"{self._where}: its variables take too many bytes; expected at most {_MAX_INFLATION} times what the "
                f"file has, and {_FREE_BYTES} where it has little"
            )

    def _fail(self, reason: str) -> NoReturn:
        raise DataError(f"{self._where}: not a readable MATLAB file ({reason})")


def _is_format_4(data: bytes) -> bool:
    """Tell whether a file's first word is a type of format 4; format 5 begins with a text."""
    return len(data) >= 20 and 0 in data[:4]


def _format_4(data: bytes, where: str) -> Iterator[tuple[str, NDArray[Any]]]:
    at = 0
    while at < len(data):
        if at + 20 > len(data):
            raise DataError(f"{where}: not a readable MATLAB file (it ends within a header)")
        order: Literal["<", ">"] = (
            "<" if data[at + 3] == 0 and int.from_bytes(data[at : at + 4], "little") < 5000 else ">"
        )
        code, rows, columns, is_complex, length = struct.unpack_from(f"{order}5i", data, at)
        stored, kind = code // 10 % 10, code % 10
        if not 0 <= code < 5000 or code // 100 % 10 or stored > 5 or kind > 2 or min(rows, columns) < 0 or length < 1:
            raise DataError(f"{where}: not a readable MATLAB file (a header of {code}, {rows} x {columns})")
        dtype = np.dtype(_FORMAT_4[stored]).newbyteorder(order)
        start, count = at + 20 + length, rows * columns
        at = start + count * dtype.itemsize * (2 if is_complex else 1)
        if at > len(data):
            raise DataError(f"{where}: not a readable MATLAB file (it ends within a matrix of {rows} x {columns})")
        if is_complex and kind == 0:
            raise DataError(f"{where}: holds complex numbers, expected real ones")
        name = data[start - length : start].split(b"\0", 1)[0].decode("latin-1")
        with np.errstate(all="ignore"):
            values = np.frombuffer(data, dtype, count, start).astype(np.float64).reshape((rows, columns), order="F")
        if kind == 2:
            yield name, np.array(None, dtype=object)
        elif kind == 1:
            if not ((values >= 0) & (values < 256)).all():
                raise DataError(f"{where}: not a readable MATLAB file (a text's characters)")
            yield name, np.array([bytes(row.astype(np.uint8)).decode("latin-1") for row in values], dtype="U")
        else:
            yield name, values
