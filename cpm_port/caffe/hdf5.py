"""Caffe's HDF5 files: weights as `/data/<layer>/<index>`, solver states as `iter`, `learned_net`, `current_step`,
`history/<index>`.

Only plain data is read: float32 and float64 arrays that lie in the file itself. External and soft links, virtual or
external storage, other types, and arrays that claim more than the file can hold are refused, before memory is asked
for.

*Source*: BVLC/caffe@9b89154 src/caffe/net.cpp (ToHDF5), src/caffe/solvers/sgd_solver.cpp (SnapshotSolverStateToHDF5).

It knowingly differs: a layer name with slashes is read and written as nested groups (Caffe fails to write such a
layer).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from cpm_port.caffe.binary import MAX_BLOB_AXES, check_blob, map_file
from cpm_port.caffe.kinds import HDF5_MAGIC
from cpm_port.errors import CaffeFormatError, WeightsError
from cpm_port.files.atomic import atomic_path

__all__ = ["read_state", "read_weight_groups", "write_state", "write_weight_groups"]

_MAX_LINKS = 50_000
_MAX_GROUP_DEPTH = 32
_MAX_VALUES = 2**31 - 1
_MAX_INFLATION = 1100  # deflate's best ratio is 1032
_MAX_BYTES = 4 << 30  # of all arrays; twice what a .caffemodel can hold
_FREE_BYTES = 256 << 20  # of all arrays, however small the file
_MAX_TOTAL_INFLATION = 32  # of larger ones; trained weights compress little, Caffe's own files not at all


def read_weight_groups(path: str | os.PathLike[str]) -> dict[str, tuple[np.ndarray, ...]]:
    """Read the arrays of every layer of an HDF5 weights file, in the file's (alphabetical) order.

    Raises
    ------
    MissingFileError, CaffeFormatError
    """
    with _opened(path) as (file, where):
        if "history" in file and "iter" in file:
            model = _text(_child(file, "learned_net", where), f"{where}: learned_net") if "learned_net" in file else ""
            named = f", whose model is {model!r}" if model else ""
            raise CaffeFormatError(f"{where}: this is a solver state{named}; expected Caffe's weights")
        data = _child(file, "data", f"{where}: no group '/data'; expected Caffe's weights")
        if not isinstance(data, h5py.Group):
            raise CaffeFormatError(f"{where}: '/data' is no group; expected Caffe's weights")
        layers: dict[str, tuple[np.ndarray, ...]] = {}
        _collect(data, "", where, layers, _budget(path), 0)
        return layers


def write_weight_groups(path: str | os.PathLike[str], layers: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write arrays as Caffe does; layers without arrays become empty groups.

    Raises
    ------
    WeightsError
        Names of layers that would not read back as they are: HDF5 takes slashes for groups.
    """
    _check_names(layers, os.fspath(path))
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        root = file.create_group("data")
        for name, arrays in layers.items():
            group = root.require_group(name)
            for index, array in enumerate(arrays):
                group.create_dataset(str(index), data=_stored(array))


def _check_names(layers: Mapping[str, Sequence[np.ndarray]], where: str) -> None:
    """Raise for names with an empty part, and for those that are an array of another layer."""
    problems = []
    for name in layers:
        parts = name.split("/")
        if any(part in ("", ".") for part in parts) or "\0" in name:
            problems.append(f"{name!r} has an empty part, '.' or a zero byte")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            if parts[length] in map(str, range(len(layers.get(parent, ())))):
                problems.append(f"{name!r} is where layer {parent!r} has its array {parts[length]}")
    if problems:
        raise WeightsError(
            f"{where}: HDF5 cannot hold these layers' names: {'; '.join(problems)}; write a .caffemodel or .safetensors"
        )


def read_state(path: str | os.PathLike[str]) -> tuple[int, str, int, list[np.ndarray]]:
    """Read an HDF5 solver state: iteration, learned_net, current_step and history.

    Raises
    ------
    MissingFileError, CaffeFormatError
    """
    with _opened(path) as (file, where):
        numbers = [
            _integer(_child(file, name, f"{where}: no '{name}'"), f"{where}: {name}")
            for name in ("iter", "current_step")
        ]
        net = ""
        if "learned_net" in file:
            net = _text(_child(file, "learned_net", where), f"{where}: learned_net")
        history = _child(file, "history", f"{where}: no group 'history'; expected a solver state")
        if not isinstance(history, h5py.Group):
            raise CaffeFormatError(f"{where}: 'history' is no group")
        return numbers[0], net, numbers[1], list(_numbered(history, f"{where}: history", _budget(path)))


def write_state(
    path: str | os.PathLike[str], iteration: int, learned_net: str, current_step: int, history: Sequence[np.ndarray]
) -> None:
    """Write an HDF5 solver state as Caffe does."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("iter", data=np.array([iteration], "<i4"))
        file.create_dataset("learned_net", data=np.bytes_(learned_net.encode("utf-8") + b"\0"))
        file.create_dataset("current_step", data=np.array([current_step], "<i4"))
        group = file.create_group("history")
        for index, array in enumerate(history):
            group.create_dataset(str(index), data=_stored(array))


@dataclass
class _Budget:
    """What may still be read from one file: hard links can show the same data any number of times."""

    bytes: int
    links: int = _MAX_LINKS


def _budget(path: str | os.PathLike[str]) -> _Budget:
    return _Budget(min(_MAX_BYTES, max(_FREE_BYTES, _MAX_TOTAL_INFLATION * os.stat(path).st_size)))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, str]]:
    """Open a file; whatever the HDF5 library says becomes a CaffeFormatError."""
    name = os.fspath(path)
    with map_file(path) as data:
        if data[:8] != HDF5_MAGIC:
            raise CaffeFormatError(f"{name}: this is no HDF5 file")
    try:
        with h5py.File(name, "r", locking=False) as file:
            yield file, name
    except CaffeFormatError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError, OverflowError, MemoryError) as error:
        raise CaffeFormatError(f"{name}: the HDF5 file is corrupt or truncated: {error}") from None


def _child(group: Any, name: str, missing: str) -> Any:
    """Return a group's member, if it is a hard link."""
    link = group.get(name, getlink=True)
    if link is None:
        raise CaffeFormatError(missing)
    if not isinstance(link, h5py.HardLink):
        raise CaffeFormatError(
            f"{missing.split(':')[0]}: {name!r} is a {type(link).__name__}; expected data in the file itself"
        )
    return group[name]


def _collect(
    group: Any, prefix: str, where: str, layers: dict[str, tuple[np.ndarray, ...]], budget: _Budget, depth: int
) -> None:
    """Walk a group: members that are groups are layers, or parts of a layer's name with slashes."""
    if depth > _MAX_GROUP_DEPTH:
        raise CaffeFormatError(f"{where}: groups nest deeper than {_MAX_GROUP_DEPTH}")
    for name in group:
        budget.links -= 1
        if budget.links < 0:
            raise CaffeFormatError(f"{where}: more than {_MAX_LINKS} members")
        child = _child(group, name, f"{where}: no {name!r}")
        layer = f"{prefix}{name}"
        if not isinstance(child, h5py.Group):
            if depth == 0:
                raise CaffeFormatError(f"{where}: '/data/{name}' is no group; expected a layer")
            continue
        arrays = tuple(_numbered(child, f"{where}: layer {layer!r}", budget))
        if arrays:
            layers[layer] = arrays
        _collect(child, f"{layer}/", where, layers, budget, depth + 1)


def _numbered(group: Any, where: str, budget: _Budget) -> Iterator[np.ndarray]:
    """Read the datasets `0`, `1`, ... of a group."""
    names = {name for name in group if not _is_group(group, name)}
    for index in range(len(names)):
        if str(index) not in names:
            raise CaffeFormatError(
                f"{where}: has members {', '.join(sorted(names)[:8])}; expected arrays '0' to '{len(names) - 1}'"
            )
        yield _array(_child(group, str(index), f"{where}: no array '{index}'"), f"{where}, blob {index}", budget)


def _is_group(group: Any, name: str) -> bool:
    """Tell whether a member is a group; links to elsewhere are not followed."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink) and group.get(name, getclass=True) is h5py.Group


def _array(dataset: Any, where: str, budget: _Budget) -> np.ndarray:
    """Read one array, after checking that it is plain, in the file and of a size that the file can hold."""
    _check_storage(dataset, where)
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (4, 8):
        raise CaffeFormatError(f"{where}: is of type {dataset.dtype}; expected float32 or float64")
    budget.bytes -= dataset.nbytes
    if budget.bytes < 0:
        raise CaffeFormatError(
            f"{where}: the file's arrays have too many bytes in all; expected at most {_MAX_BYTES}, and "
            f"{_MAX_TOTAL_INFLATION} times what the file has where that is over {_FREE_BYTES}"
        )
    array = np.asarray(dataset[()], dataset.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def _check_storage(dataset: Any, where: str) -> None:
    if not isinstance(dataset, h5py.Dataset):
        raise CaffeFormatError(f"{where}: is no array")
    properties = dataset.id.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        raise CaffeFormatError(f"{where}: its data lie in another file; expected data in the file itself")
    shape = dataset.shape
    if shape is None or len(shape) > MAX_BLOB_AXES:
        raise CaffeFormatError(f"{where}: has shape {shape}; expected at most {MAX_BLOB_AXES} dimensions")
    count = math.prod(int(dim) for dim in shape)
    stored = dataset.id.get_storage_size()
    ratio = _MAX_INFLATION if properties.get_nfilters() else 1
    if count > _MAX_VALUES or count * dataset.dtype.itemsize > stored * ratio:
        raise CaffeFormatError(f"{where}: shape {shape} claims more than the {stored} bytes that the file holds for it")


def _integer(dataset: Any, where: str) -> int:
    _check_storage(dataset, where)
    if dataset.dtype.kind not in "iu" or dataset.size != 1:
        raise CaffeFormatError(f"{where}: is {dataset.dtype} of shape {dataset.shape}; expected one integer")
    return int(np.asarray(dataset[()]).reshape(-1)[0])


def _text(dataset: Any, where: str) -> str:
    _check_storage(dataset, where)
    if dataset.dtype.kind != "S" or dataset.size != 1:
        raise CaffeFormatError(f"{where}: is {dataset.dtype} of shape {dataset.shape}; expected one string")
    return bytes(np.asarray(dataset[()]).reshape(-1)[0]).split(b"\0", 1)[0].decode("utf-8")


def _stored(array: np.ndarray) -> np.ndarray:
    array = check_blob(array)
    return np.ascontiguousarray(array, "<f8" if array.dtype == np.float64 else "<f4").reshape(array.shape)
