"""Layers written in Python: `type: "Python"`, with a class that has `setup`, `reshape`, `forward` and `backward`.

A net file alone never runs code. Its `python_param` names a module and a class; either the caller has registered that
class,

    @caffe.register_python_layer
    class EuclideanLossLayer(caffe.Layer): ...

or says that the named module may be imported: `caffe.Net(..., allow_python_layers=True)`, or
`install(allow_python_layers=True)` for the whole process.

The class works on blobs, in NumPy: it writes `top[i].data` in `forward` and `bottom[i].diff` in `backward`. Inside a
pycaffe `Net` these are the net's own blobs. In `load_net` and in the training loop an autograd function copies tensors
into blobs of the layer's own and back. In the training loop a Python layer without bottoms is a data layer: its tops
are made ahead of the net, batch by batch, as other data layers' are.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpm_port.caffe import LayerSpec
from cpm_port.errors import LayerError, UnsupportedLayerError, UsageError
from cpm_port.graph import LayerModule, Shape, register
from cpm_port.pycaffe.blobs import Blob, BlobVec, ParameterValues
from cpm_port.training.batches import STREAMS
from cpm_port.training.streams import Blobs, Task

__all__ = [
    "Layer",
    "PythonModule",
    "PythonStream",
    "allow_python_layers",
    "allowing_python_layers",
    "register_python_layer",
]

_C = TypeVar("_C", bound=Callable[..., Any])

_REGISTERED: dict[tuple[str | None, str], Callable[..., Any]] = {}
_allowed = False


class Layer:
    """A layer of a pycaffe net, and the base class of those written in Python.

    Attributes
    ----------
    type : str
        As the prototxt says.
    blobs : BlobVec
        The parameters; a Python layer appends to them in `setup`: `self.blobs.add_blob(3, 4)`.
    param_str : str
        `python_param`'s text for the layer; also as `param_str_`, its name in 2015.
    phase : int
        `caffe.TRAIN` or `caffe.TEST`.
    """

    def __init__(self, layer_param: Any = None) -> None:
        self.layer_param = layer_param

    type = "Python"
    param_str = param_str_ = ""
    phase = 0

    @property
    def blobs(self) -> BlobVec:
        """The layer's parameters."""
        found: BlobVec = self.__dict__.setdefault("_blobs", BlobVec())
        return found

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Check the bottoms and declare parameters; once, when the net is made."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give every top its shape; before every forward pass."""
        raise NotImplementedError(f"{type(self).__name__}: a Python layer needs a method reshape(bottom, top)")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Write the tops' data."""
        raise NotImplementedError(f"{type(self).__name__}: a Python layer needs a method forward(bottom, top)")

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Write the bottoms' diff from the tops'."""
        raise NotImplementedError(
            f"{type(self).__name__}: a Python layer needs a method backward(top, propagate_down, bottom) to be trained"
        )


def register_python_layer(layer: _C, module: str | None = None, name: str | None = None) -> _C:
    """Let nets use a class as a Python layer; also a decorator.

    Parameters
    ----------
    layer : class
        Usually a subclass of `Layer`.
    module : str, optional
        `python_param`'s `module` that it answers to; any, where none is given.
    name : str, optional
        `python_param`'s `layer`; the class's own name where none is given.
    """
    _REGISTERED[module, name or str(getattr(layer, "__name__", ""))] = layer
    return layer


def allow_python_layers(allowed: bool = True) -> None:
    """Say for the whole process whether nets may import the modules that their Python layers name."""
    global _allowed
    _allowed = allowed


@contextmanager
def allowing_python_layers(allowed: bool | None) -> Iterator[None]:
    """Say so for the nets that are made inside; None changes nothing."""
    global _allowed
    before = _allowed
    _allowed = before if allowed is None else allowed
    try:
        yield
    finally:
        _allowed = before


def _layer_class(spec: LayerSpec) -> Callable[..., Any]:
    """Return the class that a Python layer names.

    Raises
    ------
    UnsupportedLayerError
        Nobody registered it, and its module may not be imported.
    LayerError
        The module cannot be imported, or has no such class.
    """
    module, name = spec.params.python_param.module, spec.params.python_param.layer
    found = _REGISTERED.get((module, name)) or _REGISTERED.get((None, name))
    if found is not None:
        return found
    if not _allowed:
        raise UnsupportedLayerError(
            f"layer {spec.name!r}: a Python layer, {module}.{name}, that nobody has registered. A net file alone runs "
            f"no code: call caffe.register_python_layer({name}), or give allow_python_layers=True to import {module!r}"
        )
    try:
        resolved: Callable[..., Any] = pkgutil.resolve_name(f"{module}:{name}")  # the caller has allowed it
    except (ImportError, AttributeError, ValueError) as error:
        raise LayerError(f"layer {spec.name!r}: no Python layer {module}.{name}: {error}") from error
    return resolved


@register("Python", origin="upstream")
class PythonModule(LayerModule):
    """A Python layer among torch's modules.

    Attributes
    ----------
    layer : object
        The caller's object.
    own_bottoms, own_tops : list of Blob
        Blobs of the layer's own: what `setup` sees, and what `forward` copies through.
    """

    replayable = False  # the caller's code runs on the host

    def __init__(self, spec: LayerSpec, bottom_shapes: Sequence[Shape]) -> None:
        with torch.device("cpu"):  # also where the module is made for its shapes alone
            layer = _layer_class(spec)(spec.params.message())
            layer.param_str = layer.param_str_ = spec.params.python_param.param_str
            layer.phase = ("TRAIN", "TEST").index(spec.params.phase)
            bottoms = [Blob.of_shape(shape) for shape in bottom_shapes]
            own = dict(zip(spec.bottoms, bottoms, strict=True))
            tops = [own[name] if name in own else Blob.of_shape(()) for name in spec.tops]  # in place: the bottom
            layer.setup(bottoms, tops)
        self.layer, self.own_bottoms, self.own_tops = layer, bottoms, tops
        super().__init__(spec, bottom_shapes)
        for parameter, blob in zip(self.blobs, layer.blobs, strict=True):
            if not parameter.is_meta:
                blob.values.array()
                parameter.data.copy_(blob.values.tensor())
        self.bind()

    def bind(self) -> None:
        """Let the layer's blobs be the module's parameters, which sharing or a move may have replaced."""
        for parameter, blob in zip(self.blobs, self.layer.blobs, strict=True):
            behind = blob.values
            if not parameter.is_meta and not (
                isinstance(behind, ParameterValues)
                and behind.parameter is parameter
                and behind.device == parameter.device
            ):
                blob.values = ParameterValues(parameter)

    def param_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Return the shapes of what `setup` has added to `blobs`."""
        return [blob.shape for blob in self.layer.blobs]

    def fill_blob(self, index: int) -> None:
        """Leave what `setup` wrote."""

    def top_shapes(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Ask the layer's `reshape`."""
        for blob, shape in zip(self.own_bottoms, bottom_shapes, strict=True):
            blob.reshape(*shape)
        self.layer.reshape(self.own_bottoms, self.own_tops)
        return [blob.shape for blob in self.own_tops]

    def flops(self, bottom_shapes: list[Shape]) -> int | None:
        """Tell nothing."""
        return None

    def sees(self, bottom_shapes: list[Shape]) -> None:
        """Tell nothing."""
        return

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """Run the layer on copies."""
        self.bind()
        return tuple(_Run.apply(self, len(bottoms), *bottoms, *self.blobs))  # type: ignore[no-untyped-call]


class PythonStream:
    """Batches of a Python layer without bottoms; see `cpm_port.training.streams` for what a stream is.

    Every process makes whole batches and takes its rows of them, and a resumed run makes the batches before again and
    drops them: the layer's random numbers must come from a seed of its own.

    Parameters
    ----------
    layer : LayerSpec
    share : (int, int)
        (rank, world).

    Raises
    ------
    UsageError
        The processes cannot share a batch equally.
    """

    def __init__(self, layer: LayerSpec, share: tuple[int, int]) -> None:
        self._module = PythonModule(layer, [])
        self._tops, (self._rank, self._world) = layer.tops, share
        self.shapes = self._shapes(self._module.top_shapes([]))

    def _shapes(self, full: Sequence[Shape]) -> dict[str, Shape]:
        for shape in full:
            if self._world > 1 and (not shape or shape[0] % self._world):
                raise UsageError(
                    f"layer {self._module.spec.name!r}: {self._world} processes cannot share blobs of {shape} equally"
                )
        sizes = [(shape[0] // self._world, *shape[1:]) if shape else shape for shape in full]
        return dict(zip(self._tops, sizes, strict=True))

    def skip(self) -> None:
        """Make a batch and drop it."""
        self._module.forward()

    def plan(self) -> list[Task]:
        """Make the next batch, here: the layer is one object and goes from batch to batch."""
        tops = [top.numpy() for top in self._module.forward()]
        self.shapes = self._shapes([top.shape for top in tops])
        return [functools.partial(self._give, tops)]

    def _give(self, tops: Sequence[NDArray[np.float32]], blobs: Blobs) -> Sequence[str]:
        for name, values in zip(self._tops, tops, strict=True):
            size = len(values) // self._world if values.ndim else 0
            blobs[name][...] = values[self._rank * size : (self._rank + 1) * size] if values.ndim else values
        return []


STREAMS["Python"] = PythonStream


class _Run(torch.autograd.Function):
    """The layer's `forward` and `backward` between tensors."""

    @staticmethod
    def forward(ctx: Any, module: PythonModule, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.module, ctx.count = module, count
        bottoms, tops = module.own_bottoms, module.own_tops
        ctx.kept = [tensor.detach().clone() for tensor in tensors[:count]]
        for blob, tensor in zip(bottoms, ctx.kept, strict=True):
            blob.values.store(tensor)
        module.layer.reshape(bottoms, tops)
        module.layer.forward(bottoms, tops)
        device = ctx.kept[0].device if ctx.kept else torch.device("cpu")
        return tuple(blob.values.tensor().clone().to(device) for blob in tops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        module = ctx.module
        bottoms, tops, parameters = module.own_bottoms, module.own_tops, list(module.layer.blobs)
        for blob, gradient in zip(tops, gradients, strict=True):
            blob.gradient.store(gradient)
        for blob in [*bottoms, *parameters]:
            if blob not in tops:
                blob.gradient.clear()
        wanted = ctx.needs_input_grad[2:]
        module.layer.backward(tops, list(wanted[: ctx.count]), bottoms)
        found = [blob.gradient.tensor().clone() for blob in [*bottoms, *parameters]]
        return None, None, *(one if want else None for one, want in zip(found, wanted, strict=True))
