"""HDF5 files in and out: the one door, which trusts nothing that a file says before it is checked.

Only plain data is read, that lies in the file itself. Refused before memory is asked for, or another file touched:
external and soft links, virtual and external storage, arrays that claim more than the file can hold, more bytes in all
than its size allows, groups that are linked more than once.

Checked before the library sees it: strings of varying length (`hdf5_strings.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import CpmPortError, DataError
from cpm_port.files.atomic import atomic_path, writing
from cpm_port.files.hdf5_strings import check_attribute, check_heaps, check_lengths

__all__ = ["CheckedFile", "create_hdf5", "open_hdf5"]

MAX_BYTES = 4 << 30  # of all arrays; twice what a .caffemodel can hold
FREE_BYTES = 256 << 20  # of all arrays, however small the file
MAX_TOTAL_INFLATION = 32  # of larger ones; trained weights compress little, Caffe's own files not at all
_MAX_LINKS = 50_000
_MAX_AXES = 32
_MAX_VALUES = 2**31 - 1
_MAX_INFLATION = 1100  # deflate's best ratio is 1032
_MIN_CHUNK = 1 << 20  # bytes that a chunk may take whatever the file holds for it
_ROWS = 256  # strings of varying length that are read at once
_CORRUPT = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, MemoryError,
    NotImplementedError,
)  # fmt: skip


@contextmanager
def open_hdf5(path: str | os.PathLike[str], allowed: int | None = None) -> Iterator[CheckedFile]:
    """Open `path` for reading.

    Parameters
    ----------
    path : path-like
    allowed : int, optional
        How many bytes all arrays that are read may take together; by default as many as suits the file's size.

    Raises
    ------
    DataError
        It is no HDF5 file, or reading from it fails part way.
    """
    import h5py  # a tenth of a second, which most runs can save

    try:
        check_heaps(path)
        with h5py.File(path, "r", locking=False) as file, np.errstate(all="ignore"):
            yield CheckedFile(file, os.fspath(path), _allowed_bytes(path) if allowed is None else allowed)
    except CpmPortError:
        raise
    except _CORRUPT as error:
        raise DataError(f"{os.fspath(path)}: not a readable HDF5 file ({error})") from error


@contextmanager
def create_hdf5(path: str | os.PathLike[str], **options: Any) -> Iterator[Any]:
    """Give a new `h5py.File` (with its `options`) to write to; it appears at `path` whole or not at all.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    import h5py

    with atomic_path(path) as temporary:
        file = None
        try:
            with writing(path, RuntimeError):
                file = h5py.File(temporary, "w", **options)
                yield file
                file.close()
        finally:
            if file is not None and file.id.valid:
                _abandon(file)


class CheckedFile:
    """An open file, whose members are handed out once they are checked.

    Parameters
    ----------
    file : h5py.File
    where : str
        What messages begin with.
    allowed : int
        How many bytes all arrays together may take: hard links can show the same data any number of times.

    Attributes
    ----------
    root : h5py.File
        The top group.
    """

    def __init__(self, file: Any, where: str, allowed: int) -> None:
        self.root = file
        self._where = where
        self._bytes = allowed
        self._links = _MAX_LINKS
        self._groups: set[Any] = set()

    def names(self, group: Any = None) -> list[str]:
        """Return the names of a group's members, in the file's order.

        Raises
        ------
        DataError
            The file has too many members, or the group was looked through before: it is linked twice.
        """
        import h5py

        group = self.root if group is None else group
        place = h5py.h5o.get_info(group.id).addr
        if place in self._groups:
            raise DataError(f"{self._where}: {group.name!r} is a group that is linked more than once")
        self._groups.add(place)
        self._links -= len(group)
        if self._links < 0:
            raise DataError(f"{self._where}: more than {_MAX_LINKS} members")
        return list(group)

    def member(self, name: str, group: Any = None) -> Any:
        """Return a group's member (an h5py.Group or h5py.Dataset), None where there is none of that name.

        Raises
        ------
        DataError
            It is a link to elsewhere.
        """
        import h5py

        group = self.root if group is None else group
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{self._where}: {name!r} is a {type(link).__name__}; expected data in the file itself")
        return group[name]

    def is_group(self, member: Any) -> bool:
        """Whether a member is a group."""
        import h5py

        return isinstance(member, h5py.Group)

    def check(self, dataset: Any, where: str) -> None:
        """Refuse what is no array, lies elsewhere, or claims more than the file holds for it; count its bytes.

        Raises
        ------
        DataError
        """
        import h5py

        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{where}: is no array")
        properties = dataset.id.get_create_plist()
        if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
            raise DataError(f"{where}: its data lie in another file; expected data in the file itself")
        shape = dataset.shape
        if shape is None or len(shape) > _MAX_AXES:
            raise DataError(f"{where}: has shape {shape}; expected at most {_MAX_AXES} dimensions")
        size = dataset.dtype.itemsize
        count = math.prod(int(dim) for dim in shape)
        stored = dataset.id.get_storage_size()
        holds = stored * (_MAX_INFLATION if properties.get_nfilters() else 1)
        chunk = math.prod(int(dim) for dim in dataset.chunks or ()) * size
        if count > _MAX_VALUES or count * size > holds or chunk > max(holds, _MIN_CHUNK):
            raise DataError(f"{where}: shape {shape} claims more than the {stored} bytes that the file holds for it")
        self.charge(count * size, where)

    def charge(self, count: int, where: str) -> None:
        """Count bytes that are read.

        Raises
        ------
        DataError
            They are too many in all.
        """
        self._bytes -= count
        if self._bytes < 0:
            raise DataError(
                f"{where}: the file's arrays have too many bytes in all; expected at most {MAX_BYTES}, and "
                f"{MAX_TOTAL_INFLATION} times what the file has where that is over {FREE_BYTES}"
            )

    def array(self, name: str, shape: tuple[int | None, ...] | None = None) -> NDArray[np.float64]:
        """Return data set `name` as float64, its shape checked where one is given (None leaves an axis free).

        Raises
        ------
        DataError
            The data set is missing, not numeric, or of another shape.
        """
        dataset = self._dataset(name)
        if dataset.dtype.kind not in "fiub":
            raise DataError(f"{self._where}: {name!r} is not an array of numbers ({dataset.dtype})")
        wrong = shape is not None and (
            len(dataset.shape) != len(shape)
            or any(want is not None and have != want for have, want in zip(dataset.shape, shape, strict=True))
        )
        if shape is not None and wrong:
            wanted = ", ".join("N" if n is None else str(n) for n in shape)
            raise DataError(f"{self._where}: {name!r} has shape {dataset.shape}, expected ({wanted})")
        self.charge(8 * dataset.size, f"{self._where}: {name!r}")
        return np.asarray(dataset[()]).astype(np.float64)

    def texts(self, name: str, count: int) -> list[str]:
        """Return data set `name` as `count` strings; the hourglass files store them as fixed-size bytes or as codes.

        Raises
        ------
        DataError
            The data set is missing, of another length, or holds no strings.
        """
        dataset = self._dataset(name)
        kind, shape = dataset.dtype.kind, dataset.shape
        if not shape or shape[0] != count:
            raise DataError(f"{self._where}: {name!r} has shape {shape}, expected {count} entries")
        if kind in "SO" and len(shape) == 1:
            return [_text(value, f"{self._where}: {name!r}") for value in self._strings(dataset, name)]
        if kind in "fiu" and len(shape) == 2:  # one character code per column, padded with zeros
            codes = np.asarray(dataset[()]).astype(np.float64)
            if not ((codes >= 0) & (codes <= 0x10FFFF)).all():
                raise DataError(f"{self._where}: {name!r} holds no names: a code is no character's")
            names = ("".join(chr(int(code)) for code in row if code) for row in codes)
            return [_text(name, f"{self._where}: {name!r}") for name in names]
        raise DataError(f"{self._where}: {name!r} holds no names ({dataset.dtype} of shape {shape})")

    def attribute(self, name: str) -> str | int | None:
        """Return an attribute of the file: one string or one whole number; None where there is none.

        Raises
        ------
        DataError
            It is something else.
        """
        attributes = self.root.attrs
        if name not in attributes:
            return None
        held = attributes.get_id(name)
        if held.shape != () or held.dtype.kind not in "SOiu" or held.get_storage_size() > _MIN_CHUNK:
            raise DataError(
                f"{self._where}: attribute {name!r} is {held.dtype} of shape {held.shape}; expected one value"
            )
        if held.dtype.kind == "O":
            check_attribute(name, self._where)
        value = attributes[name]
        if isinstance(value, bytes | str):
            return _text(value, f"{self._where}: attribute {name!r}")
        if isinstance(value, np.integer):
            return int(value)
        raise DataError(f"{self._where}: attribute {name!r} is {value!r:.80}; expected a string or a whole number")

    def _dataset(self, name: str) -> Any:
        dataset = self.member(name)
        if dataset is None:
            raise DataError(f"{self._where}: no data set {name!r}; found {', '.join(sorted(self.names())) or 'none'}")
        self.check(dataset, f"{self._where}: {name!r}")
        return dataset

    def _strings(self, dataset: Any, name: str) -> Iterator[Any]:
        """Yield a data set's strings; those of varying length, which may all be one long one, a few at a time."""
        import h5py

        if dataset.dtype.kind == "O":
            if h5py.check_string_dtype(dataset.dtype) is None:
                raise DataError(f"{self._where}: {name!r} holds no names, but objects of another kind")
            check_lengths(dataset, self._where)
        for start in range(0, len(dataset), _ROWS):
            rows = dataset[start : start + _ROWS]
            if dataset.dtype.kind == "O":
                self.charge(sum(len(row) for row in rows), f"{self._where}: {name!r}")
            yield from rows


def _allowed_bytes(path: str | os.PathLike[str]) -> int:
    return min(MAX_BYTES, max(FREE_BYTES, MAX_TOTAL_INFLATION * os.stat(path).st_size))


def _text(value: bytes | str, where: str) -> str:
    """Return a string as text that can be printed, and name a file."""
    try:
        text = (value if isinstance(value, bytes) else value.encode("utf-8")).decode("utf-8")
    except UnicodeError as error:
        raise DataError(f"{where} is not UTF-8 ({error})") from error
    if "\0" in text:
        raise DataError(f"{where} holds a zero character: {text!r:.80}")
    return text


def _abandon(file: Any) -> None:
    """Close a file that could not be written; what the library still holds of it cannot be, either."""
    with suppress(OSError, RuntimeError):
        file.close()
