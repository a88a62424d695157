"""From one file format of models to another, by suffix: read, exchange the net where one is given, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cpm_port.caffe import PLAIN_STATE, NetSpec, NetState, read_net
from cpm_port.errors import UsageError, WeightsError
from cpm_port.formats import FORMATS, Format, StoredModel, format_of

__all__ = ["convert"]


def convert(
    source: Path,
    target: Path,
    net: Path | None = None,
    state: NetState = PLAIN_STATE,
    describe: Callable[[NetSpec], Mapping[str, str]] | None = None,
) -> list[str]:
    """Read `source`, write `target`; return lines that say what happened.

    Parameters
    ----------
    source, target : Path
        Their suffixes name the formats.
    net : Path, optional
        A prototxt that replaces the net inside the source. Layers of the source that it lacks are left out, and said
        so; so are its own without arrays in the source, though others of their type have some.
    state : NetState
        Which layers of that prototxt count.
    describe : callable, optional
        What an ONNX file is to say of its net in `metadata_props`.

    Raises
    ------
    UsageError
        A format that cannot be read or written so, or a state without a prototxt.
    WeightsError
        The net and the weights have no layer in common.
    CpmPortError
        Whatever reading and writing raise.
    """
    reader, writer = format_of(source, _FORMATS), format_of(target, _FORMATS)
    if reader.read is None:
        readable = ", ".join(form.name for form in FORMATS)
        raise UsageError(f"{source}: {reader.name} is only written; expected one of {readable}")
    model = reader.read(source)
    lines = list(model.notes)
    if net is not None:
        model, left_out = _with_net(model, source, net, state)
        lines += left_out
    elif state != PLAIN_STATE:
        raise UsageError(f"{source}: phase, level and stages choose layers of a prototxt; give it by --net")
    count = sum(len(arrays) for arrays in model.blobs.values())
    if describe is not None and writer.write is _write_onnx and model.net is not None:
        lines += _write_onnx(target, model, describe(model.net))
    else:
        lines += writer.write(target, model)
    return [*lines, f"{target}: {count} arrays of {len(model.blobs)} layers"]


def _with_net(model: StoredModel, source: Path, path: Path, state: NetState) -> tuple[StoredModel, list[str]]:
    net = read_net(path, **state._asdict())
    names = {layer.name for layer in net.layers}
    kept = {layer: arrays for layer, arrays in model.blobs.items() if layer in names}
    if model.blobs and not kept:
        raise WeightsError(f"{source}: none of its {len(model.blobs)} layers is in {path}")
    left_out = [layer for layer in model.blobs if layer not in names]
    lines = [f"left out, not in {path}: {', '.join(left_out)}"] if left_out else []
    filled = {layer.type for layer in net.layers if kept.get(layer.name)}
    without = [layer.name for layer in net.layers if layer.type in filled and layer.name not in kept]
    lines += [f"without weights, not in {source}: {', '.join(without)}"] if without else []
    return StoredModel(kept, net), lines


def _write_onnx(path: Path, model: StoredModel, metadata: Mapping[str, str] | None = None) -> list[str]:
    from cpm_port.export.onnx import write_onnx  # PyTorch takes seconds to import; the other formats do without

    return write_onnx(path, model, metadata)


_FORMATS = (*FORMATS, Format("ONNX", (".onnx",), None, _write_onnx))
