"""What a Caffe file holds: layers, shapes, parameters, cost, receptive fields, and what this package cannot run.

`inspect_file` looks at a file's content and returns plain values (dicts, lists, numbers, strings), ready for JSON;
`inspect_text.py` prints them. Conventions: shapes are Caffe's (batch, channels, height, width); FLOPs count a
multiplication and an addition as two and cover convolutions, deconvolutions and inner products; bytes are of float32.
Nothing is executed and no weights are copied.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.caffe import (
    PLAIN_STATE,
    NetSpec,
    NetState,
    read_mean,
    read_net,
    read_solver,
    read_solverstate,
    read_weights,
    snapshot_net,
)
from cpm_port.caffe.files import read_text
from cpm_port.caffe.kinds import HDF5_MAGIC, looks_like_text
from cpm_port.caffe.layer_types import origin_of
from cpm_port.caffe.liveness import peak_size
from cpm_port.caffe.shapes import Shape, layer_flops, layer_shapes, param_shapes, stated_shapes
from cpm_port.errors import LayerError, MissingFileError, UnsupportedLayerError
from cpm_port.formats import safetensors
from cpm_port.graph import unsupported_layers
from cpm_port.models.interface import belief_maps
from cpm_port.report.receptive import WHOLE, Fields, receptive_fields

__all__ = ["inspect_file", "inspect_net"]

_BYTES = 4  # of a float32
_SOLVER_FIELD = re.compile(r"^\s*(base_lr|lr_policy|max_iter|train_net|net)\s*:", re.MULTILINE)
_LAYER_BLOCK = re.compile(r"^\s*layers?\s*:?\s*\{", re.MULTILINE)


def inspect_file(
    path: str | os.PathLike[str],
    *,
    state: NetState = PLAIN_STATE,
    dialect: str | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Return what a file holds.

    Parameters
    ----------
    path : path-like
        A net or solver .prototxt, .caffemodel, .caffemodel.h5, .safetensors, .solverstate(.h5) or .binaryproto.
    state : NetState
        Which layers of a prototxt count.
    dialect : {"bvlc", "cpm", "cpm2015"}, optional
        Overrides what the content says.
    input_shapes : mapping of str to shape, optional
        Shapes of inputs, where the file does not say or others are wanted.

    Returns
    -------
    dict
        `file`, `kind` ("net", "model", "weights", "solver", "solver state", "mean") and what that kind has.

    Raises
    ------
    MissingFileError, CaffeFormatError, LayerError, ModelFileError
        The file is absent, broken, or contradicts itself.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(4096)
    result: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size}
    name = path.name.lower()
    if name.endswith(".safetensors"):
        model = safetensors.read(path)
        net = {} if model.net is None else inspect_net(model.net, input_shapes)
        return {**result, "kind": "weights", "format": "safetensors", **net, **_arrays(model.blobs)}
    if name.endswith(".binaryproto"):
        return {**result, "kind": "mean", **_statistics(read_mean(path))}
    if name.endswith((".solverstate", ".solverstate.h5")):
        return {**result, "kind": "solver state", **_solver_state(path)}
    if head.startswith(HDF5_MAGIC):
        weights = read_weights(path)
        return {**result, "kind": "weights", "format": "HDF5", **_arrays(weights)}
    if looks_like_text(head):
        text = read_text(path)
        if _SOLVER_FIELD.search(text) and not _LAYER_BLOCK.search(text):
            solver = read_solver(path, dialect=dialect)
            return {**result, "kind": "solver", "fields": _plain(solver.params.fields()), "notes": list(solver.notes)}
        net_spec = read_net(path, **state._asdict(), dialect=dialect)
        return {**result, "kind": "net", "format": "prototxt", **inspect_net(net_spec, input_shapes)}
    weights = read_weights(path, dialect=dialect)
    net_spec = snapshot_net(weights.message, str(path))
    net = inspect_net(net_spec, input_shapes)
    net |= {"generation": weights.generation, "dialect": weights.dialect, "notes": list(weights.notes)}
    return {**result, "kind": "model", "format": "caffemodel", **net, **_arrays(weights)}


def inspect_net(net: NetSpec, input_shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, Any]:
    """Return what a net is: layers with shapes and costs, totals, memory, outputs with receptive fields, unsupported
    layers.

    Shapes that cannot be known (an unknown layer type, a data layer whose shapes lie in its source) are None, and
    `shapes_unknown` says why. `flops` leaves out the layers of the types in `flops_untold`, which do not tell theirs; a
    receptive field behind a type that does not tell what it sees is "unknown".
    """
    shapes, layers, reasons = _walk(net, {name: tuple(shape) for name, shape in (input_shapes or {}).items()})
    known = [layer for layer in layers if layer["parameters"] is not None]
    parameters = sum(layer["parameters"] for layer in known)
    complete = len(known) == len(layers)
    return {
        "net": net.name,
        "phase": net.phase,
        "generation": net.generation,
        "dialect": net.dialect,
        "inputs": {name: list(shapes[name]) if name in shapes else None for name in _input_names(net)},
        "layers": layers,
        "shapes_unknown": reasons,
        "parameters": parameters if complete else None,
        "flops": sum(layer["flops"] or 0 for layer in known) if complete else None,
        "flops_untold": sorted({layer["type"] for layer in known if layer["flops"] is None}),
        "memory": _memory(net, shapes, parameters) if complete else None,
        "outputs": _outputs(net, shapes),
        "unsupported": [
            {"layer": name, "type": kind, "reason": reason} for name, kind, reason in unsupported_layers(net.layers)
        ],
        "notes": list(net.notes),
    }


def _input_names(net: NetSpec) -> list[str]:
    return [top for layer in net.layers if not layer.bottoms for top in layer.tops]


def _walk(net: NetSpec, given: Mapping[str, Shape]) -> tuple[dict[str, Shape], list[dict[str, Any]], list[str]]:
    """Follow the shapes as far as they are known; return them, one row per layer, and why some are not known."""
    strangers = sorted(set(given) - set(_input_names(net)))
    if strangers:
        raise LayerError(
            f"{net.source}: no inputs {', '.join(strangers)}; the inputs are {', '.join(_input_names(net))}"
        )
    shapes: dict[str, Shape] = {}
    rows, reasons = [], []
    for layer in net.layers:
        row: dict[str, Any] = {
            "name": layer.name,
            "type": layer.type,
            "origin": origin_of(layer.type),
            "bottoms": list(layer.bottoms),
            "tops": list(layer.tops),
            "shapes": [None] * len(layer.tops),
            "parameter_shapes": [],
            "parameters": None,
            "flops": None,
        }
        rows.append(row)
        bottoms = [shapes[bottom] for bottom in layer.bottoms if bottom in shapes]
        if len(bottoms) < len(layer.bottoms) or (layer.strangers and layer.bottoms):
            reasons += [f"layer {layer.name!r}: {stranger}" for stranger in layer.strangers]
            for top in layer.tops:
                shapes.pop(top, None)
            continue
        try:
            tops = stated_shapes(layer, given) if not layer.bottoms else None
            tops = layer_shapes(layer, bottoms) if tops is None else tops
            blobs = param_shapes(layer, bottoms)
        except (LayerError, UnsupportedLayerError) as error:
            reasons.append(str(error))
            continue
        shapes.update(zip(layer.tops, tops, strict=True))
        shapes.update({name: given[name] for name in layer.tops if name in given})
        row["shapes"] = [list(shapes[top]) for top in layer.tops]
        row["parameter_shapes"] = [list(blob) for blob in blobs]
        row["parameters"] = sum(math.prod(blob) for blob in blobs)
        row["flops"] = layer_flops(layer, bottoms)
    return shapes, rows, reasons


def _memory(net: NetSpec, shapes: Mapping[str, Shape], parameters: int) -> dict[str, int]:
    """Estimate bytes: of the weights, of a forward pass that frees what it can, of training by SGD."""
    size = {name: math.prod(shape) * _BYTES for name, shape in shapes.items()}
    peak = peak_size(net.layers, size, net.inputs, kept=net.outputs)
    blobs = sum(size[top] for layer in net.layers for top in layer.tops)
    return {
        "weights_bytes": parameters * _BYTES,
        "forward_bytes": parameters * _BYTES + peak,
        "training_bytes": 3 * parameters * _BYTES + 2 * blobs,
    }


def _outputs(net: NetSpec, shapes: Mapping[str, Shape]) -> list[dict[str, Any]]:
    """Return belief maps and outputs, each with what it sees of the inputs and of the belief maps before it."""
    sources = [name for name in _input_names(net) if len(shapes.get(name, ())) == 4]
    beliefs = list(belief_maps(net, shapes).values())
    exact = receptive_fields(net, shapes, sources)
    counted = receptive_fields(net, shapes, sources, pool_as_stride=True)
    rows = []
    for name in dict.fromkeys([*beliefs, *net.outputs]):
        row: dict[str, Any] = {"blob": name, "shape": list(shapes[name]) if name in shapes else None}
        row["receptive_field"] = _sizes(exact, name)
        before = beliefs[: beliefs.index(name)] if name in beliefs else []
        if before:
            cells = receptive_fields(net, shapes, before[-1:])
            row |= {"previous": before[-1], "cells_of_previous": _sizes(cells, name)}
            row["papers_count"] = _papers_count(counted[beliefs[0]], cells.get(name))
        elif name in beliefs:
            row["papers_count"] = _sizes(counted, name)
        rows.append(row)
    return rows


def _sizes(fields: Mapping[str, Fields | None], name: str) -> list[int] | str | None:
    """Return a blob's field in indices, "whole" or "unknown"; None where it sees nothing of the sources."""
    if name not in fields:
        return None
    found = fields[name]
    if found is None:
        return "unknown"
    return "whole" if found == WHOLE else [field.size for field in found]


def _papers_count(first: Fields | None, cells: Fields | None) -> list[int] | None:
    """Count a later stage as the paper does: stage 1's field, moved over the cells that it sees of the map before."""
    if not first or not cells:
        return None
    return [f.size + (c.size - 1) * int(f.jump) for f, c in zip(first, cells, strict=True)]


def _statistics(array: Any) -> dict[str, Any]:
    finite = np.isfinite(array)
    good = array[finite]
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "minimum": float(good.min()) if good.size else None,
        "maximum": float(good.max()) if good.size else None,
        "mean": float(good.mean(dtype=np.float64)) if good.size else None,
        "not_finite": int(array.size - finite.sum()),
    }


def _arrays(blobs: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    stored = {layer: [_statistics(np.asarray(array)) for array in arrays] for layer, arrays in blobs.items()}
    count = sum(math.prod(array["shape"]) for arrays in stored.values() for array in arrays)
    return {"arrays": stored, "stored_parameters": count}


def _solver_state(path: Path) -> dict[str, Any]:
    state = read_solverstate(path)
    return {
        "iteration": state.iter,
        "learned_net": state.learned_net,
        "current_step": state.current_step,
        "history": [_statistics(np.asarray(array)) for array in state.history],
    }


def _plain(value: Any) -> Any:
    """Turn views of messages into dicts and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(str(np.float32(value)))  # Caffe's floats, as they were written
    if hasattr(value, "fields"):
        return _plain(value.fields())
    return value
