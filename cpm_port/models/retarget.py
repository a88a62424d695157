"""A net for other parts, from any pose net: its deploy file, and a train file around it.

NET -> TWO NETS AS TEXT. The layers that give belief maps get as many outputs as there are parts and a background;
everything else stays, whatever the design and its layers' names: shapes behind them follow. The train file puts the CPM
data layer in front and a Euclidean loss behind every stage, as `prototxt.py` does for the released designs. The weights
move by `surgery.py`.
"""

from __future__ import annotations

from typing import Any

from cpm_port.caffe import NetSpec, format_prototxt, infer_shapes, message_class, parse_net, snapshot_message
from cpm_port.caffe.text import format_fields
from cpm_port.errors import UsageError
from cpm_port.models.interface import belief_maps, image_input
from cpm_port.models.prototxt import TrainingData, augmentation_fields

__all__ = ["deploy_for_parts", "train_for_parts"]

_CENTER_CHANNELS = 4


def deploy_for_parts(net: NetSpec, parts: int, box: int | None = None) -> str:
    """Return a deploy prototxt like a net's, for so many parts.

    Parameters
    ----------
    net : NetSpec
        A deploy net with belief maps and a center map.
    parts : int
    box : int, optional
        Side of the input, px; None: the net's own.

    Raises
    ------
    UsageError
        It is no such net, or its belief maps do not come from convolutions; or the box does not fit its strides.
    LayerError
        Its layers cannot take the box.
    """
    _, shape = image_input(net)
    if shape[1] != _CENTER_CHANNELS:
        raise UsageError(f"{net.source}: input of {shape[1]} channels; a net with a center map (4 channels) expected")
    maps = set(belief_maps(net, infer_shapes(net)).values())
    message = snapshot_message(net)
    changed = set()
    for layer in message.layer:
        layer.ClearField("phase")
        if layer.type == "Input":
            del layer.input_param.shape[:]
            layer.input_param.shape.add().dim.extend((1, shape[1], box or shape[2], box or shape[3]))
        elif maps & set(layer.top) and not set(layer.top) & set(layer.bottom):
            if layer.type not in ("Convolution", "Deconvolution") or layer.convolution_param.group != 1:
                raise UsageError(f"{net.source}: belief maps of layer {layer.name!r} ({layer.type}), no convolution")
            layer.convolution_param.num_output = parts + 1
            changed |= set(layer.top)
    if not maps or changed != maps:
        raise UsageError(f"{net.source}: {sorted(maps - changed) or 'no belief maps'}: expected convolutions' tops")
    text = format_prototxt(message)
    _stride(parse_net(text, source=net.source), box or shape[2])
    return text


def train_for_parts(deploy: NetSpec, data: TrainingData) -> str:
    """Return the train prototxt around a deploy net of `deploy_for_parts`; `data.source` names records of its parts.

    Errors as there.
    """
    name, shape = image_input(deploy)
    shapes = infer_shapes(deploy)
    stages = list(belief_maps(deploy, shapes).values())
    parts, box = shapes[stages[-1]][1] - 1, (shape[2], shape[3])
    transform = augmentation_fields(box, parts, data, stride=_stride(deploy, shape[2]), own_order=True)
    settings = [("source", data.source), ("batch_size", data.batch_size), ("backend", "LMDB")]
    first, later = "label_1st_lower", "label_lower"
    cut = [("axis", 1), ("slice_point", parts + 1)]
    head: list[tuple[str, Any]] = [
        ("name", f"{deploy.name}_train"),
        _layer("data", "CPMData", [], [name, "label"], ("transform_param", transform), ("cpmdata_param", settings)),
        _layer("label_cut", "Slice", ["label"], [later, first], ("slice_param", cut)),
    ]
    message = snapshot_message(deploy)
    message.ClearField("name")
    for layer in message.layer:
        layer.ClearField("phase")
    inputs = [i for i, layer in enumerate(message.layer) if layer.type == "Input"]
    for index in reversed(inputs):
        del message.layer[index]
    tail = [
        _layer(f"loss_stage{number}", "EuclideanLoss", [beliefs, first if number == 1 else later], [f"loss_{number}"])
        for number, beliefs in enumerate(stages, 1)
    ]
    if len(stages) == 1:
        tail.append(_layer("no_later_stage", "Silence", [later], []))
    descriptor = message_class("NetParameter", "cpm").DESCRIPTOR
    return f"{format_fields(head, descriptor)}{format_prototxt(message)}{format_fields(tail, descriptor)}"


def _layer(
    name: str, type_: str, bottoms: list[str], tops: list[str], *rest: tuple[str, Any]
) -> tuple[str, list[tuple[str, Any]]]:
    blobs = [("bottom", bottom) for bottom in bottoms] + [("top", top) for top in tops]
    return "layer", [("name", name), ("type", type_), *blobs, *rest]


def _stride(net: NetSpec, box: int) -> int:
    """Return the box px per cell of the maps, which must be the same number everywhere."""
    shapes = infer_shapes(net)
    maps = {shapes[blob][2:] for blob in belief_maps(net, shapes).values()}
    ((height, width),) = maps if len(maps) == 1 else {(0, 0)}
    if height < 1 or height != width or box % height:
        raise UsageError(f"{net.source}: maps of {sorted(maps)} for a box of {box}; expected one whole stride")
    return box // height
