"""NetSpec: a Caffe net as frozen Python values, ready to build. The last step of reading, the first of everything else.

From a prototxt (or the net inside a .caffemodel): text -> dialect -> upgrade to V2 -> the layers that the phase, level
and stages keep -> bottoms and tops checked. Layers stay in file order, which is execution order; a top that equals a
bottom of its layer is in place.

*Source*: BVLC/caffe@9b89154 src/caffe/net.cpp (filtering, blob bookkeeping, outputs),
include/caffe/layers/loss_layer.hpp (weights).

It knowingly differs: blobs used more than once need no Split layers. A loss layer without a top gets one named
`"(automatic) <layer>"`, which is not an output (Caffe names all of them "(automatic)").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cpm_port.caffe import dialects
from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.caffe.schema import Message, message_class
from cpm_port.caffe.spec import LayerSpec, NetSpec, ParamSpec
from cpm_port.caffe.strangers import Places, places_of, strangers_of
from cpm_port.caffe.text import UnknownField
from cpm_port.caffe.upgrade import generation_of, upgrade_net
from cpm_port.caffe.view import MessageView
from cpm_port.errors import CaffeFormatError, LayerError, UsageError

__all__ = [
    "parse_net",
    "snapshot_message",
    "snapshot_net",
    "spec_of",
]

PHASES = ("TRAIN", "TEST")


def parse_net(
    text: str,
    *,
    source: str = "<string>",
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: str | None = None,
) -> NetSpec:
    """Parse a prototxt's text; parameters as `cpm_port.caffe.read_net`.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> len(net.layers), net.outputs
    (40, ('Mconv5_stage2',))
    """
    parsed = dialects.parse_message(text, "NetParameter", source=source, dialect=dialect)
    return spec_of(parsed.message, source=source, phase=phase, level=level, stages=stages, unknown=parsed.unknown)


def spec_of(
    message: Message,
    *,
    source: str,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    unknown: Sequence[UnknownField] = (),
    notes: Sequence[str] = (),
    is_snapshot: bool = False,
) -> NetSpec:
    """Make a NetSpec of a NetParameter message of any generation, which stays as it is.

    Parameters as of `cpm_port.caffe.read_net`; `unknown` are the fields that its text has and the schema lacks, and
    `is_snapshot` says that the net comes from a stored model.

    Examples
    --------
    >>> from cpm_port.caffe import message_class, spec_of
    >>> spec_of(message_class("NetParameter")(name="empty", input=["data"]), source="made here").name
    'empty'
    """
    if phase not in PHASES:
        raise UsageError(f"phase {phase!r}: expected TRAIN or TEST")
    try:
        generation = generation_of(message)
        net, upgrades = upgrade_net(message)
        net_name = net.name
        graph = _Graph(phase, level, (*net.state.stage, *stages), is_snapshot, generation == "V0", places_of(unknown))
        for position, layer in enumerate(net.layer):
            graph.add(layer, position)
        if not graph.layers:
            raise LayerError(f"no layer is left {graph.state()}; the file has {len(net.layer)} for others")
    except (CaffeFormatError, LayerError) as error:
        raise type(error)(f"{source}: {error}") from None
    unread = tuple(f"{source}:{field}" for field in unknown if not _is_v1_type(field))
    return NetSpec(
        name=net_name,
        phase=phase,
        layers=tuple(graph.layers),
        inputs=graph.inputs,
        outputs=tuple(sorted(graph.available, key=lambda name: name.encode("utf-8"))),
        source=source,
        dialect=dialects.dialect_of(net),
        generation=generation,
        force_backward=net.force_backward,
        message=net,
        notes=(*unread, *notes, *upgrades, *graph.notes),
        unknown=unread,
    )


def _is_v1_type(unknown: UnknownField) -> bool:
    """Tell whether what a text's schema lacks is a V1 type: the layer has it, known or not."""
    return (unknown.message, unknown.name) == ("V1LayerParameter", "type")


def snapshot_net(message: Any, source: str) -> NetSpec:
    """Return the net inside a stored model with all its layers: they were chosen when it was written.

    Raises
    ------
    CaffeFormatError, LayerError
        The layers contradict each other.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net, snapshot_message, snapshot_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> len(snapshot_net(snapshot_message(net), "made here").layers) == len(net.layers)
    True
    """
    trained = any(layer.HasField("phase") and layer.phase == 0 for layer in message.layer)
    return spec_of(message, source=source, phase="TRAIN" if trained else "TEST", is_snapshot=True)


def snapshot_message(net: NetSpec) -> Any:
    """Return a new NetParameter with the net's layers as its phase chose them: what a stored model holds.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net, snapshot_message
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> len(snapshot_message(net).layer) == len(net.layers)
    True
    """
    message = message_class("NetParameter", net.dialect)(name=net.name)
    for layer in net.layers:
        params = layer.params.message()
        params.ClearField("blobs")
        message.layer.append(params)
    return message


@dataclass
class _Graph:
    """The blobs of a V2 net, followed layer by layer."""

    phase: str
    level: int
    stages: tuple[str, ...]
    is_snapshot: bool
    is_flat: bool
    places: Places
    layers: list[LayerSpec] = field(default_factory=list)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    produced: dict[str, str] = field(default_factory=dict)
    available: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Any, position: int) -> None:
        """Take a layer in, if the net's state keeps it."""
        where = f"layer {layer.name!r}" if layer.name else f"layer number {position + 1} (without a name)"
        if not self.is_snapshot and not _included(layer, self.phase, self.level, self.stages, where):
            self.left_out.update(dict.fromkeys(layer.top, layer.name))
            return
        if not layer.type:
            raise LayerError(f"{where} has no type")
        if len(layer.propagate_down) not in (0, len(layer.bottom)):
            raise LayerError(
                f"{where}: expected propagate_down for none or each of its {len(layer.bottom)} bottoms, got "
                f"{len(layer.propagate_down)}"
            )
        if layer.bottom and layer.type in LAYER_TYPES and LAYER_TYPES[layer.type].kind == "source":
            raise LayerError(f"{where} ({layer.type}): has {len(layer.bottom)} bottoms; expected 0")
        strangers = strangers_of(layer, self.places, flat=self.is_flat)
        spec = _layer_spec(layer, self.phase, where, strangers)
        for bottom in spec.bottoms:
            if bottom not in self.produced:
                if not self.is_snapshot:
                    raise LayerError(
                        f"{where}: unknown bottom blob {bottom!r}; no earlier layer has it as a top{self.other(bottom)}"
                    )
                self.produced[bottom] = "(the net's input)"
                self.inputs[bottom] = ()
                self.notes.append(f"blob {bottom!r} comes from no layer; taken as an input")
            self.available.discard(bottom)
        for index, top in enumerate(spec.tops):
            in_place = index < len(spec.bottoms) and spec.bottoms[index] == top
            if top in self.produced and not in_place:
                raise LayerError(
                    f"{where}: top blob {top!r} is also produced by layer {self.produced[top]!r}, and not in place"
                )
            self.produced[top] = spec.name
            if index < len(layer.top):
                self.available.add(top)
        if spec.type == "Input":
            self.inputs.update(_input_shapes(layer, where))
        if spec.name in self.names:
            self.notes.append(f"layer name {spec.name!r} occurs more than once")
        self.names.add(spec.name)
        self.layers.append(spec)

    def state(self) -> str:
        """Say which net state chose the layers."""
        return f"in phase {self.phase}, level {self.level}, stages {', '.join(self.stages) or 'none'}"

    def other(self, blob: str) -> str:
        """Say which layer would bring a blob in another net state, if one would."""
        return f" (layer {self.left_out[blob]!r} is left out {self.state()})" if blob in self.left_out else ""


def _included(layer: Any, phase: str, level: int, stages: tuple[str, ...], where: str) -> bool:
    if len(layer.include) and len(layer.exclude):
        raise LayerError(f"{where} has both include and exclude rules; expected one kind")
    if len(layer.include):
        return any(_meets(rule, phase, level, stages) for rule in layer.include)
    return not any(_meets(rule, phase, level, stages) for rule in layer.exclude)


def _meets(rule: Any, phase: str, level: int, stages: tuple[str, ...]) -> bool:
    """Tell whether a net state meets a NetStateRule: every condition that the rule gives holds."""
    return not (
        (rule.HasField("phase") and PHASES[rule.phase] != phase)
        or (rule.HasField("min_level") and level < rule.min_level)
        or (rule.HasField("max_level") and level > rule.max_level)
        or any(stage not in stages for stage in rule.stage)
        or any(stage in stages for stage in rule.not_stage)
    )


def _layer_spec(layer: Any, phase: str, where: str, strangers: tuple[str, ...]) -> LayerSpec:
    params = type(layer)()
    params.CopyFrom(layer)
    if not params.HasField("phase"):
        params.phase = PHASES.index(phase)
    tops = tuple(layer.top)
    is_loss = layer.type in LAYER_TYPES and LAYER_TYPES[layer.type].kind == "loss"
    if is_loss and not tops:
        tops = (f"(automatic) {layer.name}",)
    weights = tuple(layer.loss_weight)
    if weights and len(weights) != len(tops):
        raise LayerError(f"{where} has {len(weights)} loss_weight for {len(tops)} tops; expected none, or one per top")
    if not weights:
        weights = tuple(1.0 if is_loss and index == 0 else 0.0 for index in range(len(tops)))
    return LayerSpec(
        name=layer.name,
        type=layer.type,
        bottoms=tuple(layer.bottom),
        tops=tops,
        params=MessageView(params),
        param_specs=_param_specs(layer, where),
        loss_weights=weights,
        strangers=strangers,
    )


def _param_specs(layer: Any, where: str) -> tuple[ParamSpec, ...]:
    specs = [ParamSpec(param.name, param.lr_mult, param.decay_mult) for param in layer.param]
    entry = LAYER_TYPES.get(layer.type)
    for index in entry.untrained(layer) if entry is not None else ():
        specs += [ParamSpec("")] * (index + 1 - len(specs))
        if layer.type == "BatchNorm" and index < len(layer.param) and specs[index].lr_mult != 0:
            raise LayerError(f"{where}: BatchNorm's statistics are not trained; expected lr_mult 0")
        specs[index] = replace(specs[index], lr_mult=0.0)
    return tuple(specs)


def _input_shapes(layer: Any, where: str) -> dict[str, tuple[int, ...]]:
    shapes = [tuple(int(dim) for dim in shape.dim) for shape in layer.input_param.shape]
    tops = tuple(layer.top)
    if len(shapes) not in (0, 1, len(tops)):
        raise LayerError(f"{where} has {len(shapes)} shapes for {len(tops)} tops; expected none, one, or one per top")
    if any(dim < 0 for shape in shapes for dim in shape):
        raise LayerError(f"{where}: shapes {shapes} have a negative dimension")
    if len(shapes) < 2:
        shapes = (shapes or [()]) * len(tops)
    return dict(zip(tops, shapes, strict=True))
