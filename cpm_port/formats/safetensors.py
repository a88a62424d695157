"""safetensors, `.safetensors`: arrays under `<layer>.<index>`, the net's prototxt in the metadata.

The metadata says `generator` and `layers` (a JSON list); where the net is known, also `net`, `dialect`, `prototxt` (its
layers as chosen by its phase, in Caffe's text) and `prototxt_sha256`, so that the file turns back into a `.caffemodel`
without help. `net.save` and `load_net` write and read by this very code. No code runs on reading.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from cpm_port.caffe import format_prototxt, snapshot_message, snapshot_net
from cpm_port.caffe.dialects import parse_message
from cpm_port.errors import MissingFileError, ModelFileError
from cpm_port.files.atomic import atomic_path, writing
from cpm_port.formats.values import Array, Format, StoredModel

__all__ = ["FORMAT", "read", "write"]

_FLOATS = ("F64", "F32", "F16")


def read(path: Path) -> StoredModel:
    """Read arrays and, where the metadata has one, the net.

    Raises
    ------
    MissingFileError, ModelFileError
        The file is absent, broken, holds other types than 64, 32 or 16 bit floats, or its names are not
        `<layer>.<index>`, indices from 0 without gaps.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: _array(file, key, path) for key in file.offset_keys()}
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from None
    blobs = _blobs(arrays, path)
    net = None
    if "prototxt" in metadata:
        where = f"{path} (metadata)"
        parsed = parse_message(metadata["prototxt"], "NetParameter", source=where, dialect=metadata.get("dialect"))
        net = snapshot_net(parsed.message, where)
        order = {layer.name: position for position, layer in enumerate(net.layers)}
        blobs = dict(sorted(blobs.items(), key=lambda item: order.get(item[0], len(order))))
    return StoredModel(blobs, net)


def _array(file: Any, key: str, path: Path) -> Array:
    stored = file.get_slice(key).get_dtype()
    if stored not in _FLOATS:
        raise ModelFileError(f"{path}: tensor {key!r} holds {stored}; expected one of {', '.join(_FLOATS)}")
    return file.get_tensor(key)


def _blobs(arrays: dict[str, Array], path: Path) -> dict[str, tuple[Array, ...]]:
    layers: dict[str, dict[int, Array]] = {}
    for key, array in arrays.items():
        layer, _, index = key.rpartition(".")
        if not layer or not index.isdecimal():
            raise ModelFileError(f"{path}: tensor {key!r}; expected a name like '<layer>.<index>'")
        layers.setdefault(layer, {})[int(index)] = array
    for layer, by_index in layers.items():
        if sorted(by_index) != list(range(len(by_index))):
            raise ModelFileError(f"{path}: layer {layer!r} has tensors {sorted(by_index)}; expected 0, 1, ...")
    return {layer: tuple(by_index[i] for i in range(len(by_index))) for layer, by_index in layers.items()}


def write(path: Path, model: StoredModel) -> list[str]:
    """Write arrays and, where the model has one, the net."""
    arrays = {
        f"{layer}.{index}": np.ascontiguousarray(array)
        for layer, blobs in model.blobs.items()
        for index, array in enumerate(blobs)
    }
    metadata = {"generator": "cpm_port", "layers": json.dumps(list(model.blobs))}
    if model.net is not None:
        text = format_prototxt(snapshot_message(model.net))
        metadata |= {"net": model.net.name, "dialect": model.net.dialect, "prototxt": text}
        metadata["prototxt_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    with atomic_path(path) as temporary, writing(path, safetensors.SafetensorError):
        safetensors.numpy.save_file(arrays, temporary, metadata)
    return []


FORMAT = Format("safetensors", (".safetensors",), read, write)
