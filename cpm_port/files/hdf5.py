"""HDF5 files in: opening with a readable error, and arrays whose shape is checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError

__all__ = ["open_hdf5", "read_array", "read_names"]


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open `path` for reading.

    Raises
    ------
    DataError
        It is no HDF5 file, or reading from it fails part way.
    """
    import h5py  # a tenth of a second, which most runs can save

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({error})") from error


def read_array(file: Any, name: str, shape: tuple[int | None, ...], path: Path) -> NDArray[np.float64]:
    """Return data set `name` as float64, its shape checked (None leaves an axis free).

    Raises
    ------
    DataError
        The data set is missing, not numeric, or of another shape.
    """
    value = _dataset(file, name, path)
    if value.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name!r} is not an array of numbers ({value.dtype})")
    wrong = any(want is not None and have != want for have, want in zip(value.shape, shape, strict=False))
    if value.ndim != len(shape) or wrong:
        wanted = ", ".join("N" if n is None else str(n) for n in shape)
        raise DataError(f"{path}: {name!r} has shape {value.shape}, expected ({wanted})")
    return value.astype(np.float64)


def read_names(file: Any, name: str, count: int, path: Path) -> list[str]:
    """Return data set `name` as `count` strings; the hourglass files store them as fixed-size bytes or as codes.

    Raises
    ------
    DataError
        The data set is missing, of another length, or holds no strings.
    """
    value = _dataset(file, name, path)
    if len(value) != count:
        raise DataError(f"{path}: {name!r} has {len(value)} entries, expected {count}")
    if value.dtype.kind in "SO":
        return [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in value]
    if value.ndim == 2 and value.dtype.kind in "fiu":  # one character code per column, padded with zeros
        return ["".join(chr(int(code)) for code in row if code) for row in value]
    raise DataError(f"{path}: {name!r} holds no names ({value.dtype} of shape {value.shape})")


def _dataset(file: Any, name: str, path: Path) -> NDArray[Any]:
    if name not in file:
        raise DataError(f"{path}: no data set {name!r}; found {', '.join(sorted(file)) or 'none'}")
    value: NDArray[Any] = file[name][()]
    return value
