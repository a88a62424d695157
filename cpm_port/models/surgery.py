"""Weights of one net for another: other parts, another number of stages, other widths.

WEIGHTS -> WEIGHTS. Every channel of a blob has a name: the number of the convolution's output that made it, or the part
whose belief map it is. Names follow the channels through pooling, ReLUs, slices, concatenations and sums. A weight then
moves where both nets have its output and its input. So

- belief maps move by the names of their parts, wherever these stand in their order;
- a stage that the source lacks begins as the source's last one (layers called `..._stage5` as `..._stage3`);
- inputs that the source lacks get the weight 0, so that what was known comes out as it did;
- belief maps that the source lacks begin at 0; other outputs that it lacks keep what the net has for them.

A net that only grows therefore gives, for the parts that it knew, the maps that it gave before.

Conventions: arrays are Caffe's blobs; convolutions have (outputs, inputs, ...), deconvolutions (inputs, outputs, ...).
Grouped convolutions and inner products move whole or not at all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec, NetSpec, infer_shapes
from cpm_port.caffe.shapes import Shape
from cpm_port.errors import WeightsError
from cpm_port.models.interface import belief_maps
from cpm_port.parts import BACKGROUND, release_order

__all__ = ["MoveReport", "move_weights"]

_STAGE = re.compile(r"stage(\d+)")
_Names = list[tuple[str, object]]
Arrays = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class MoveReport:
    """What moved.

    Attributes
    ----------
    whole : tuple of str
        Layers of the target all of whose values moved.
    partly : tuple of str
        A line each: layers some of whose values moved, and which did not.
    left : tuple of str
        A line each: layers of the target that nothing moved to.
    unused : tuple of str
        Layers of the source that nothing was taken from.
    """

    whole: tuple[str, ...]
    partly: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as lines of text."""
        lines = [f"{len(self.whole)} layers moved whole"]
        lines += [f"  moved in part: {line}" for line in self.partly]
        lines += [f"  left as it was: {line}" for line in self.left]
        if self.unused:
            lines.append(f"  of the source, not used: {', '.join(self.unused)}")
        return "\n".join(lines)


def move_weights(
    weights: Arrays,
    source: NetSpec,
    target: NetSpec,
    into: Arrays,
    *,
    source_parts: Sequence[str] | None = None,
    target_parts: Sequence[str] | None = None,
) -> tuple[dict[str, tuple[NDArray[np.float32], ...]], MoveReport]:
    """Return weights for `target`: those of `source` where both have them, `into`'s or 0 elsewhere (see the module).

    Parameters
    ----------
    weights : mapping of str to sequence of ndarray
        The source's: layer name -> arrays, for example of `cpm_port.caffe.read_weights`.
    source, target : NetSpec
        Deploy or train nets. The target's shapes must be declared, or follow from its CPM data layer.
    into : mapping of str to sequence of ndarray
        What the target has now, for every layer with parameters: its fillers' values.
    source_parts, target_parts : sequence of str, optional
        Names of the parts in the order of the maps, without the background; by default the release's for 14 and 9
        parts, else numbers.

    Returns
    -------
    weights : dict of str to tuple of ndarray, float32
        For every layer of `into`.
    report : MoveReport

    Raises
    ------
    WeightsError
        Not as many names as belief maps, or a layer whose arrays do not fit its net.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, build, deploy_text, to_caffe
    >>> few, more = (architecture("mpi", stages=2, width=4, parts=parts, box=(64, 64)) for parts in (2, 3))
    >>> arrays = [to_caffe(build(net).state_dict(), net) for net in (few, more)]
    >>> nets = [parse_net(deploy_text(net)) for net in (few, more)]
    >>> names = {"source_parts": ["tail", "nose"], "target_parts": ["nose", "ear", "tail"]}
    >>> moved, report = move_weights(arrays[0], nets[0], nets[1], arrays[1], **names)
    >>> len(report.whole), report.left
    (13, ())
    >>> bool((moved["Mconv5_stage2"][0][0] == arrays[0]["Mconv5_stage2"][0][1]).all())  # nose
    True
    """
    old, new = _Channels(source, source_parts), _Channels(target, target_parts)
    homes = _homes(source, target, old.last_stage)
    layers = {layer.name: layer for layer in source.layers}
    result: dict[str, tuple[NDArray[np.float32], ...]] = {}
    whole, partly, left = [], [], []
    used = set()
    for layer in target.layers:
        if layer.name not in into or layer.name in result:
            continue
        now = [np.array(array, dtype=np.float32) for array in into[layer.name]]
        home = homes.get(layer.name)
        if home is None or home not in weights:
            result[layer.name] = tuple(now)
            left.append(f"{layer.name}: the source has no such layer")
            continue
        have = [np.asarray(array, np.float32) for array in weights[home]]
        wrong = _unlike(layers[home], layer, have, now)
        if wrong:
            result[layer.name] = tuple(now)
            left.append(f"{layer.name}: {wrong}")
            continue
        used.add(home)
        outputs = _matches(old.outputs[home], _renamed(new.outputs[layer.name], homes))
        inputs = _matches(old.inputs[home], _renamed(new.inputs[layer.name], homes))
        beliefs = layer.name in new.believing
        result[layer.name] = tuple(
            _moved(layer, index, there, here, outputs, inputs, beliefs)
            for index, (there, here) in enumerate(zip(have, now, strict=True))
        )
        told = [_told("outputs", outputs, new.outputs[layer.name]), _told("inputs", inputs, new.inputs[layer.name])]
        missing = ", ".join(filter(None, told))
        if missing:
            partly.append(f"{layer.name}{'' if home == layer.name else f' from {home}'}: {missing}")
        else:
            whole.append(layer.name)
    unused = tuple(name for name in weights if name in layers and name not in used)
    return result, MoveReport(tuple(whole), tuple(partly), tuple(left), unused)


class _Channels:
    """The names of a net's channels: of what every layer with parameters reads, and of what it gives."""

    def __init__(self, net: NetSpec, parts: Sequence[str] | None) -> None:
        shapes = infer_shapes(net)
        stages = belief_maps(net, shapes)
        self.last_stage = max(stages, default=1)
        self.inputs: dict[str, _Names] = {}
        self.outputs: dict[str, _Names] = {}
        self.believing: set[str] = set()
        beliefs = set(stages.values())
        blobs: dict[str, _Names] = {}
        for layer in net.layers:
            if not layer.bottoms:
                blobs.update({top: _numbered("", _width(shapes[top])) for top in layer.tops})
                continue
            bottoms = [blobs[bottom] for bottom in layer.bottoms]
            tops = self._tops(layer, bottoms, shapes)
            if layer.type in _MAKERS and set(layer.tops) & beliefs:
                tops = [_part_names(net, len(tops[0]), parts)]
                self.believing.add(layer.name)
            self.inputs.setdefault(layer.name, bottoms[0])
            self.outputs.setdefault(layer.name, tops[0] if tops else [])
            blobs.update(zip(layer.tops, tops, strict=True))

    def _tops(self, layer: LayerSpec, bottoms: list[_Names], shapes: Mapping[str, Shape]) -> list[_Names]:
        if layer.type == "Concat" and layer.params.concat_param.axis in (1, -3):
            return [[name for names in bottoms for name in names]]
        widths = [_width(shapes[top]) for top in layer.tops]
        if layer.type == "Slice" and sum(widths) == len(bottoms[0]):
            ends = np.cumsum([0, *widths])
            return [bottoms[0][start:end] for start, end in itertools.pairwise(ends)]
        if layer.type not in _MAKERS and all(width == len(bottoms[0]) for width in widths):
            return [bottoms[0]] * len(widths)
        return [_numbered(layer.name, width) for width in widths]


_MAKERS = ("Convolution", "Deconvolution", "InnerProduct")


def _width(shape: Shape) -> int:
    return shape[1] if len(shape) > 1 else 1


def _numbered(name: str, count: int) -> _Names:
    return [(name, number) for number in range(count)]


def _part_names(net: NetSpec, maps: int, parts: Sequence[str] | None) -> _Names:
    order = release_order(maps - 1)
    names = list(parts) if parts is not None else list(order.parts) if order else [str(i) for i in range(maps - 1)]
    if len(names) != maps - 1:
        raise WeightsError(f"{net.source}: {maps} belief maps, expected {maps - 1} names of parts, got {len(names)}")
    return [("part", name) for name in names] + [("part", None)]


def _homes(source: NetSpec, target: NetSpec, last: int) -> dict[str, str]:
    """Return the target's layers -> the source's that they begin as."""
    known = {layer.name for layer in source.layers}
    homes = {}
    for layer in target.layers:
        earlier = _STAGE.sub(lambda found: f"stage{min(int(found[1]), last)}", layer.name)
        name = layer.name if layer.name in known else earlier
        if name in known:
            homes[layer.name] = name
    return homes


def _renamed(names: _Names, homes: Mapping[str, str]) -> _Names:
    return [(homes.get(name, name), number) for name, number in names]


def _matches(old: _Names, new: _Names) -> NDArray[np.intp]:
    """Return, for each new channel, where the old one of its name is, -1 where there is none."""
    places: dict[tuple[str, object], list[int]] = {}
    for place, name in enumerate(old):
        places.setdefault(name, []).append(place)
    return np.array([places[name].pop(0) if places.get(name) else -1 for name in new], np.intp)


def _unlike(old: LayerSpec, new: LayerSpec, have: Sequence[NDArray[Any]], now: Sequence[NDArray[Any]]) -> str:
    """Say what keeps a layer's weights from moving, "" where nothing does."""
    if old.type != new.type or len(have) != len(now):
        return f"{old.type} with {len(have)} arrays there, {new.type} with {len(now)} here"
    if old.type in ("Convolution", "Deconvolution"):
        if have[0].ndim != now[0].ndim or have[0].shape[2:] != now[0].shape[2:]:
            return f"kernels {have[0].shape[2:]} there, {now[0].shape[2:]} here"
        groups = [layer.params.convolution_param.group for layer in (old, new)]
        if groups != [1, 1] and have[0].shape != now[0].shape:
            return f"{groups[0]} and {groups[1]} groups, {have[0].shape} there, {now[0].shape} here"
    elif old.type == "InnerProduct" and have[0].shape != now[0].shape:
        return f"{have[0].shape} there, {now[0].shape} here"
    return ""


def _moved(
    layer: LayerSpec,
    index: int,
    have: NDArray[np.float32],
    now: NDArray[np.float32],
    outputs: NDArray[np.intp],
    inputs: NDArray[np.intp],
    beliefs: bool,
) -> NDArray[np.float32]:
    """Return one array of a layer; `have` is the source's, `now` what the target has."""
    grouped = layer.type in ("Convolution", "Deconvolution") and layer.params.convolution_param.group != 1
    if layer.type == "InnerProduct" or grouped:
        return have.reshape(now.shape)
    if layer.type in _MAKERS and index == 0:
        transposed = layer.type == "Deconvolution"
        there, here = (array.swapaxes(0, 1) if transposed else array for array in (have, now.copy()))
        rows = np.flatnonzero(outputs >= 0)
        here[rows] = 0
        known = np.flatnonzero(inputs >= 0)
        here[np.ix_(rows, known)] = there[np.ix_(outputs[rows], inputs[known])]
        if beliefs:
            here[outputs < 0] = 0
        return np.ascontiguousarray(here.swapaxes(0, 1) if transposed else here)
    flat = have.reshape(-1)
    if now.ndim == 1 and len(now) == len(outputs) and (len(outputs) > 1 or len(flat) == 1):
        moved = np.where(outputs >= 0, flat[np.maximum(outputs, 0)], 0 if beliefs else now)
        return np.asarray(moved, np.float32)
    return have.reshape(now.shape) if have.size == now.size else now


def _told(what: str, matches: NDArray[np.intp], names: _Names) -> str:
    """Say which channels did not move."""
    new = [name for name, match in zip(names, matches, strict=True) if match < 0]
    if not new:
        return ""
    parts = [BACKGROUND if number is None else str(number) for kind, number in new if kind == "part"]
    shown = f" ({', '.join(parts)})" if parts else ""
    return f"{len(new)} of {len(names)} {what} are new{shown}"
