"""The base class of every layer: one Caffe layer as an `nn.Module` whose parameters are Caffe's blobs, by index.

A layer is made from its `LayerSpec` and the shapes of its bottoms. It owns its parameters under the names
"0", "1", ... (Caffe's blob indices), so the state dict of a net reads `<layer name>.<blob index>`. Parameters
are left unset when the layer is made: weights from a file replace them, or `fill` runs the layer's fillers.

Shapes, and every check of them, live in `reshape`: integers only. It runs before the tensors do, whenever an
input's shape changes, as Caffe's own Reshape does; the forward functions check no shape. What a type tells of
itself in integers is four methods: `top_shapes`, `param_shapes`, `flops`, `sees`. For the types that are known
without torch they need not be written: `cpm_port.caffe.layer_types` has the answers.

Conventions: tensors are float32 and C-ordered like Caffe's blobs; nothing writes into a bottom, so an
in-place layer's input stays alive for autograd. Dropout and BatchNorm train (`LayerModule.trains`) in a layer of phase
TRAIN, unless `eval()` was called; in phase TEST `train()` changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from cpm_port.caffe import LayerSpec, MessageView
from cpm_port.caffe import shapes as caffe_shapes
from cpm_port.caffe.layer_types import LAYER_TYPES, Fields, Shape
from cpm_port.errors import LayerError, ShapeError, UnsupportedLayerError
from cpm_port.graph.fillers import fill

__all__ = ["LayerModule", "Shape"]


class LayerModule(nn.Module):
    """One layer of a Caffe net; a subclass's `forward` takes the bottoms and returns a tuple of tops.

    Parameters
    ----------
    spec : LayerSpec
        Name, type, bottoms, tops and fields.
    bottom_shapes : list of tuple of int
        One shape per bottom; they size the parameters.

    Attributes
    ----------
    message : str
        Class attribute: the field of LayerParameter that configures the type, "" where there is none.
    fields : namespace
        The values of that message's fields, defaults where unset: plain values, so that `forward` can be compiled.
    given : frozenset of str
        Which of those fields the prototxt gives.
    training_phase : bool
        True in phase TRAIN: the layer's own phase or, failing that, the net's.
    shaped_by_values : bool
        Class attribute: how large the tops are is known when the layer runs (Filter); `top_shapes` tells the most.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.graph import LayerModule, load_net, register
    >>> from cpm_port.caffe import parse_net
    >>> @register("Doubled", fields="")
    ... class Doubled(LayerModule):
    ...     def top_shapes(self, bottom_shapes):
    ...         return bottom_shapes
    ...
    ...     def forward(self, x):
    ...         return (2 * x,)
    >>> text = "input: 'x' input_shape { dim: 2 } layer { name: 'd' type: 'Doubled' bottom: 'x' top: 'y' }"
    >>> load_net(parse_net(text))(torch.ones(2))["y"]
    tensor([2., 2.])
    """

    message = ""
    shaped_by_values = False

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.spec = spec
        self.fields, self.given = _plain_fields(spec, self.message)
        self.training_phase = bool(spec.params.phase == "TRAIN")
        self._num_blobs = 0
        for shape in self.param_shapes(list(bottom_shapes)):
            blob = nn.Parameter(torch.empty(shape))
            self.register_parameter(str(self._num_blobs), blob)
            self._num_blobs += 1

    def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the shape of every top for these bottoms; raise `ShapeError` or `LayerError` where they do not fit."""
        if not self._known_without_torch:
            raise UnsupportedLayerError(
                f"layer {self.spec.name!r}: its module {type(self).__name__} has no top_shapes, and its type "
                f"{self.spec.type!r} no other shape rule"
            )
        return caffe_shapes.layer_shapes(self.spec, bottom_shapes)

    def param_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the shape of every parameter that these bottoms ask for."""
        return caffe_shapes.param_shapes(self.spec, bottom_shapes) if self._known_without_torch else []

    def flops(self, bottom_shapes: list[Shape]) -> int | None:
        """Return multiplications plus additions of one pass; None where the type does not tell."""
        return caffe_shapes.layer_flops(self.spec, bottom_shapes) if self._known_without_torch else None

    def sees(self, bottom_shapes: list[Shape]) -> Fields | None:
        """Return what an index of the tops sees of the bottoms' axes: `POINTWISE`, `WHOLE`, or a `Field` per axis.

        None where the type does not tell.
        """
        return caffe_shapes.layer_sees(self.spec, bottom_shapes) if self._known_without_torch else None

    @property
    def trains(self) -> bool:
        """Whether the layer does what it does in training: it is of phase TRAIN, and not put aside by `eval()`."""
        return self.training_phase and self.training

    @property
    def replayable(self) -> bool:
        """Whether a pass may be recorded once and replayed, as on a GPU: it only computes tops from bottoms.

        Not so where a pass changes something (running sums, states, files), draws numbers, or needs a tensor's values
        on the host.
        """
        return not self.shaped_by_values

    @property
    def _known_without_torch(self) -> bool:
        entry = LAYER_TYPES.get(self.spec.type)
        return entry is not None and not entry.by_module

    def fillers(self) -> list[MessageView | float]:
        """Return one filler per parameter: a FillerParameter, or the constant that Caffe uses where none is written."""
        return []

    def reshape(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the tops' shapes for new bottoms, after checking that the parameters still fit.

        Raises
        ------
        ShapeError
            The bottoms ask for parameters of another shape than the layer has, or contradict one another.
        """
        tops = self.top_shapes(bottom_shapes)
        wanted = self.param_shapes(bottom_shapes)
        for index, (want, blob) in enumerate(zip(wanted, self.blobs, strict=True)):
            if want != tuple(blob.shape):
                raise ShapeError(
                    f"layer {self.spec.name!r} ({self.spec.type}): bottom {self.spec.bottoms[0]!r} is "
                    f"{bottom_shapes[0]}: that asks for a parameter {index} of shape {want}, "
                    f"the net has {tuple(blob.shape)}"
                )
        return tops

    @property
    def blobs(self) -> tuple[nn.Parameter, ...]:
        """The parameters in Caffe's order."""
        return tuple(self.blob(index) for index in range(self._num_blobs))

    def extra_repr(self) -> str:
        """Return bottoms, tops, the numbers that the prototxt gives, and the parameters' shapes."""
        numbers = [f"{name} {_shown(value)}" for name in vars(self.fields) if name in self.given
                   and _is_plain(value := getattr(self.fields, name))]  # fmt: skip
        blobs = ["x".join(map(str, blob.shape)) for blob in self.blobs]
        parts = [f"{', '.join(self.spec.bottoms)} -> {', '.join(self.spec.tops)}", ", ".join(numbers)]
        return "; ".join(part for part in (*parts, f"parameters {', '.join(blobs)}" if blobs else "") if part)

    def blob(self, index: int) -> nn.Parameter:
        """Return parameter `index`."""
        found = self._parameters[str(index)]
        assert found is not None
        return found

    def share_blob(self, index: int, owner: nn.Parameter) -> None:
        """Let parameter `index` be `owner`, another layer's parameter."""
        self._parameters[str(index)] = owner

    def fill_blob(self, index: int) -> None:
        """Run the filler of parameter `index`, drawing from torch's default generator."""
        fill(self.blob(index), self.fillers()[index], self.spec.name)


def _is_plain(value: Any) -> bool:
    """Whether a field's value is a number, a word, or several of them, rather than a message."""
    return all(isinstance(one, bool | int | float | str) for one in (value if isinstance(value, tuple) else (value,)))


def _shown(value: Any) -> str:
    return (
        " ".join(map(_shown, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _plain_fields(spec: LayerSpec, message: str) -> tuple[Any, frozenset[str]]:
    """Return a layer message's values as a namespace, and the names of the fields that were given."""
    if not message:
        return SimpleNamespace(), frozenset()
    try:
        view = getattr(spec.params, message)
    except AttributeError:
        raise LayerError(f"layer {spec.name!r} ({spec.type}): the file's dialect has no {message}") from None
    names = view.message().DESCRIPTOR.fields_by_name
    return SimpleNamespace(**{name: getattr(view, name) for name in names if not name.startswith("_")}), frozenset(
        name for name in names if view.has(name)
    )
