"""Which official model a file is, by its layers and their shapes; and whether it is whole and finite.

Where in the flow: before a file is installed. Three official models share one net (`mpii-lsp-6s`, `mpii-6s`, `lsp-6s`),
so no layer tells them apart: their file names do, or the user.

A file fits a net if it holds parameters for the same layers in the same shapes; a bias of (1, 1, 1, n), as old files
have it, is one of (n,). Then every value must be finite, and no convolution's weights may all be zero, which is what a
hole in a half-written file reads as.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from cpm_port.caffe import Weights, infer_shapes, read_net, read_weights
from cpm_port.caffe.shapes import fits_blob, param_shapes
from cpm_port.errors import CaffeFormatError, ModelFileError, UsageError
from cpm_port.zoo.entries import ENTRIES, ModelEntry, model_named

__all__ = ["check_weights", "recognise", "weight_bytes"]

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]


def recognise(path: str | Path, name: str | None = None, *, file_name: str | None = None) -> tuple[ModelEntry, str]:
    """Tell which official model a file is.

    Parameters
    ----------
    path : path
        A .caffemodel, or its HDF5 form.
    name : str, optional
        The model that the user says it is; its layers must agree.
    file_name : str, optional
        What the file was called where it comes from, where it is called otherwise now.

    Returns
    -------
    entry : ModelEntry
    how : str
        What it was recognised by: "layers and shapes", "file name" or "the user".

    Raises
    ------
    MissingFileError
        There is no such file.
    ModelFileError
        It is no model, broken, not finite, or another model; the message says what is nearest and where it first
        differs.
    UsageError
        Several models fit and neither `name` nor the file's name says which; `name` is none of them; or the file has
        the name of another of them.

    Examples
    --------
    >>> from cpm_port.zoo import recognise
    >>> recognise("model.caffemodel")
    Traceback (most recent call last):
    ...
    cpm_port.errors.MissingFileError: model.caffemodel...
    """
    path = Path(path)
    fitting = check_weights(path, list(ENTRIES.values()))
    embedded = next((entry for entry in fitting if entry.embedded), None)
    if embedded is not None:
        raise ModelFileError(
            f"{path}: a net like {embedded.name}, which is part of the package; expected one of the authors' models. "
            f"To run this file: --net {embedded.net} --weights {path}"
        )
    names = ", ".join(entry.name for entry in fitting)
    stem = (file_name or path.name).lower().split(".")[0]
    called = next((entry for entry in fitting if Path(entry.file_name).stem.lower() == stem), None)
    said = None if name is None else model_named(name)
    if said is not None and said not in fitting:
        raise UsageError(f"{path}: not {said.name}: its layers are those of {names}")
    if len(fitting) == 1:
        return fitting[0], "layers and shapes"
    if called is not None and said not in (None, called):
        raise UsageError(
            f"{path}: its name is that of {called.name}, not {name}; rename it if it is {name} all the same"
        )
    if called is not None:
        return called, "file name"
    if said is not None:
        return said, "the user"
    known = ", ".join(f"{entry.file_name} is {entry.name}" for entry in fitting)
    raise UsageError(
        f"{path}: {names} have the same layers, and the file's name is none of the authors' ({known}); "
        "say which it is with --as NAME"
    )


def check_weights(path: Path, entries: Sequence[ModelEntry]) -> tuple[ModelEntry, ...]:
    """Return those of `entries` whose net a file fits, having checked that it is whole and finite.

    Raises
    ------
    MissingFileError, ModelFileError
        As `recognise`.
    """
    try:
        weights = read_weights(path)
    except CaffeFormatError as error:
        raise ModelFileError(f"not a whole model: {error}") from error
    differences = {entry.name: _differences(weights, _shapes_of(entry.net)) for entry in entries}
    fitting = tuple(entry for entry in entries if not differences[entry.name])
    if not fitting:
        nearest = min(entries, key=lambda entry: len(differences[entry.name]))
        total = len(_shapes_of(nearest.net))
        found = differences[nearest.name]
        raise ModelFileError(
            f"{path}: none of the models {', '.join(entry.name for entry in entries)}. Nearest is {nearest.name} with "
            f"its {total} layers; {len(found)} of the file's differ, the first: {found[0]}"
        )
    _check_values(path, weights)
    return fitting


def weight_bytes(entry: ModelEntry) -> int:
    """Return how many bytes the weights of a model take as float32: its file is a little larger."""
    return 4 * sum(prod(shape) for shapes in _shapes_of(entry.net).values() for shape in shapes)


@lru_cache(maxsize=16)
def _shapes_of(net: Path) -> Shapes:
    """Return layer -> shapes of its parameters, for the layers of a deploy net that have any."""
    spec = read_net(net)
    blobs = infer_shapes(spec)
    found = {layer.name: tuple(param_shapes(layer, [blobs[name] for name in layer.bottoms])) for layer in spec.layers}
    return {name: shapes for name, shapes in found.items() if shapes}


def _differences(weights: Weights, expected: Shapes) -> list[str]:
    """Return what sets a file apart from a net: in the net's order, then the layers that it has besides."""
    found: list[str] = []
    for layer, shapes in expected.items():
        if layer not in weights:
            found.append(f"layer {layer!r} is missing")
            continue
        have = tuple(array.shape for array in weights[layer])
        if len(have) != len(shapes) or not all(fits_blob(a, b) for a, b in zip(have, shapes, strict=True)):
            found.append(f"layer {layer!r} has {_said(have)}, expected {_said(shapes)}")
    return found + [f"layer {layer!r} is not part of that net" for layer in weights if layer not in expected]


def _said(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes) or "no parameters"


def _check_values(path: Path, weights: Weights) -> None:
    for layer, arrays in weights.items():
        for index, array in enumerate(arrays):
            wrong = int(array.size - np.count_nonzero(np.isfinite(array)))
            if wrong:
                raise ModelFileError(
                    f"{path}: layer {layer!r}, parameter {index}: {wrong} of {array.size} values are NaN or infinite"
                )
        if not arrays[0].any():
            raise ModelFileError(f"{path}: layer {layer!r}: all its weights are zero; is the file only half written?")
