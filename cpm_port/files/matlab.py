"""MATLAB files in and out: what every reader and writer of `.mat` files needs.

Conventions: every number comes back as float64. MATLAB saves doubles that happen to be small integers as uint8 or
int16, and subtracting those wraps around: `load_matlab` restores the arrays' own class and casts the rest. Arrays whose
own class is an integer may have lost coordinates before they were saved: one that reaches the largest value of its
class is refused, and so are labels of one byte each.

Only formats 4 and 5 (`save -v7` and older) are read, by `matlab_format.py`; `-v7.3` is HDF5 of another layout and gets
an error that says so. SciPy writes; it is imported where it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, MissingFileError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.matlab_format import names_of, variables_of

__all__ = [
    "field",
    "load_matlab",
    "number",
    "number_array",
    "numeric",
    "require_file",
    "save_matlab",
    "text",
    "variable_names",
]


def require_file(path: str | Path, origin: str) -> Path:
    """Return `path` as a Path.

    Raises
    ------
    MissingFileError
        It is not a file; the message says where to get it (`origin`).
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is not there; get it from {origin}")
    return path


def load_matlab(path: Path) -> dict[str, NDArray[Any]]:
    """Read all variables of a MATLAB file; numbers as float64.

    Raises
    ------
    DataError
        The file is no MATLAB file, is truncated or corrupt, was saved with `-v7.3`, or holds complex numbers.
    """
    return variables_of(_content(path), str(path))


def variable_names(path: Path) -> set[str]:
    """Return the names of a MATLAB file's variables, without reading their values.

    Raises
    ------
    DataError
        The file is no MATLAB file, is truncated or corrupt, or was saved with `-v7.3`.
    """
    return names_of(_content(path), str(path))


def save_matlab(path: str | Path, variables: dict[str, NDArray[Any]]) -> None:
    """Write variables to a compressed MATLAB file (`-v7`), whole or not at all."""
    from scipy.io import savemat

    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        savemat(stream, variables, do_compression=True)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a readable MATLAB file ({error.strerror or error})") from error


def numeric(
    variables: dict[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], path: Path, *, bytes_do: bool = True
) -> NDArray[Any]:
    """Return variable `name` as float64, its shape checked.

    Parameters
    ----------
    shape : tuple of int or None
        Expected shape; None leaves an axis free.
    bytes_do : bool
        Whether an integer class of one byte can hold the values.

    Raises
    ------
    DataError
        The variable is missing, not numeric, of another shape, of a class that cannot hold the values, or reaches
        the largest value of its integer class.
    """
    if name not in variables:
        raise DataError(f"{path}: no variable {name!r}; found {', '.join(sorted(variables)) or 'none'}")
    value = variables[name]
    if value.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name!r} is not an array of numbers ({value.dtype})")
    if value.dtype.kind in "iu":
        last = np.iinfo(value.dtype).max
        if value.dtype.itemsize == 1 and not bytes_do:
            raise DataError(
                f"{path}: {name!r} is of class {value.dtype}, which loses fractions and all beyond {last}; "
                "save it as double"
            )
        if (value == last).any():
            raise DataError(
                f"{path}: {name!r} is of class {value.dtype} and reaches its last value, {last}: larger ones were cut "
                f"off or wrapped around; save it as double"
            )
    if value.ndim == len(shape) - 1 and shape[-1] is None:  # MATLAB drops a last axis of one
        value = value[..., None]
    if value.ndim != len(shape) or any(
        want is not None and have != want for have, want in zip(value.shape, shape, strict=True)
    ):
        wanted = " x ".join("N" if n is None else str(n) for n in shape)
        raise DataError(f"{path}: {name!r} is {' x '.join(map(str, value.shape))}, expected {wanted}")
    return np.asarray(value, dtype=np.float64)


def field(record: NDArray[Any] | np.void | None, name: str, where: str) -> Any:
    """Return field `name` of a struct (one element).

    Raises
    ------
    DataError
        It is no struct (None: an element that the file left empty), not a single one, or lacks the field; `where`
        opens the message.
    """
    if record is None:
        raise DataError(f"{where}: expected a struct with field {name!r}, found nothing")
    names = record.dtype.names
    if names is None:
        raise DataError(f"{where}: expected a struct with field {name!r}, found an array of {record.dtype}")
    if name not in names:
        raise DataError(f"{where}: field {name!r} is missing; found {', '.join(names)}")
    if isinstance(record, np.ndarray):
        if record.size != 1:
            raise DataError(f"{where}: expected one struct, found {record.size}")
        record = record.ravel()[0]
    return record[name]


def number(value: Any, where: str) -> float:
    """Return the only number in `value`.

    Raises
    ------
    DataError
        It is empty, holds several, or is no number.
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise DataError(f"{where}: expected one number, found {array.dtype} of shape {array.shape}")
    return float(array.ravel()[0])


def number_array(value: Any, where: str) -> NDArray[np.float64]:
    """Return an array of numbers, of any shape, as float64.

    Raises
    ------
    DataError
        It holds something else.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: expected numbers, found {array.dtype} of shape {array.shape}")
    return array.astype(np.float64)


def text(value: Any, where: str) -> str:
    """Return the only string in `value`.

    Raises
    ------
    DataError
        It is empty, holds several, or is no string.
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind != "U":
        raise DataError(f"{where}: expected one string, found {array.dtype} of shape {array.shape}")
    found = str(array.ravel()[0])
    if "\0" in found:
        raise DataError(f"{where}: a zero character in {found!r:.80}")
    return found
