"""Weights in and out of a net: Caffe's two forms, and safetensors.

Layers are matched by name, as Caffe does: layers of the source that the net lacks are ignored (and reported),
layers of the net that the source lacks are an error where `strict` and otherwise stay as they are. Counts and
shapes must always fit; a 4-D array whose leading axes are 1 also fits a smaller shape (Caffe's legacy blobs:
a bias of (1, 1, 1, n)). All problems are collected, then raised once, before any parameter is touched.

Names: a state dict says `<layer name>.<blob index>`, with `%2E` for a dot in a layer's name (torch keeps dots
to itself) and `%25` for a percent sign. A .safetensors file says `<layer name>.<blob index>` with the name as
it is; its metadata holds `generator`, `net`, `dialect`, `layers` (a JSON list, the net's order) and
`prototxt_sha256` (of the net's upgraded text). A parameter that layers share is stored once there, under its
owner.

Values are copied once, from the mapped file into the parameters; the file is never written to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port._atomic import atomic_path
from cpm_port.caffe import Weights, format_prototxt, read_weights, write_weights
from cpm_port.errors import MissingFileError, ModelFileError, UsageError, WeightsError

if TYPE_CHECKING:
    from cpm_port.graph.net import CaffeNet

__all__ = ["WeightsReport", "load_into", "module_key", "save_net"]

Array = NDArray[np.generic] | Tensor
Source = str | os.PathLike[str] | Mapping[str, Sequence[Array]]

_log = logging.getLogger(__name__)
_BLOB_NAMES = ("weight", "bias")


@dataclass(frozen=True)
class WeightsReport:
    """What loading weights did, by layer name.

    Attributes
    ----------
    source : str
        The file, or "a mapping".
    matched : tuple of str
        Layers whose parameters were replaced.
    ignored : tuple of str
        Layers of the source that the net does not have.
    missing : tuple of str
        Layers of the net, with parameters of their own, that the source does not have.
    """

    source: str
    matched: tuple[str, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]


def module_key(layer_name: str) -> str:
    """Return a layer's name as torch can use it in a state dict: dots and percent signs escaped."""
    return layer_name.replace("%", "%25").replace(".", "%2E")


def load_into(net: CaffeNet, source: Source, *, strict: bool) -> WeightsReport:
    """Copy weights into the net's parameters.

    Parameters
    ----------
    net : CaffeNet
    source : path-like or mapping
        A .caffemodel, .h5 or .safetensors file, or layer name -> arrays or tensors.
    strict : bool
        Whether layers that the source lacks are an error.

    Raises
    ------
    WeightsError
        Missing layers (`strict`), counts or shapes that do not fit; the message lists all of them.
    """
    arrays, origin = _read(source)
    problems: list[str] = []
    missing: list[str] = []
    copies: list[tuple[nn.Parameter, Array]] = []
    matched: list[str] = []
    params = net.params
    for layer, blobs in params.items():
        owned = [blob for index, blob in enumerate(blobs) if (layer, index) not in net.referring]
        found = arrays.get(layer)
        if found is None:
            if owned:
                missing.append(layer)
            continue
        targets = owned if len(found) == len(owned) else list(blobs)
        if len(found) != len(targets):
            problems.append(f"layer {layer!r}: weights hold {len(found)} blobs, prototxt says {len(blobs)}")
            continue
        for index, (blob, array) in enumerate(zip(targets, found, strict=True)):
            problems += _misfits(layer, index, blob, array)
            copies.append((blob, array))
        matched.append(layer)
    without = {spec.name for spec in net.layers} - params.keys()
    problems += [
        f"layer {layer!r}: weights hold {len(arrays[layer])} blobs, prototxt says 0"
        for layer in arrays
        if layer in without and arrays[layer]
    ]
    if strict:
        problems += [f"layer {layer!r}: not in the weights" for layer in missing]
    if problems:
        raise WeightsError(f"{origin} does not fit {net.spec.source}:\n  " + "\n  ".join(problems))
    for blob, array in copies:
        _copy(blob, array)
    ignored = tuple(layer for layer in arrays if layer not in params and layer not in without)
    report = WeightsReport(origin, tuple(matched), ignored, tuple(missing))
    if ignored:
        _log.info("%s: ignored layers that the net lacks: %s", origin, ", ".join(ignored))
    if missing:
        _log.warning("%s: no weights for layers %s; they stay as they are", origin, ", ".join(missing))
    return report


def save_net(net: CaffeNet, path: str | os.PathLike[str]) -> None:
    """Write the net's parameters as the suffix says: .caffemodel, .h5 (also .caffemodel.h5) or .safetensors.

    Raises
    ------
    UsageError
        Another suffix.
    """
    suffix = Path(path).suffix
    if suffix in (".caffemodel", ".h5", ".hdf5"):
        blobs = {layer: [_to_numpy(blob) for blob in blobs] for layer, blobs in net.params.items()}
        write_weights(path, blobs, net.spec)
    elif suffix == ".safetensors":
        _write_safetensors(net, path)
    else:
        raise UsageError(f"{os.fspath(path)}: suffix {suffix!r}; expected .caffemodel, .h5 or .safetensors")


def _read(source: Source) -> tuple[Mapping[str, Sequence[Array]], str]:
    if isinstance(source, Mapping):
        return source, source.source if isinstance(source, Weights) else "a mapping"
    if Path(source).suffix == ".safetensors":
        return _read_safetensors(source), os.fspath(source)
    return read_weights(source), os.fspath(source)


def _misfits(layer: str, index: int, blob: Tensor, array: Array) -> Iterator[str]:
    """Say what is wrong with an array, where something is."""
    name = _BLOB_NAMES[index] if index < len(_BLOB_NAMES) else f"parameter {index}"
    want, have = tuple(blob.shape), tuple(array.shape)
    legacy = len(have) == 4 and len(want) < 4 and have == (1,) * (4 - len(want)) + want
    if have != want and not legacy:
        yield f"layer {layer!r}: {name} blob is {have}, prototxt says {want}"
    floating = array.is_floating_point() if isinstance(array, Tensor) else array.dtype.kind == "f"
    if not floating:
        yield f"layer {layer!r}: {name} blob holds {array.dtype}, expected floats"


@torch.no_grad()
def _copy(blob: nn.Parameter, array: Array) -> None:
    """Copy one array; on the CPU straight from NumPy's memory, which may be mapped, read-only and unaligned."""
    if isinstance(array, Tensor):
        blob.copy_(array.reshape(blob.shape))
    elif blob.device.type == "cpu" and blob.dtype in (torch.float32, torch.float64):
        with np.errstate(over="ignore"):
            np.copyto(blob.numpy(), array.reshape(tuple(blob.shape)), casting="same_kind")
    else:
        blob.copy_(torch.from_numpy(np.array(array)).reshape(blob.shape))


def _to_numpy(blob: Tensor) -> NDArray[np.generic]:
    """Return a parameter as float64 where it is double, else as float32."""
    kept = blob.detach() if blob.dtype == torch.float64 else blob.detach().float()
    return np.ascontiguousarray(kept.cpu().numpy())


def _write_safetensors(net: CaffeNet, path: str | os.PathLike[str]) -> None:
    tensors = {
        f"{layer}.{index}": blob.detach().contiguous()
        for layer, blobs in net.params.items()
        for index, blob in enumerate(blobs)
        if (layer, index) not in net.referring
    }
    text = format_prototxt(net.spec)
    metadata = {
        "generator": "cpm_port",
        "net": net.spec.name,
        "dialect": net.spec.dialect,
        "layers": json.dumps(list(net.params)),
        "prototxt_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata)


def _read_safetensors(path: str | os.PathLike[str]) -> dict[str, list[Tensor]]:
    """Read `<layer>.<index>` tensors; the library checks the header and maps the data."""
    if not Path(path).is_file():
        raise MissingFileError(f"{os.fspath(path)}: no such file")
    numbered: dict[str, dict[int, Tensor]] = {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                layer, _, index = key.rpartition(".")
                if not (layer and index.isdecimal()):
                    raise ModelFileError(f"{os.fspath(path)}: tensor {key!r}: expected a name like 'conv1_stage1.0'")
                numbered.setdefault(layer, {})[int(index)] = file.get_tensor(key)
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"{os.fspath(path)}: not a whole safetensors file: {error}") from None
    return {layer: [blobs[index] for index in sorted(blobs)] for layer, blobs in numbered.items()}
