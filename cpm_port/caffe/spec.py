"""LayerSpec and NetSpec: a Caffe net as frozen Python values. `netspec.py` makes them; everything else reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cpm_port.caffe.view import MessageView

__all__ = ["PLAIN_STATE", "LayerSpec", "NetSpec", "NetState", "ParamSpec"]


class NetState(NamedTuple):
    """What chooses the layers of a prototxt, by their `include` and `exclude` rules.

    Attributes
    ----------
    phase : {"TEST", "TRAIN"}
    level : int
        For the rules `min_level` and `max_level`.
    stages : tuple of str
        For the rules `stage` and `not_stage`; besides those of the file's own `state`.

    Examples
    --------
    >>> from cpm_port.caffe import NetState
    >>> NetState(phase="TRAIN").level
    0
    """

    phase: str = "TEST"
    level: int = 0
    stages: tuple[str, ...] = ()


PLAIN_STATE = NetState()
"""What Caffe takes where nobody says."""


@dataclass(frozen=True)
class ParamSpec:
    """How one parameter blob of a layer is trained: its shared name ("" is none) and rate multipliers.

    Examples
    --------
    >>> from cpm_port.caffe import ParamSpec
    >>> ParamSpec(lr_mult=2.0).decay_mult
    1.0
    """

    name: str = ""
    lr_mult: float = 1.0
    decay_mult: float = 1.0


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a filtered net.

    Attributes
    ----------
    name, type : str
        The type is Caffe's string ("Convolution"), whatever generation the file was.
    bottoms, tops : tuple of str
        Blob names as written (in place: a top equals a bottom), plus a loss layer's automatic top.
    params : MessageView
        The LayerParameter: `spec.params.convolution_param.num_output`.
    param_specs : tuple of ParamSpec
        As written, so it may be shorter than the layer's parameter count; always three frozen ones for BatchNorm.
    loss_weights : tuple of float
        One per top; Caffe's defaults resolved: 1 for the first top of a loss layer, 0 elsewhere.
    strangers : tuple of str
        Fields of its parameters that the schema does not know and that may change what it computes, with their places
        (`strangers.py`).

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> layer = net.layers[0]
    >>> layer.name, layer.type, layer.tops
    ('input', 'Input', ('data',))
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: MessageView
    param_specs: tuple[ParamSpec, ...]
    loss_weights: tuple[float, ...]
    strangers: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class NetSpec:
    """A net, upgraded to V2, filtered and checked.

    Attributes
    ----------
    inputs : dict of str to tuple of int
        The tops of Input layers with their declared shapes; `()` where the file declares none.
    outputs : tuple of str
        Tops that no layer consumes, in Caffe's order (by name).
    source : str
        The file, for messages.
    dialect : {"bvlc", "cpm", "cpm2015"}
    generation : {"V0", "V1", "V2"}
        How the file was written.
    message : NetParameter
        The upgraded but unfiltered net. Do not change it.
    notes : tuple of str
        What was upgraded, and fields that the schema does not know.
    unknown : tuple of str
        Those of the notes that tell of such fields.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi", stages=2)))
    >>> net.inputs, net.phase
    ({'data': (1, 4, 368, 368)}, 'TEST')
    """

    name: str
    phase: str
    layers: tuple[LayerSpec, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    source: str
    dialect: str
    generation: str
    force_backward: bool
    message: Any
    notes: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy through views, since classes made at run time cannot be found by name."""
        values = dict(vars(self))
        values["message"] = MessageView(self.message)
        return _restore_spec, (values,)

    def layer(self, name: str) -> LayerSpec:
        """Return the first layer of that name; KeyError where there is none."""
        for spec in self.layers:
            if spec.name == name:
                return spec
        raise KeyError(name)


def _restore_spec(values: dict[str, Any]) -> NetSpec:
    return NetSpec(**{**values, "message": values["message"].message()})
