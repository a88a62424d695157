"""Parameters that layers share by name, and what a solver must know of each: Caffe's list of learnable parameters.

The first layer that uses a name owns the parameter; the others refer to it, so gradients add up by
themselves. A multiplier may be written at the owner or at a sharer; two that differ are an error. Source:
caffe `net.cpp` (AppendParam).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import nn

from cpm_port.errors import LayerError, UnsupportedLayerError
from cpm_port.graph.module import LayerModule

__all__ = ["ParamInfo", "link_shared"]


@dataclass(frozen=True)
class ParamInfo:
    """A learnable parameter: its owner layer, blob index, tensor, and rate and decay multipliers.

    `lr_mult` 0 (frozen layers, BatchNorm's statistics) comes with `tensor.requires_grad` False.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> info = net.param_info()[0]
    >>> info.layer, info.index, info.lr_mult
    ('conv1_stage1', 0, 5.0)
    """

    layer: str
    index: int
    tensor: nn.Parameter
    lr_mult: float
    decay_mult: float


def link_shared(layers: Iterable[LayerModule]) -> tuple[list[ParamInfo], set[tuple[str, int]]]:
    """Make layers share parameters of one name; return the owners' list in Caffe's order, and the slots that refer.

    Raises
    ------
    LayerError
        More `param` entries than parameters, shapes that differ, or multipliers that contradict each other.
    UnsupportedLayerError
        `share_mode: PERMISSIVE` between different shapes.
    """
    infos: list[ParamInfo] = []
    written: list[set[str]] = []
    by_name: dict[str, int] = {}
    referring: set[tuple[str, int]] = set()
    for layer in layers:
        spec = layer.spec
        fields = spec.params.param
        if len(fields) > len(layer.blobs):
            raise LayerError(
                f"layer {spec.name!r} ({spec.type}): {len(fields)} param entries for {len(layer.blobs)} parameters"
            )
        for index, blob in enumerate(layer.blobs):
            given = spec.param_specs[index] if index < len(spec.param_specs) else None
            name, lr_mult, decay_mult = (given.name, given.lr_mult, given.decay_mult) if given else ("", 1.0, 1.0)
            named = {f for f in ("lr_mult", "decay_mult") if index < len(fields) and fields[index].has(f)}
            if name not in by_name:
                if name:
                    by_name[name] = len(infos)
                infos.append(ParamInfo(spec.name, index, blob, lr_mult, decay_mult))
                written.append(named)
                continue
            position = by_name[name]
            owner = infos[position]
            _require_same_shape(layer, index, owner, name, fields[index].share_mode)
            for multiplier in named:
                value, owned = getattr(given, multiplier), getattr(owner, multiplier)
                if multiplier in written[position] and value != owned:
                    raise LayerError(
                        f"layer {spec.name!r}: {multiplier} of the shared parameter {name!r} is {value}, but {owned} "
                        f"in layer {owner.layer!r}"
                    )
                infos[position] = replace(infos[position], **{multiplier: value})
            written[position] |= named
            layer.share_blob(index, owner.tensor)
            referring.add((spec.name, index))
    for info in infos:
        info.tensor.requires_grad_(info.lr_mult != 0)
    return infos, referring


def _require_same_shape(layer: LayerModule, index: int, owner: ParamInfo, name: str, mode: str) -> None:
    own, shared = tuple(layer.blob(index).shape), tuple(owner.tensor.shape)
    if own == shared:
        return
    message = (
        f"layer {layer.spec.name!r}: the shared parameter {name!r} is {shared} in layer {owner.layer!r}, here {own}"
    )
    if mode == "PERMISSIVE" and layer.blob(index).numel() == owner.tensor.numel():
        raise UnsupportedLayerError(f"{message}: PERMISSIVE sharing between shapes is not supported")
    raise LayerError(message)
