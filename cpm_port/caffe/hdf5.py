"""Caffe's HDF5 files: weights as `/data/<layer>/<index>`, solver states as `iter`, `learned_net`, `current_step`,
`history/<index>`.

Only plain data is read: float32 and float64 arrays that lie in the file itself (`cpm_port.files.hdf5` says what is
refused, before memory is asked for).

*Source*: BVLC/caffe@9b89154 src/caffe/net.cpp (ToHDF5), src/caffe/solvers/sgd_solver.cpp (SnapshotSolverStateToHDF5).

It knowingly differs: a layer name with slashes is read and written as nested groups (Caffe fails to write such a
layer).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cpm_port.caffe.binary import MAX_BLOB_AXES, check_blob, map_file
from cpm_port.caffe.kinds import HDF5_MAGIC
from cpm_port.errors import CaffeFormatError, DataError, WeightsError
from cpm_port.files.hdf5 import CheckedFile, create_hdf5, open_hdf5

__all__ = ["read_state", "read_weight_groups", "write_state", "write_weight_groups"]

_MAX_GROUP_DEPTH = 32
_MAX_TEXT = 1 << 16  # bytes of a file name, many times what a system takes


def read_weight_groups(path: str | os.PathLike[str]) -> dict[str, tuple[np.ndarray, ...]]:
    """Read the arrays of every layer of an HDF5 weights file, in the file's (alphabetical) order.

    Raises
    ------
    MissingFileError, CaffeFormatError
    """
    with _opened(path) as (file, where):
        if file.member("history") is not None and file.member("iter") is not None:
            model = _text(file, "learned_net", where)
            named = f", whose model is {model!r}" if model else ""
            raise CaffeFormatError(f"{where}: this is a solver state{named}; expected Caffe's weights")
        data = file.member("data")
        if data is None:
            raise CaffeFormatError(f"{where}: no group '/data'; expected Caffe's weights")
        if not file.is_group(data):
            raise CaffeFormatError(f"{where}: '/data' is no group; expected Caffe's weights")
        layers: dict[str, tuple[np.ndarray, ...]] = {}
        for name, member in _members(file, data):
            if not file.is_group(member):
                raise CaffeFormatError(f"{where}: '/data/{name}' is no group; expected a layer")
            _collect(file, member, name, where, layers, 1)
        return layers


def write_weight_groups(path: str | os.PathLike[str], layers: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write arrays as Caffe does; layers without arrays become empty groups.

    Raises
    ------
    WeightsError
        Names of layers that would not read back as they are: HDF5 takes slashes for groups.
    """
    _check_names(layers, os.fspath(path))
    with create_hdf5(path) as file:
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
        iteration, current_step = (_integer(file, name, where) for name in ("iter", "current_step"))
        net = _text(file, "learned_net", where)
        history = file.member("history")
        if history is None:
            raise CaffeFormatError(f"{where}: no group 'history'; expected a solver state")
        if not file.is_group(history):
            raise CaffeFormatError(f"{where}: 'history' is no group")
        arrays = {name: member for name, member in _members(file, history) if not file.is_group(member)}
        return iteration, net, current_step, list(_numbered(file, arrays, f"{where}: history"))


def write_state(
    path: str | os.PathLike[str], iteration: int, learned_net: str, current_step: int, history: Sequence[np.ndarray]
) -> None:
    """Write an HDF5 solver state as Caffe does."""
    with create_hdf5(path) as file:
        file.create_dataset("iter", data=np.array([iteration], "<i4"))
        file.create_dataset("learned_net", data=np.bytes_(learned_net.encode("utf-8") + b"\0"))
        file.create_dataset("current_step", data=np.array([current_step], "<i4"))
        group = file.create_group("history")
        for index, array in enumerate(history):
            group.create_dataset(str(index), data=_stored(array))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[CheckedFile, str]]:
    """Open a file; whatever is wrong with it becomes a CaffeFormatError."""
    name = os.fspath(path)
    with map_file(path) as data:
        if data[:8] != HDF5_MAGIC:
            raise CaffeFormatError(f"{name}: this is no HDF5 file")
    try:
        with open_hdf5(path) as file:
            yield file, name
    except DataError as error:
        raise CaffeFormatError(str(error)) from error


def _members(file: CheckedFile, group: Any) -> Iterator[tuple[str, Any]]:
    for name in file.names(group):
        yield name, file.member(name, group)


def _collect(
    file: CheckedFile, group: Any, layer: str, where: str, layers: dict[str, tuple[np.ndarray, ...]], depth: int
) -> None:
    """Read a layer's arrays; members that are groups are parts of a layer's name with slashes."""
    if depth > _MAX_GROUP_DEPTH:
        raise CaffeFormatError(f"{where}: groups nest deeper than {_MAX_GROUP_DEPTH}")
    members = dict(_members(file, group))
    arrays = {name: member for name, member in members.items() if not file.is_group(member)}
    if arrays:
        layers[layer] = tuple(_numbered(file, arrays, f"{where}: layer {layer!r}"))
    for name, member in members.items():
        if name not in arrays:
            _collect(file, member, f"{layer}/{name}", where, layers, depth + 1)


def _numbered(file: CheckedFile, arrays: Mapping[str, Any], where: str) -> Iterator[np.ndarray]:
    """Read the datasets `0`, `1`, ... of a group."""
    for index in range(len(arrays)):
        if str(index) not in arrays:
            raise CaffeFormatError(
                f"{where}: has members {', '.join(sorted(arrays)[:8])}; expected arrays '0' to '{len(arrays) - 1}'"
            )
        yield _array(file, arrays[str(index)], f"{where}, blob {index}")


def _array(file: CheckedFile, dataset: Any, where: str) -> np.ndarray:
    """Read one array, after checking that it is plain, in the file and of a size that the file can hold."""
    file.check(dataset, where)
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (4, 8):
        raise CaffeFormatError(f"{where}: is of type {dataset.dtype}; expected float32 or float64")
    if len(dataset.shape) > MAX_BLOB_AXES:
        raise CaffeFormatError(f"{where}: has shape {dataset.shape}; expected at most {MAX_BLOB_AXES} dimensions")
    array = np.asarray(dataset[()], dataset.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def _integer(file: CheckedFile, name: str, where: str) -> int:
    dataset = file.member(name)
    if dataset is None:
        raise CaffeFormatError(f"{where}: no '{name}'")
    file.check(dataset, f"{where}: {name}")
    if dataset.dtype.kind not in "iu" or dataset.size != 1:
        raise CaffeFormatError(f"{where}: {name}: is {dataset.dtype} of shape {dataset.shape}; expected one integer")
    return int(np.asarray(dataset[()]).reshape(-1)[0])


def _text(file: CheckedFile, name: str, where: str) -> str:
    dataset = file.member(name)
    if dataset is None:
        return ""
    file.check(dataset, f"{where}: {name}")
    if dataset.dtype.kind != "S" or dataset.size != 1 or dataset.dtype.itemsize > _MAX_TEXT:
        raise CaffeFormatError(f"{where}: {name}: is {dataset.dtype} of shape {dataset.shape}; expected one string")
    try:
        return bytes(np.asarray(dataset[()]).reshape(-1)[0]).split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise CaffeFormatError(f"{where}: {name} is not UTF-8 ({error})") from None


def _stored(array: np.ndarray) -> np.ndarray:
    array = check_blob(array)
    return np.ascontiguousarray(array, "<f8" if array.dtype == np.float64 else "<f4").reshape(array.shape)
