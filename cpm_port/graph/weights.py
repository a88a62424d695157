"""Weights in and out of a net: Caffe's two forms, and safetensors.

Layers are matched by name, as Caffe does: layers of the source that the net lacks are ignored (and reported),
layers of the net that the source lacks are an error where `strict` and otherwise stay as they are. Counts and
shapes must fit, unless layers where they do not are to stay as they are too (`skip_misfits`); a 4-D array whose
leading axes are 1 also fits a smaller shape (Caffe's legacy blobs: a bias of (1, 1, 1, n)). All problems are
collected, then raised once, before any parameter is touched.

Names: a state dict says `<layer name>.<blob index>`, with `%2E` for a dot in a layer's name (torch keeps dots
to itself) and `%25` for a percent sign. In files the name stands as it is, and parameters that layers share lie
under each of them, as in Caffe's own. `cpm_port.formats` reads and writes them.

Values are copied once, from the mapped file into the parameters; the file is never written to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.caffe import NetSpec, Weights, read_weights
from cpm_port.caffe.shapes import fits_blob
from cpm_port.errors import WeightsError
from cpm_port.formats import StoredModel, format_of, safetensors

__all__ = ["WeightsReport", "load_into", "module_key", "save_params"]

Array = NDArray[np.generic] | Tensor
Params = Mapping[str, tuple[nn.Parameter, ...]]
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
    misfits : tuple of str
        With `skip_misfits`, what does not fit, a line each; layers that such a line names stay as they were.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> net.weights_report is None  # where no weights were loaded
    True
    """

    source: str
    matched: tuple[str, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    misfits: tuple[str, ...] = ()


def module_key(layer_name: str) -> str:
    """Return a layer's name as torch can use it in a state dict: dots and percent signs escaped."""
    return layer_name.replace("%", "%25").replace(".", "%2E")


def load_into(
    params: Params,
    referring: AbstractSet[tuple[str, int]],
    spec: NetSpec,
    source: Source,
    *,
    strict: bool,
    skip_misfits: bool = False,
) -> WeightsReport:
    """Copy weights into a net's parameters.

    Parameters
    ----------
    params : mapping of str to tuple of Parameter
        Layer name -> its parameters, as `CaffeNet.params`.
    referring : set of (str, int)
        Layer and index of those that belong to an earlier layer, as `CaffeNet.referring`.
    spec : NetSpec
        The net that they belong to.
    source : path-like or mapping
        A .caffemodel, .h5 or .safetensors file, or layer name -> arrays or tensors.
    strict : bool
        Whether layers that the source lacks are an error.
    skip_misfits : bool
        Leave layers as they are whose counts or shapes do not fit, instead of raising.

    Raises
    ------
    WeightsError
        Missing layers (`strict`), counts or shapes that do not fit; the message lists all of them.
    """
    arrays, origin = _read(source)
    problems: list[str] = []
    misfits: list[str] = []
    missing: list[str] = []
    copies: list[tuple[nn.Parameter, Array]] = []
    matched: list[str] = []
    for layer, blobs in params.items():
        owned = [blob for index, blob in enumerate(blobs) if (layer, index) not in referring]
        found = arrays.get(layer)
        if found is None:
            if owned:
                missing.append(layer)
            continue
        targets = owned if len(found) == len(owned) else list(blobs)
        wrong = _misfits(layer, targets, found)
        if wrong:
            (misfits if skip_misfits else problems).extend(wrong)
            continue
        copies += zip(targets, found, strict=True)
        matched.append(layer)
    without = {layer.name for layer in spec.layers} - params.keys()
    problems += [
        f"layer {layer!r}: weights hold {len(arrays[layer])} blobs, prototxt says 0"
        for layer in arrays
        if layer in without and arrays[layer]
    ]
    if strict:
        problems += [f"layer {layer!r}: not in the weights" for layer in missing]
        if missing and not matched and arrays:
            problems.append(
                f"they hold {', '.join(map(repr, list(arrays)[:3]))}, ..., no layer of the net with weights"
            )
    if problems:
        raise WeightsError(f"{origin} does not fit {spec.source}:\n  " + "\n  ".join(problems))
    for blob, array in copies:
        _copy(blob, array)
    ignored = tuple(layer for layer in arrays if layer not in params and layer not in without)
    report = WeightsReport(origin, tuple(matched), ignored, tuple(missing), tuple(misfits))
    if ignored:
        _log.info("%s: ignored layers that the net lacks: %s", origin, ", ".join(ignored))
    if missing:
        _log.warning("%s: no weights for layers %s; they stay as they are", origin, ", ".join(missing))
    return report


def save_params(params: Params, spec: NetSpec, path: str | os.PathLike[str]) -> None:
    """Write a net's parameters as the suffix says: .caffemodel, .h5 (also .caffemodel.h5) or .safetensors.

    Raises
    ------
    UsageError
        Another suffix.
    """
    path = Path(path)
    form = format_of(path)
    arrays = {layer: tuple(_to_numpy(blob) for blob in blobs) for layer, blobs in params.items()}
    form.write(path, StoredModel(arrays, spec))


def _read(source: Source) -> tuple[Mapping[str, Sequence[Array]], str]:
    if isinstance(source, Mapping):
        return source, source.source if isinstance(source, Weights) else "a mapping"
    if Path(source).suffix.lower() == ".safetensors":
        return safetensors.read(Path(source)).blobs, os.fspath(source)
    return read_weights(source), os.fspath(source)


def _misfits(layer: str, blobs: Sequence[Tensor], arrays: Sequence[Array]) -> list[str]:
    """Say what keeps a layer's arrays from being its blobs' values, a line each; nothing where they fit."""
    if len(arrays) != len(blobs):
        return [f"layer {layer!r}: weights hold {len(arrays)} blobs, prototxt says {len(blobs)}"]
    pairs = zip(blobs, arrays, strict=True)
    return [line for index, (blob, array) in enumerate(pairs) for line in _misfit(layer, index, blob, array)]


def _misfit(layer: str, index: int, blob: Tensor, array: Array) -> Iterator[str]:
    """Say what is wrong with an array, where something is."""
    name = _BLOB_NAMES[index] if index < len(_BLOB_NAMES) else f"parameter {index}"
    want, have = tuple(blob.shape), tuple(array.shape)
    if not fits_blob(have, want):
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
