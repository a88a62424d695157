"""The pages of an LMDB's `data.mdb`, for reading: where each record lies, every place checked before it counts.

Where in the flow: below `cpm_port/records/lmdb.py`, and below Caffe's Data layer.

The LMDB library follows page numbers and lengths through a memory map: where a file is cut short or damaged, it reads
beyond the map, which ends the process (SIGBUS). Here the tree of keys is walked once when a file is opened, which also
is how its keys are listed (about a second for a million records), and the values are read by their place: nothing is
mapped, so a file that shrinks while it is read gives an error, too. Locks are not taken, as nobody writes the data set
that is trained on.

Conventions: format 1 of 64 bit, little-endian machines; one unnamed database with byte-wise ordered keys, as Caffe's
tools write it.

*Source*: LMDB 0.9, lmdb.h and mdb.c (MDB_meta, MDB_page, MDB_node).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cpm_port.errors import DataError

__all__ = ["PageFile", "ValuePlace"]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<QHHHH")  # page's number, pad, flags, lower, upper; of an overflow page lower and upper count
_META = struct.Struct("<IIQQ")  # magic, version, address, map size
_TREE = struct.Struct("<IHHQQQQQ")  # page size or pad, flags, depth, branch, leaf and overflow pages, entries, root
_LAST = struct.Struct("<QQ")  # last page, transaction
_NODE = struct.Struct("<4H")  # two halves of a size or page number, flags, length of the key
_BRANCH, _LEAF, _OVERFLOW, _PACKED = 1, 2, 4, 0x20
_BIG = 1  # a node's value lies in overflow pages
_NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32


class ValuePlace(NamedTuple):
    """Where a value lies in the file."""

    offset: int
    size: int


class PageFile:
    """An open `data.mdb`.

    Parameters
    ----------
    path : path-like
    where : str
        What messages begin with.

    Attributes
    ----------
    places : dict of bytes to ValuePlace
        Every key's value, in the order of the keys.

    Raises
    ------
    DataError
        It is no LMDB, truncated, damaged, or of another kind than the module says.
    """

    def __init__(self, path: str | os.PathLike[str], where: str) -> None:
        self._where = where
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # to open a pipe is not to wait for its writer
        except OSError as error:
            raise DataError(f"{where}: not an LMDB ({error.strerror})") from error
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{where}: not an LMDB (data.mdb is no regular file)")
        self._size = status.st_size
        self._page_size, entries, root, self._pages = self._newest()
        needed = self._pages * self._page_size
        if self._size < needed:
            raise DataError(f"{where}: data.mdb has {self._size} bytes, its pages take {needed}: truncated")
        self.places: dict[bytes, ValuePlace] = {}
        last = None
        for key, place in self._leaves(root) if root != _NO_PAGE else ():
            if last is not None and key <= last:
                raise self._damaged(f"key {key!r:.80} after {last!r:.80}")
            self.places[key] = place
            last = key
        if len(self.places) != entries:
            raise self._damaged(f"{len(self.places)} records, it says {entries}")

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            os.close(handle)

    def read(self, place: ValuePlace) -> bytes:
        """Return a value.

        Raises
        ------
        DataError
            The file ends before it.
        """
        return self._bytes(place.offset, place.size)

    def _newest(self) -> tuple[int, int, int, int]:
        """Return the newer meta page's page size, number of records, root and number of pages."""
        first = self._meta(0)
        second = self._meta(first[1])
        if second[1] != first[1]:
            raise DataError(f"{self._where}: not an LMDB (pages of {first[1]} and of {second[1]} bytes)")
        return max(first, second)[1:]

    def _meta(self, offset: int) -> tuple[int, int, int, int, int]:
        content = self._bytes(offset, _HEADER.size + _META.size + 2 * _TREE.size + _LAST.size, "not an LMDB")
        magic, version, _, _ = _META.unpack_from(content, _HEADER.size)
        if (magic, version) != (_MAGIC, _VERSION):
            raise DataError(f"{self._where}: not an LMDB (of 64 bit, format {_VERSION})")
        at = _HEADER.size + _META.size
        page_size = _TREE.unpack_from(content, at)[0]
        _, flags, _, _, _, _, entries, root = _TREE.unpack_from(content, at + _TREE.size)
        last_page, transaction = _LAST.unpack_from(content, at + 2 * _TREE.size)
        if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
            raise DataError(f"{self._where}: not an LMDB (pages of {page_size} bytes)")
        if flags:
            raise DataError(f"{self._where}: an LMDB with flags {flags:#x}; expected plain keys, each once")
        return transaction, page_size, entries, root, last_page + 1

    def _leaves(self, root: int) -> Iterator[tuple[bytes, ValuePlace]]:
        """Walk the tree from left to right; no page is met twice."""
        left = self._pages
        open_pages = [(root, 0)]
        while open_pages:
            number, depth = open_pages.pop()
            left -= 1
            if left < 0 or depth > _MAX_DEPTH:
                raise self._damaged("its tree of keys goes round")
            page, flags, pointers = self._page(number)
            if flags & _BRANCH:
                below = [self._child(page, pointer) for pointer in pointers]
                open_pages += [(child, depth + 1) for child in reversed(below)]
            else:
                for pointer in pointers:
                    yield self._record(page, number, pointer)

    def _page(self, number: int) -> tuple[bytes, int, tuple[int, ...]]:
        """Return a branch's or leaf's content, its flags, and where its nodes begin."""
        page = self._bytes(self._offset(number, self._page_size), self._page_size)
        _, _, flags, lower, upper = _HEADER.unpack_from(page)
        kind = flags & (_BRANCH | _LEAF | _OVERFLOW | _PACKED)
        if kind not in (_BRANCH, _LEAF) or not _HEADER.size <= lower <= upper <= self._page_size or lower % 2:
            raise self._damaged(f"page {number} is none of keys")
        return page, kind, struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)

    def _child(self, page: bytes, pointer: int) -> int:
        low, high, top, _ = self._node(page, pointer)
        return low | high << 16 | top << 32

    def _record(self, page: bytes, number: int, pointer: int) -> tuple[bytes, ValuePlace]:
        low, high, flags, length = self._node(page, pointer)
        start, size = pointer + _NODE.size + length, low | high << 16
        if not length or start > len(page) or flags & ~_BIG:
            raise self._damaged(f"a record in page {number}")
        key = page[pointer + _NODE.size : start]
        if not flags:
            if start + size > len(page):
                raise self._damaged(f"record {key!r:.80} is longer than its page")
            return key, ValuePlace(number * self._page_size + start, size)
        if start + 8 > len(page):
            raise self._damaged(f"record {key!r:.80} has no page")
        first = int.from_bytes(page[start : start + 8], "little")
        return key, ValuePlace(self._offset(first, _HEADER.size + size) + _HEADER.size, size)

    def _node(self, page: bytes, pointer: int) -> tuple[int, int, int, int]:
        if not _HEADER.size <= pointer <= len(page) - _NODE.size:
            raise self._damaged("a node outside its page")
        low, high, flags, length = _NODE.unpack_from(page, pointer)
        return low, high, flags, length

    def _offset(self, number: int, size: int) -> int:
        """Return where a page begins, from which `size` bytes are wanted."""
        if number < 2 or number * self._page_size + size > self._pages * self._page_size:
            raise self._damaged(f"page {number} of {self._pages}")
        return number * self._page_size

    def _bytes(self, offset: int, size: int, otherwise: str = "truncated") -> bytes:
        content = b""
        while len(content) < size:
            try:
                more = os.pread(self._handle, size - len(content), offset + len(content))
            except OSError as error:
                raise DataError(f"{self._where}: data.mdb cannot be read ({error.strerror})") from error
            if not more:
                raise DataError(f"{self._where}: data.mdb ends at {offset + len(content)} bytes: {otherwise}")
            content += more
        return content

    def _damaged(self, reason: str) -> DataError:
        return DataError(f"{self._where}: a damaged LMDB ({reason})")
