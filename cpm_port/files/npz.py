"""NumPy's `.npz` in: plain arrays, no pickles, no more of them than the file's size makes likely."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import CpmPortError, DataError, MissingFileError

__all__ = ["read_npz"]

_FREE_BYTES = 256 << 20  # of all arrays, however small the file
_MAX_INFLATION = 32  # of larger ones
_BROKEN = (
    OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, MemoryError, OverflowError, SyntaxError,
    AttributeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npz(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return a file's arrays by name, in the file's order.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is no .npz of plain arrays, or they take many times what the file has.
    """
    name = os.fspath(path)
    if not Path(path).is_file():
        raise MissingFileError(f"{name}: no such file")
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise DataError(f"{name}: one array without a name; expected an .npz of arrays by name")
            size, allowed = _unpacked(loaded), max(_FREE_BYTES, _MAX_INFLATION * os.stat(path).st_size)
            if size > allowed:
                raise DataError(
                    f"{name}: its arrays take {size} bytes; expected at most {allowed} of a file of its size"
                )
            return {key: loaded[key] for key in loaded.files}
    except CpmPortError:
        raise
    except _BROKEN as error:
        raise DataError(f"{name}: not a whole .npz of plain arrays: {error}") from None


def _unpacked(loaded: Any) -> int:
    return sum(member.file_size for member in loaded.zip.infolist())
