"""Strings of varying length in an HDF5 file: what it says of them, checked before the HDF5 library believes it.

In place of such a string stands a descriptor: its length (4 bytes), the address of a heap, and a number there. The
library asks for as much memory as the length says and only then looks into the heap; and it walks a heap without
looking whether it gets on, so that it never comes back from one that says 0. Both are read here from the file's bytes,
as the format lays them out: a string is no longer than its file, and each step in a heap leads on.

The search for heaps takes about a second for 4 GB. (A child process with a time limit would cost 0.3 seconds a file.)

Source: "HDF5 File Format Specification", version 3.0: III.E (global heap), IV.A.2.m (attribute message), VII.A.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_attribute", "check_heaps", "check_lengths"]

_HEAP = b"GCOL\x01"  # signature and version of a collection of strings
_HEAP_HEADER, _OBJECT_HEADER = 16, 16
_DEFLATE = 1  # a filter's number
_MESSAGES = ((1, "<BxHHH", 8), (2, "<BxHHH", 1), (3, "<BxHHHx", 1))  # attributes: version, before the name, alignment


@contextmanager
def _bytes_of(path: str | os.PathLike[str]) -> Iterator[mmap.mmap]:
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise OSError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Walk every heap of strings as the library will: each step must lead on, and stay inside.

    Raises
    ------
    OSError
    """
    with _bytes_of(path) as data:
        start = data.find(_HEAP)
        while start >= 0:
            _check_heap(data, start)
            start = data.find(_HEAP, start + 1)


def _check_heap(data: mmap.mmap, start: int) -> None:
    if start + _HEAP_HEADER > len(data):
        return
    (size,) = struct.unpack_from("<Q", data, start + 8)
    end, at = start + size, start + _HEAP_HEADER
    if end > len(data):
        raise OSError("a collection of strings ends beyond the file")
    while at + _OBJECT_HEADER <= end:
        index, length = struct.unpack_from("<H6xQ", data, at)
        step = length if index == 0 else _OBJECT_HEADER + (length + 7) // 8 * 8
        if step == 0 or at + step > end:
            raise OSError("a collection of strings has one of impossible length")
        at += step


def check_lengths(dataset: Any, path: str | os.PathLike[str]) -> None:
    """Hold the length of every string of a data set against the file's.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of strings of varying length.
    path : path-like
        Its file.

    Raises
    ------
    OSError
        A string is longer than the file, or the descriptors lie where they cannot be checked.
    """
    import h5py

    longest = os.stat(path).st_size
    properties = dataset.id.get_create_plist()
    size = 8 + dataset.file.id.get_create_plist().get_sizes()[0]
    if properties.get_layout() == h5py.h5d.COMPACT:
        raise OSError("its strings of varying length lie in a header; expected them contiguous or in chunks")
    if properties.get_layout() == h5py.h5d.CONTIGUOUS:
        if not dataset.id.get_storage_size():
            return
        with _bytes_of(path) as data:
            start = dataset.id.get_offset()
            _check_descriptors(data[start : start + dataset.size * size], size, longest)
        return
    chunk = int(np.prod(dataset.chunks)) * size
    for number in range(dataset.id.get_num_chunks()):
        mask, content = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
        _check_descriptors(_unfiltered(content, properties, mask, chunk), size, longest)


def _unfiltered(content: bytes, properties: Any, mask: int, size: int) -> bytes:
    """Return a chunk of `size` bytes as it was before the data set's filters, but for those that `mask` leaves out."""
    for number in range(properties.get_nfilters()):
        if mask >> number & 1:
            continue
        code, _, _, name = properties.get_filter(number)
        if code != _DEFLATE:  # the library itself leaves out shuffle and fletcher32 here
            raise OSError(f"its strings of varying length went through the filter {name!r}; expected deflate alone")
        content = zlib.decompressobj().decompress(content, size)
    return content


def _check_descriptors(content: bytes, size: int, longest: int) -> None:
    lengths = np.frombuffer(content[: len(content) // size * size], np.uint8).reshape(-1, size)[:, :4]
    found = lengths.copy().view("<u4").max(initial=0)
    if found > longest:
        raise OSError(f"a string of {found} bytes, which are more than the file has")


def check_attribute(name: str, path: str | os.PathLike[str]) -> None:
    """Hold the length of an attribute, one string of varying length, against the file's.

    HDF5's calls do not tell where an attribute lies: every place where one of that name may begin is looked at.

    Raises
    ------
    OSError
        A string is longer than the file.
    """
    key = name.encode() + b"\0"
    with _bytes_of(path) as data:
        at = data.find(key)
        while at >= 0:
            for version, header, step in _MESSAGES:
                start = at - struct.calcsize(header)
                if start < 0:
                    continue
                found, *sizes = struct.unpack_from(header, data, start)
                if found == version and sizes[0] == len(key):
                    begin = at + sum(-(-size // step) * step for size in sizes)
                    _check_descriptors(data[begin : begin + 4], 4, len(data))
            at = data.find(key, at + 1)
