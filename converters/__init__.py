"""File formats of models, one file each, behind one small registry: suffix -> how to read and how to write.

The formats: `.caffemodel`, `.caffemodel.h5`, `.safetensors` (read and written, arrays bit for bit) and `.onnx` (written
and checked). Pickled checkpoints (`.pth`, `.pt`, ...) are refused: reading one runs code from it.

To add a format, write a file with a `FORMAT` and list it in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from cpm_port.caffe import read_net
from cpm_port.errors import UsageError, WeightsError

from . import caffemodel, hdf5, onnx, safetensors
from .registry import Format, Model, whole_net

__all__ = ["FORMATS", "Format", "Model", "convert", "format_of", "whole_net"]

FORMATS = (caffemodel.FORMAT, hdf5.FORMAT, safetensors.FORMAT, onnx.FORMAT)
_PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin")


def format_of(path: Path) -> Format:
    """Return the format that a path's suffix names.

    Raises
    ------
    UsageError
        A pickle's suffix, or one that no format has.
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise UsageError(f"{path}: a {suffix} file is a Python pickle, which runs code when read; use .safetensors")
    for candidate in FORMATS:
        if suffix in candidate.suffixes:
            return candidate
    known = ", ".join(suffix for candidate in FORMATS for suffix in candidate.suffixes)
    raise UsageError(f"{path}: suffix {suffix!r} names no model format; expected one of {known}")


def convert(source: Path, target: Path, net: Path | None = None) -> list[str]:
    """Read `source`, write `target`; return lines that say what happened.

    Parameters
    ----------
    source, target : Path
        Their suffixes name the formats.
    net : Path, optional
        A prototxt that replaces the net inside the source. Layers of the source that it lacks are left out, and said
        so.

    Raises
    ------
    UsageError
        A format that cannot be read or written so.
    WeightsError
        The net and the weights have no layer in common.
    CpmPortError
        Whatever reading and writing raise.
    """
    reader, writer = format_of(source), format_of(target)
    if reader.read is None:
        readable = ", ".join(f.name for f in FORMATS if f.read is not None)
        raise UsageError(f"{source}: {reader.name} is only written; expected one of {readable}")
    model = reader.read(source)
    lines = list(model.notes)
    if net is not None:
        model, left_out = _with_net(model, source, net)
        lines += left_out
    count = sum(len(arrays) for arrays in model.blobs.values())
    lines += writer.write(target, model)
    return [*lines, f"{target}: {count} arrays of {len(model.blobs)} layers"]


def _with_net(model: Model, source: Path, path: Path) -> tuple[Model, list[str]]:
    net = read_net(path)
    names = {layer.name for layer in net.layers}
    kept = {layer: arrays for layer, arrays in model.blobs.items() if layer in names}
    if model.blobs and not kept:
        raise WeightsError(f"{source}: none of its {len(model.blobs)} layers is in {path}")
    left_out = [layer for layer in model.blobs if layer not in names]
    lines = [f"left out, not in {path}: {', '.join(left_out)}"] if left_out else []
    return Model(kept, net), lines
