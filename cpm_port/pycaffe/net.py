"""Net: pycaffe's `caffe.Net` on PyTorch.

    net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
    net.blobs["data"].reshape(1, 3, 368, 368)
    net.blobs["data"].data[...] = image
    maps = net.forward()["Mconv7_stage6"]

Layers, shapes, fillers and files are those of `cpm_port.graph`; here they get Caffe's faces: blobs that last, passes
over a range of layers, gradients of every blob.

*Source*: BVLC/caffe@9b89154 python/caffe/pycaffe.py, _caffe.cpp, src/caffe/net.cpp: names, arguments, order of events,
types of exceptions. Differs: the Split layers that Caffe inserts do not appear among `layers` and `blobs`; a problem
that ends the process in Caffe raises here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.caffe import NetSpec, read_net, write_weights
from cpm_port.errors import MissingFileError, UsageError
from cpm_port.graph import CaffeNet, LayerModule, ParamInfo
from cpm_port.pycaffe import modes
from cpm_port.pycaffe.blobs import Blob, BlobVec
from cpm_port.pycaffe.making import PHASES, make_net, open_sources
from cpm_port.pycaffe.python_layer import allowing_python_layers
from cpm_port.pycaffe.steps import (
    LayerStep,
    MemoryStep,
    ModuleStep,
    PythonStep,
    Written,
)

__all__ = ["TEST", "TRAIN", "Net", "require_openable"]

TRAIN, TEST = 0, 1
_MOMENTS = ("before_forward", "after_forward", "before_backward", "after_backward")
Arrays = dict[str, NDArray[np.float32]]
Callback = Callable[[int], object]


class _NoFileError(MissingFileError, RuntimeError):
    """A file is not there: pycaffe raises a RuntimeError, Python code expects a FileNotFoundError."""


class Net:
    """A Caffe net: `Net(file, phase)`, `Net(file, phase, weights=...)`, or the older `Net(file, weights, phase)`.

    Parameters
    ----------
    network_file : path-like or NetSpec
        A prototxt, or a net that was read already.
    phase : int
        `caffe.TRAIN` or `caffe.TEST`.
    level : int
        For the layers' `min_level` and `max_level` rules.
    stages : sequence of str
        For their `stage` and `not_stage` rules.
    weights : path-like
        A .caffemodel or HDF5 file; layers that it lacks keep their fillers' values.
    allow_python_layers : bool
        Whether Python layers may import the module that the file names; None leaves it to `install`'s setting.

    Raises
    ------
    RuntimeError
        A file is not there.
    CpmPortError
        One of its leaves: a net or weights that cannot be used.
    """

    def __init__(
        self,
        network_file: str | os.PathLike[str] | NetSpec,
        *phase_or_weights: Any,
        phase: int | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        allow_python_layers: bool | None = None,
    ) -> None:
        phase, weights = _told_apart(phase_or_weights, phase, weights)
        if phase is None and isinstance(network_file, NetSpec):
            phase = PHASES.index(network_file.phase)
        if phase not in (TRAIN, TEST):
            raise TypeError(f"Net's phase is {phase!r}; expected caffe.TRAIN or caffe.TEST")
        if isinstance(network_file, NetSpec):
            self._spec = network_file
        else:
            require_openable(network_file)
            self._spec = read_net(network_file, phase=PHASES[phase], level=level, stages=list(stages or ()))
        for note in self._spec.unknown:
            modes.warn(note)
        self._device = modes.current_device()
        sources = open_sources(self._spec)
        shapes = {top: shape for source in sources.values() for top, shape in source.shapes.items()}
        with allowing_python_layers(allow_python_layers):
            self._core = CaffeNet(self._spec, shapes)
        if weights is None:
            self._core.fill()
        else:
            require_openable(weights)
            self._core.fill(self._core.load_weights(weights, strict=False).missing)
        self._core.to(self._device)
        if self._spec.force_backward:  # frozen parameters get gradients, too; BatchNorm's sums never do
            for parameter in (p for m in self._modules() if m.spec.type != "BatchNorm" for p in m.blobs):
                parameter.requires_grad_()
        self._steps, self._blob_dict, self._parameter_blobs = make_net(self._spec, self._core, sources, self._device)
        self._callbacks: dict[str, list[Callback]] = {moment: [] for moment in _MOMENTS}
        self.layers: list[Any] = [step.layer for step in self._steps]

    def _modules(self) -> list[LayerModule]:
        return [self._core.get_submodule(step.key) for step in self._core.steps]  # type: ignore[misc]

    # What the net is

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """Every blob by name, in the net's order; of one that layers change in place, its last content."""
        return self._blob_dict

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """What every blob counts in the loss."""
        return OrderedDict((name, blob.loss_weight) for name, blob in self._blob_dict.items())

    @property
    def layer_dict(self) -> OrderedDict[str, Any]:
        """Every layer by name."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @property
    def params(self) -> OrderedDict[str, BlobVec]:
        """Layer name -> its parameters, for the layers that have any."""
        return OrderedDict(
            (step.spec.name, step.layer.blobs) for step in self._steps if isinstance(step, ModuleStep | PythonStep)
            and step.layer.blobs
        )  # fmt: skip

    @property
    def inputs(self) -> list[str]:
        """Names of the blobs that the caller fills: tops of Input layers."""
        return [name for name in self._core.inputs if self._producer(name).spec.type == "Input"]

    @property
    def outputs(self) -> list[str]:
        """Names of the blobs that no layer reads."""
        return list(self._spec.outputs)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its tops."""
        return OrderedDict((step.spec.name, list(step.spec.tops)) for step in self._steps)

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its bottoms."""
        return OrderedDict((step.spec.name, list(step.spec.bottoms)) for step in self._steps)

    @property
    def _layer_names(self) -> list[str]:
        return [step.spec.name for step in self._steps]

    @property
    def _blob_names(self) -> list[str]:
        return list(self._blob_dict)

    @property
    def _blobs(self) -> BlobVec:
        return BlobVec(self._blob_dict.values())

    @property
    def _inputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.outputs]

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    def _top_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._steps[layer].spec.tops]

    def _bottom_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self._steps[layer].spec.bottoms]

    def _producer(self, name: str) -> LayerStep:
        return next(step for step in self._steps if name in step.spec.tops)

    # Running

    def forward(
        self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **inputs: Any
    ) -> Arrays:
        """Run the net, or its layers from `start` to `end`, both included.

        Parameters
        ----------
        blobs : sequence of str, optional
            Further blobs to return.
        start, end : str, optional
            Names of layers. What stands in the blobs before `start` is taken as it is.
        **inputs : array
            Blob name -> values; all inputs or none.

        Returns
        -------
        dict of str to ndarray
            The net's outputs, or the tops of `end`, and `blobs`: the blobs' own arrays, not copies.

        Raises
        ------
        Exception
            Inputs that are not the net's, or not of its batch size.
        ValueError
            No layer of that name.
        """
        names = self._layer_names
        first = names.index(start) if start is not None else 0
        last = names.index(end) if end is not None else len(names) - 1
        wanted = [*(self.outputs if end is None else self.top_names[end]), *(blobs or [])]
        if inputs:
            if set(inputs) != set(self.inputs):
                raise Exception("Input blob arguments do not match net inputs.")
            for name, values in inputs.items():
                if np.shape(values)[:1] != self.blobs[name].shape[:1]:
                    raise Exception("Input is not batch sized")
                self.blobs[name].data[...] = values
        self._forward(first, last)
        return {name: self.blobs[name].data for name in wanted}

    def backward(
        self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **top_diffs: Any
    ) -> Arrays:
        """Run backward through the net, or from layer `start` down to layer `end`.

        The gradients start from what stands in the outputs' `diff`: losses have their weight there from the beginning.
        Parameters' gradients add up until `clear_param_diffs`.

        Parameters
        ----------
        diffs : sequence of str, optional
            Further blobs whose gradient to return.
        start, end : str, optional
            Names of layers.
        **top_diffs : array
            Output name -> its gradient; all outputs or none.

        Returns
        -------
        dict of str to ndarray
            The gradients of the net's inputs, or of the bottoms of `end`, and of `diffs`.

        Raises
        ------
        Exception
            Gradients of blobs that are no outputs, or not of their batch size.
        ValueError
            No layer of that name.
        """
        names = self._layer_names
        first = names.index(start) if start is not None else len(names) - 1
        last = names.index(end) if end is not None else 0
        wanted = [*(self.inputs if end is None else self.bottom_names[end]), *(diffs or [])]
        if top_diffs:
            if set(top_diffs) != set(self.outputs):
                raise Exception("Top diff arguments do not match net outputs.")
            for name, values in top_diffs.items():
                if np.shape(values)[:1] != self.blobs[name].shape[:1]:
                    raise Exception("Diff is not batch sized")
                self.blobs[name].diff[...] = values
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def _forward(self, first: int, last: int) -> float:
        """Run layers number `first` to `last`; return the sum of the losses among them."""
        loss = 0.0
        self._sync_parameters()
        with torch.no_grad():
            for index in range(first, last + 1):
                self._call("before_forward", index)
                step = self._steps[index]
                step.forward(last)
                for blob, weight in zip(step.tops, step.spec.loss_weights, strict=True):
                    if weight:
                        loss += weight * float(blob.values.tensor().sum())
                self._call("after_forward", index)
        return loss

    def _backward(self, first: int, last: int) -> None:
        """Run layers number `first` down to `last` backward."""
        written: Written = set()
        self._sync_parameters()
        for index in range(first, last - 1, -1):
            self._call("before_backward", index)
            if self._steps[index].visit.needed:
                self._steps[index].backward(written)
            self._call("after_backward", index)

    def forward_all(self, blobs: Sequence[str] | None = None, **inputs: Any) -> Arrays:
        """Run any number of examples through the net, in batches; the last one is filled up with zeros.

        Returns
        -------
        dict of str to ndarray
            Outputs and `blobs`, one row per example.
        """
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in [*self.outputs, *(blobs or [])]}
        for batch in self._batches(inputs):
            for name, values in self.forward(blobs=blobs, **batch).items():
                parts[name].extend(values.copy())
        return _rows(parts, len(next(iter(inputs.values()))))

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **arrays: Any
    ) -> tuple[Arrays, Arrays]:
        """Run any number of examples forward and backward, in batches.

        Parameters
        ----------
        blobs, diffs : sequence of str, optional
            Further blobs and gradients to return.
        **arrays : array
            Input name -> values, and output name -> gradients.

        Returns
        -------
        (dict, dict)
            Outputs and `blobs`; gradients of the inputs and `diffs`; one row per example.
        """
        outs: dict[str, list[Any]] = {name: [] for name in [*self.outputs, *(blobs or [])]}
        gradients: dict[str, list[Any]] = {name: [] for name in [*self.inputs, *(diffs or [])]}
        forward = self._batches({name: arrays[name] for name in self.inputs if name in arrays})
        backward = self._batches({name: arrays[name] for name in self.outputs if name in arrays})
        for batch, tops in zip(forward, backward, strict=False):
            for name, values in self.forward(blobs=blobs, **batch).items():
                outs[name].extend(values.copy())
            for name, values in self.backward(diffs=diffs, **tops).items():
                gradients[name].extend(values.copy())
        count = len(next(iter(arrays.values())))
        return _rows(outs, count), _rows(gradients, count)

    def _batches(self, arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Cut arrays into batches of the size of the net's first blob; the last one is filled up with zeros."""
        if not arrays:
            raise Exception("Input blob arguments do not match net inputs.")
        count = len(next(iter(arrays.values())))
        size = next(iter(self.blobs.values())).shape[0]
        for begin in range(0, count, size):
            batch = {name: np.asarray(values[begin : begin + size]) for name, values in arrays.items()}
            missing = size - len(next(iter(batch.values())))
            yield {
                name: np.concatenate([values, np.zeros((missing, *values.shape[1:]))]) if missing else values
                for name, values in batch.items()
            }

    def reshape(self) -> None:
        """Carry changed shapes of the inputs through all layers, without computing."""
        for step in self._steps:
            step.reshape()

    def clear_param_diffs(self) -> None:
        """Set the parameters' gradients to zero."""
        for blob in self._parameter_blobs.values():
            if blob.has_gradient:
                blob.gradient.clear()

    def set_input_arrays(self, data: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Give the first layer, a MemoryData, the arrays to take batches from.

        Parameters
        ----------
        data : ndarray, shape (n, C, H, W), float32
        labels : ndarray, shape (n,) or (n, 1, 1, 1), float32

        Raises
        ------
        RuntimeError
            The first layer is another one, or the arrays do not fit it.
        """
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, None, None, None])
        first = self._steps[0]
        if not isinstance(first, MemoryStep):
            raise RuntimeError("set_input_arrays may only be called if the first layer is a MemoryDataLayer")
        first.give(data, labels)

    # Callbacks, with the layer's number

    def before_forward(self, callback: Callback) -> None:
        """Call `callback(layer number)` before every layer of a forward pass."""
        self._callbacks["before_forward"].append(callback)

    def after_forward(self, callback: Callback) -> None:
        """Call it after every layer of a forward pass."""
        self._callbacks["after_forward"].append(callback)

    def before_backward(self, callback: Callback) -> None:
        """Call it before every layer of a backward pass."""
        self._callbacks["before_backward"].append(callback)

    def after_backward(self, callback: Callback) -> None:
        """Call it after every layer of a backward pass."""
        self._callbacks["after_backward"].append(callback)

    def _call(self, moment: str, index: int) -> None:
        for callback in self._callbacks[moment]:
            callback(index)

    # Weights

    def copy_from(self, path: str | os.PathLike[str]) -> None:
        """Take the weights of a .caffemodel or HDF5 file, by layer name; layers that it lacks stay as they are.

        Raises
        ------
        RuntimeError
            There is no such file.
        WeightsError
            Arrays of other counts or shapes than the net's.
        """
        require_openable(path)
        self._sync_parameters()
        self._core.load_weights(path, strict=False)

    load_hdf5 = copy_from

    def share_with(self, other: Net) -> None:
        """Let the parameters be those of another net, by layer name; what either changes, both have.

        Raises
        ------
        UsageError
            Layers of one name whose parameters have other counts or shapes.
        """
        theirs = {module.spec.name: module for module in other._modules()}
        for module in self._modules():
            source = theirs.get(module.spec.name)
            if source is None or not module.blobs:
                continue
            mine, wanted = ([tuple(p.shape) for p in m.blobs] for m in (module, source))
            if mine != wanted:
                raise UsageError(
                    f"share_with: layer {module.spec.name!r} has parameters {mine}, the other net {wanted}"
                )
            for parameter, owner in zip(module.blobs, source.blobs, strict=True):
                parameter.data = owner.data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net and its weights as a binary .caffemodel, whatever the file's suffix."""
        self._sync_parameters()
        write_weights(path, self._arrays(), self._spec)

    def save_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as HDF5, whatever the file's suffix."""
        from cpm_port.caffe.hdf5 import write_weight_groups

        arrays = self._arrays()
        write_weight_groups(path, {name: arrays.get(name, []) for name in self._layer_names})

    def _arrays(self) -> dict[str, list[NDArray[np.float32]]]:
        return {name: [blob.data for blob in blobs] for name, blobs in self.params.items()}

    def _sync_parameters(self) -> None:
        """On a GPU, send what was written into parameters' arrays."""
        if self._device.type != "cpu":
            for blob in self._parameter_blobs.values():
                blob.values.tensor()

    # For solvers

    @property
    def learnable(self) -> list[ParamInfo]:
        """The parameters that are trained, in Caffe's order, with their multipliers."""
        return self._core.param_info()

    def gradient_of(self, parameter: nn.Parameter) -> Tensor:
        """Return what stands in a parameter's `diff`."""
        return self._parameter_blobs[parameter].gradient.tensor()

    def __getattr__(self, name: str) -> NoReturn:
        if name in _ABSENT:
            raise NotImplementedError(f"caffe.Net.{name}: {_ABSENT[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_ABSENT = {
    "add_nccl": "training over several GPUs through NCCL is not here; `cpm-port train` runs under torchrun",
    "debug_info": "Caffe's printing of every blob's mean is not here; use net.after_forward(callback)",
}


def _told_apart(
    positional: Sequence[Any], phase: int | None, weights: str | os.PathLike[str] | None
) -> tuple[int | None, str | os.PathLike[str] | None]:
    """Return phase and weights, some of them told by their types: older and newer pycaffe order them differently."""
    for value in positional:
        if isinstance(value, str | os.PathLike) and weights is None:
            weights = value
        elif isinstance(value, int | np.integer) and phase is None:
            phase = int(value)
        else:
            raise TypeError(f"Net takes a file, weights and one phase; found {positional!r}")
    return phase, weights


def _rows(parts: Mapping[str, list[Any]], count: int) -> Arrays:
    return {name: np.asarray(rows[:count]) for name, rows in parts.items()}


def require_openable(path: str | os.PathLike[str]) -> None:
    """Raise pycaffe's error where there is no such file."""
    if not os.path.isfile(path):
        raise _NoFileError(f"Could not open file {os.fspath(path)}")
