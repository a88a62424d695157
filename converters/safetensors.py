"""safetensors, `.safetensors`: arrays under `<layer>.<index>`, the net's prototxt in the metadata.

Usage: cpm-port convert SRC DST.safetensors

The metadata carries the net's layers, so that the file turns back into a `.caffemodel` without help. No code runs on
reading.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from cpm_port._atomic import atomic_path
from cpm_port.caffe import NetSpec, format_prototxt, message_class
from cpm_port.caffe.dialects import parse_message
from cpm_port.errors import MissingFileError, ModelFileError, UsageError

from .registry import Array, Format, Model, whole_net

__all__ = ["FORMAT"]


def read(path: Path) -> Model:
    """Read arrays and, where the metadata has one, the net.

    Raises
    ------
    MissingFileError, ModelFileError
        The file is absent, broken, or its names are not `<layer>.<index>`, indices from 0 without gaps.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.offset_keys()}
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from None
    blobs = _blobs(arrays, path)
    net = None
    if "prototxt" in metadata:
        where = f"{path} (metadata)"
        parsed = parse_message(metadata["prototxt"], "NetParameter", source=where, dialect=metadata.get("dialect"))
        net = whole_net(parsed.message, where)
        order = {layer.name: position for position, layer in enumerate(net.layers)}
        blobs = dict(sorted(blobs.items(), key=lambda item: order.get(item[0], len(order))))
    return Model(blobs, net)


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


def write(path: Path, model: Model) -> list[str]:
    """Write arrays and net.

    Raises
    ------
    UsageError
        The source holds no net, and none was given.
    """
    if model.net is None:
        raise UsageError(f"{path}: the metadata carries the net, and the source has none; give it by --net PROTOTXT")
    arrays = {
        f"{layer}.{index}": np.ascontiguousarray(array)
        for layer, blobs in model.blobs.items()
        for index, array in enumerate(blobs)
    }
    text = _text(model.net)
    metadata = {
        "generator": "cpm_port",
        "net": model.net.name,
        "dialect": model.net.dialect,
        "layers": json.dumps(list(model.blobs)),
        "prototxt_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "prototxt": text,
    }
    with atomic_path(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata)
    return []


def _text(net: NetSpec) -> str:
    """Return the net's layers as chosen by its phase: what a snapshot of it would hold."""
    message = message_class("NetParameter", net.dialect)(name=net.name)
    for layer in net.layers:
        params = layer.params.message()
        params.ClearField("blobs")
        message.layer.append(params)
    return format_prototxt(message)


FORMAT = Format("safetensors", (".safetensors",), read, write)
