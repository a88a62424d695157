"""Which layers a backward pass visits, and which of their bottoms get a gradient: Caffe's rules.

A layer is visited if a parameter of its own or an earlier one is learned and a later one leads to a loss; with
`force_backward`, all are. Blobs are followed by their versions: an in-place layer makes a new one of the same name.

*Source*: BVLC/caffe@9b89154 src/caffe/net.cpp (Init). Differs: a blob with several readers needs no Split layers; its
gradient is skipped where all its readers skip it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cpm_port.caffe import LayerSpec
from cpm_port.caffe.layer_types import LAYER_TYPES

__all__ = ["Visit", "plan_backward"]

_Version = tuple[str, int]
_WITHOUT_GRADIENT = {"EuclideanLoss": None, "SmoothL1Loss": None, "ContrastiveLoss": 2, "RNN": 1, "LSTM": 1}
"""The bottom that `force_backward` does not reach; of a loss that is not here, its second one, the labels."""


@dataclass(frozen=True)
class Visit:
    """What a backward pass does at a layer.

    Attributes
    ----------
    needed : bool
        Whether the layer is visited at all.
    propagate_down : tuple of bool
        Per bottom, whether it gets a gradient.
    """

    needed: bool
    propagate_down: tuple[bool, ...]


def plan_backward(layers: Sequence[LayerSpec], learned: Sequence[bool], *, force: bool) -> list[Visit]:
    """Return what happens at every layer.

    Parameters
    ----------
    layers : sequence of LayerSpec
        In the net's order.
    learned : sequence of bool
        Per layer, whether one of its parameters is learned.
    force : bool
        The net's `force_backward`.
    """
    bottoms, tops = _versions(layers)
    needed, flags = _upwards(layers, bottoms, tops, learned)
    _downwards(layers, bottoms, tops, needed, flags)
    if force:
        for index, layer in enumerate(layers):
            needed[index] = bool(layer.bottoms) or learned[index]
            flags[index] = [flag or _may_force(layer, bottom) for bottom, flag in enumerate(flags[index])]
    return [Visit(need, tuple(flag)) for need, flag in zip(needed, flags, strict=True)]


def _versions(layers: Sequence[LayerSpec]) -> tuple[list[list[_Version]], list[list[_Version]]]:
    """Return the versions that every layer reads and makes."""
    newest: dict[str, int] = {}
    bottoms, tops = [], []
    for layer in layers:
        bottoms.append([(name, newest.get(name, 0)) for name in layer.bottoms])
        for name in layer.tops:
            newest[name] = newest.get(name, -1) + 1
        tops.append([(name, newest[name]) for name in layer.tops])
    return bottoms, tops


def _upwards(
    layers: Sequence[LayerSpec], bottoms: list[list[_Version]], tops: list[list[_Version]], learned: Sequence[bool]
) -> tuple[list[bool], list[list[bool]]]:
    """Follow what depends on learned parameters from the inputs on."""
    depends: set[_Version] = set()
    needed, flags = [], []
    for layer, read, made, own in zip(layers, bottoms, tops, learned, strict=True):
        written = layer.params.propagate_down
        flags.append([bool(written[i]) if i < len(written) else blob in depends for i, blob in enumerate(read)])
        needed.append(own or any(blob in depends for blob in read))
        if needed[-1]:
            depends.update(made)
    return needed, flags


def _downwards(
    layers: Sequence[LayerSpec],
    bottoms: list[list[_Version]],
    tops: list[list[_Version]],
    needed: list[bool],
    flags: list[list[bool]],
) -> None:
    """Strike out what leads to no loss, from the outputs on."""
    under_loss: set[_Version] = set()
    readers: defaultdict[_Version, int] = defaultdict(int)
    skipping: defaultdict[_Version, int] = defaultdict(int)
    for index in range(len(layers) - 1, -1, -1):
        layer, made = layers[index], tops[index]
        counts = any(weight for weight in layer.loss_weights) or any(blob in under_loss for blob in made)
        skips = bool(made) and all(
            readers[blob] and readers[blob] == skipping[blob] and not weight
            for blob, weight in zip(made, layer.loss_weights, strict=True)
        )
        if skips:
            flags[index] = [False] * len(flags[index])
        needed[index] &= counts and not skips
        for place, blob in enumerate(bottoms[index]):
            if counts:
                under_loss.add(blob)
            else:
                flags[index][place] = False
            readers[blob] += 1
            skipping[blob] += not flags[index][place]


def _may_force(layer: LayerSpec, bottom: int) -> bool:
    """Tell whether `force_backward` reaches a bottom: not the labels of losses."""
    if layer.type == "Accuracy":
        return False
    is_loss = layer.type in LAYER_TYPES and LAYER_TYPES[layer.type].kind == "loss"
    return bottom != _WITHOUT_GRADIENT.get(layer.type, 1 if is_loss else None)
