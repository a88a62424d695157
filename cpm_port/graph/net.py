"""CaffeNet: a whole Caffe net as an `nn.Module` from named blobs to named blobs.

The layers run in the file's order over a table of blobs. An in-place layer rebinds its blob's name and
overwrites nothing, so autograd finds every value it needs; asking for such a blob gives its last content, as
in Caffe. A blob that no later layer reads and the caller did not ask for is freed at once.

Inputs reshape like Caffe's: another batch or image size is taken as it comes. The shapes of all blobs are
then worked out first, in integers, and every contradiction is a `ShapeError` or `LayerError` that names the
layer, before anything runs.

`spec.phase` decides which layers there are, and whether Dropout and BatchNorm train. In a net of phase TRAIN `eval()`
and `train()` turn that off and on, as in any module; in one of phase TEST they change nothing: to train, load the net
with phase="TRAIN".
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from cpm_port.caffe import LayerSpec, NetSpec
from cpm_port.caffe.liveness import released
from cpm_port.caffe.shapes import fitting
from cpm_port.errors import DataError, LayerError, ShapeError, UsageError
from cpm_port.graph.module import LayerModule, Shape
from cpm_port.graph.registry import builder_of, require_supported
from cpm_port.graph.sharing import ParamInfo, link_shared
from cpm_port.graph.sources import is_source, source_shapes
from cpm_port.graph.weights import Source, WeightsReport, load_into, module_key, save_params

__all__ = ["CaffeNet", "Step"]

Blob = Tensor | NDArray[np.generic]


@dataclass(frozen=True)
class Step:
    """One layer in the net's order.

    Attributes
    ----------
    spec : LayerSpec
    key : str
        The key of its module in the net: `net.get_submodule(key)`.
    detached : tuple of int
        Positions of the bottoms that get no gradient: `propagate_down: false`, unless the net has `force_backward`.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> net.steps[0].spec.type
    'Slice'
    """

    spec: LayerSpec
    key: str
    detached: tuple[int, ...]


class CaffeNet(nn.Module):
    """A Caffe net; made by `load_net`, which also gives the parameters their values.

    Parameters
    ----------
    spec : NetSpec
    input_shapes : mapping of str to tuple of int, optional
        Shapes of inputs that the prototxt does not tell, or other ones than it tells.
    strict : bool
        Whether fields that the schema lacks and that may change what a layer computes are an error; else a warning.

    Attributes
    ----------
    spec : NetSpec
    inputs : dict of str to tuple of int
        Every input that a call must give, with the shape the net was built for: tops of Input and data layers.
    data_layers : tuple of LayerSpec
        The data layers whose tops are inputs (CPMData, HDF5Data, ...), for the code that reads the data.
    steps : tuple of Step
        The layers that compute, in order.
    loss_weights : dict of str to float
        Blobs that count in the total loss, with their weights.
    referring : set of (str, int)
        Layer and index of parameters that belong to an earlier layer (shared by name).
    weights_report : WeightsReport or None
        What the last loading of weights did.

    Raises
    ------
    UnsupportedLayerError
        For layers that the registry lacks, or that have fields of unknown meaning; all of them in one message.
    LayerError, ShapeError
        For layers that contradict themselves or their bottoms.

    Examples
    --------
    >>> import torch
    >>> from cpm_port import load_net
    >>> from cpm_port.caffe import parse_net
    >>> text = 'input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 4 '
    >>> text += 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    >>> net = load_net(parse_net(text))
    >>> {name: tuple(blob.shape) for name, blob in net(torch.zeros(2, 3, 5, 5)).items()}
    {'y': (2, 3, 5, 5)}
    """

    def __init__(self, spec: NetSpec, input_shapes: Mapping[str, Shape] | None = None, *, strict: bool = True) -> None:
        super().__init__()
        require_supported(spec, strict=strict)
        self.spec = spec
        self.inputs = source_shapes(spec, input_shapes or {})
        self.data_layers = tuple(layer for layer in spec.layers if is_source(layer) and layer.type != "Input")
        self.loss_weights = {
            top: weight
            for layer in spec.layers
            for top, weight in zip(layer.tops, layer.loss_weights, strict=True)
            if weight
        }
        self.weights_report: WeightsReport | None = None
        self._blob_shapes = dict(self.inputs)
        self._current_inputs = dict(self.inputs)
        steps = []
        with_blobs: set[str] = set()
        repeats: dict[str, int] = {}
        for layer in spec.layers:
            if not is_source(layer):
                module = self._build(layer)
                if module.blobs and layer.name in with_blobs:
                    raise LayerError(f"{spec.source}: two layers with parameters are named {layer.name!r}")
                if module.blobs:
                    with_blobs.add(layer.name)
                key = module_key(layer.name) + "'" * repeats.get(layer.name, 0)
                while key in self._modules:
                    key += "'"
                repeats[layer.name] = repeats.get(layer.name, 0) + 1
                self._modules[key] = module
                flags = () if spec.force_backward else layer.params.propagate_down
                steps.append(Step(layer, key, tuple(index for index, propagate in enumerate(flags) if not propagate)))
        self.steps = tuple(steps)
        self._infos, self.referring = link_shared(self._layer_modules())
        self.train(spec.phase == "TRAIN")
        for module in self._layer_modules():
            module.training = module.training_phase  # a layer may have a phase of its own

    def _build(self, layer: LayerSpec) -> LayerModule:
        """Make one layer's module and note the shapes of its tops."""
        bottom_shapes = [self._blob_shapes[bottom] for bottom in layer.bottoms]
        with fitting(layer, bottom_shapes):
            module = builder_of(layer)(layer, bottom_shapes)
            self._blob_shapes.update(zip(layer.tops, module.reshape(bottom_shapes), strict=True))
        return module

    def _layer_modules(self) -> list[LayerModule]:
        return [module for module in self._modules.values() if isinstance(module, LayerModule)]

    # What the net is

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """All layers of the net in order, sources included; each has `.name` and `.type`."""
        return self.spec.layers

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the net's outputs: the blobs that no layer reads."""
        return self.spec.outputs

    @property
    def blob_shapes(self) -> dict[str, Shape]:
        """Shape of every blob for the inputs of the last call; before the first, for the declared ones."""
        return dict(self._blob_shapes)

    @property
    def params(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Layer name -> its parameters (live, not copies), for the layers that have any."""
        return {module.spec.name: module.blobs for module in self._layer_modules() if module.blobs}

    def param_info(self) -> list[ParamInfo]:
        """Return the learnable parameters in Caffe's order, shared ones once, with their multipliers."""
        return list(self._infos)

    # Weights

    def load_weights(self, source: Source, *, strict: bool = True, skip_misfits: bool = False) -> WeightsReport:
        """Replace the parameters' values by those of a file or mapping, matched by layer name.

        Parameters
        ----------
        source : path-like or mapping
            .caffemodel (any generation), .caffemodel.h5, .safetensors, or layer name -> arrays.
        strict : bool
            Whether layers of the net that the source lacks are an error. Source layers that the net lacks never are.
        skip_misfits : bool
            Leave layers as they are whose counts or shapes do not fit, and report them, instead of raising.

        Raises
        ------
        WeightsError
            Missing layers, counts or shapes that do not fit; one message lists all.
        """
        self.weights_report = load_into(
            self.params, self.referring, self.spec, source, strict=strict, skip_misfits=skip_misfits
        )
        return self.weights_report

    def fill(self, layers: Iterable[str] | None = None) -> None:
        """Run the fillers of the named layers' parameters, or of all, in Caffe's order, from torch's generator."""
        chosen = None if layers is None else set(layers)
        for module in self._layer_modules():
            if chosen is None or module.spec.name in chosen:
                for index in range(len(module.blobs)):
                    if (module.spec.name, index) not in self.referring:
                        module.fill_blob(index)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters by suffix: `.caffemodel`, `.h5` or `.safetensors`."""
        save_params(self.params, self.spec, path)

    # Running

    def forward(self, inputs: Mapping[str, Blob] | Blob, blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Run the net.

        Parameters
        ----------
        inputs : mapping of str to Tensor or ndarray
            Every input of the net, floats; a bare tensor or array where the net has one input. Arrays are
            moved to the net's dtype and device, tensors must have them.
        blobs : sequence of str, optional
            Names of further blobs to return.

        Returns
        -------
        dict of str to Tensor
            The net's outputs in Caffe's order, then blobs that count in the loss without being outputs (the top
            of a loss layer that names none is `(automatic) <layer>`), then `blobs`.

        Raises
        ------
        UsageError
            Unknown or missing input names, unknown blob names.
        ShapeError, LayerError
            Inputs that some layer cannot take.
        DataError
            Values that are not floats, or tensors of another dtype or device than the net's.
        """
        if _is_followed(inputs):
            return self._follow(inputs)
        table = self.take_inputs(inputs)
        wanted = self._wanted(blobs)
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):  # type: ignore[attr-defined, no-untyped-call]
            self._reshape({name: tuple(tensor.shape) for name, tensor in table.items()})
        drops = released([(step.spec.bottoms, step.spec.tops) for step in self.steps], kept=wanted)
        for position, (step, drop) in enumerate(zip(self.steps, drops, strict=True)):
            bottoms = [table[bottom] for bottom in step.spec.bottoms]
            for index in step.detached:
                bottoms[index] = bottoms[index].detach()
            module: LayerModule = self._modules[step.key]  # type: ignore[assignment]
            tops = module(*bottoms)
            table.update(zip(step.spec.tops, tops, strict=True))
            if module.shaped_by_values:
                self._reshape_behind(position, {name: tuple(tensor.shape) for name, tensor in table.items()})
            del bottoms, tops
            for name in drop:
                del table[name]
        return {name: table[name] for name in wanted}

    def _follow(self, inputs: Any) -> dict[str, Any]:
        """Write down for `torch.fx.symbolic_trace` how the blobs go through the layers, each a node of its own.

        `inputs` stands for a bare tensor where the net has one input, for a dict by name where it has several.
        """
        names = list(self.inputs)
        table = {names[0]: inputs} if len(names) == 1 else {name: inputs[name] for name in names}
        for step in self.steps:
            path = inputs.tracer.path_of_module(self._modules[step.key])
            bottoms = tuple(table[bottom] for bottom in step.spec.bottoms)
            tops = inputs.tracer.create_proxy("call_module", path, bottoms, {})
            table.update({top: tops[index] for index, top in enumerate(step.spec.tops)})
        return {name: table[name] for name in self._wanted(None)}

    def extra_repr(self) -> str:
        """Return the inputs and outputs; the layers follow, each with its shape."""
        inputs = ", ".join(f"{name} {_times(shape)}" for name, shape in self.inputs.items())
        outputs = ", ".join(f"{name} {_times(self._blob_shapes[name])}" for name in self.outputs)
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"{self.spec.name or 'net'}: {inputs} -> {outputs}; {count:,} parameters"

    def total_loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of every loss blob times its weight.

        Raises
        ------
        UsageError
            `outputs` is not what the net returned: it lacks a loss blob; or the net has no loss.
        """
        missing = [name for name in self.loss_weights if name not in outputs]
        if missing or not self.loss_weights:
            raise UsageError(
                f"{self.spec.source}: outputs lack the loss blobs {missing}"
                if missing
                else f"{self.spec.source}: no loss"
            )
        terms = [weight * outputs[name].sum() for name, weight in self.loss_weights.items()]
        return torch.stack(terms).sum()

    def take_inputs(self, inputs: Mapping[str, Blob] | Blob) -> dict[str, Tensor]:
        """Return the inputs by name as tensors of the net; errors as of `forward`."""
        if not isinstance(inputs, Mapping):
            if len(self.inputs) != 1:
                raise UsageError(
                    f"{self.spec.source}: a bare tensor for inputs {list(self.inputs)}; give a dict by name"
                )
            inputs = {next(iter(self.inputs)): inputs}
        if inputs.keys() != self.inputs.keys():
            missing = [name for name in self.inputs if name not in inputs]
            unknown = [name for name in inputs if name not in self.inputs]
            raise UsageError(
                f"{self.spec.source}: the net's inputs are {list(self.inputs)}; missing {missing}, unknown {unknown}"
            )
        like = next(iter([*self.parameters(), None]))  # TorchDynamo before torch 2.5 knows no `next` with a default
        table = {name: _as_tensor(name, inputs[name], like) for name in self.inputs}
        for name, tensor in table.items():
            if tensor.dim() != len(self.inputs[name]):
                raise ShapeError(
                    f"{self.spec.source}: input {name!r} is {tuple(tensor.shape)}, expected "
                    f"{len(self.inputs[name])} axes as in {self.inputs[name]}"
                )
        return table

    def _wanted(self, blobs: Sequence[str] | None) -> list[str]:
        if isinstance(blobs, str):
            raise UsageError(f"blobs is the string {blobs!r}, expected a list of names")
        wanted = list(dict.fromkeys((*self.spec.outputs, *self.loss_weights, *(blobs or ()))))
        for name in wanted:
            if name not in self._blob_shapes:
                near = difflib.get_close_matches(name, self._blob_shapes)
                raise UsageError(
                    f"{self.spec.source}: no blob {name!r}" + (f"; near: {', '.join(near)}" if near else "")
                )
        return wanted

    def _reshape_behind(self, position: int, shapes: dict[str, Shape]) -> None:
        """Work out the shapes behind a layer whose tops' sizes are known only now that it has run."""
        following = list(zip(self.steps, self._layer_modules(), strict=True))[position + 1 :]
        for step, module in following:
            tops = module.reshape([shapes[bottom] for bottom in step.spec.bottoms])
            shapes.update(zip(step.spec.tops, tops, strict=True))
        self._blob_shapes |= shapes

    def _reshape(self, inputs: dict[str, Shape]) -> None:
        """Work out all shapes for other inputs than the last ones."""
        if inputs == self._current_inputs:
            return
        shapes = dict(inputs)
        try:
            for step, module in zip(self.steps, self._layer_modules(), strict=True):
                tops = module.reshape([shapes[bottom] for bottom in step.spec.bottoms])
                shapes.update(zip(step.spec.tops, tops, strict=True))
        except (LayerError, ShapeError) as error:
            raise type(error)(f"{error}{self._given_otherwise(inputs)}") from error
        self._current_inputs, self._blob_shapes = inputs, shapes

    def _given_otherwise(self, inputs: Mapping[str, Shape]) -> str:
        """Return which inputs have another number of channels than declared, as the end of a sentence."""
        return "".join(
            f"; input {name!r} is {shape}, the net says {self.inputs[name]}"
            for name, shape in inputs.items()
            if shape[1:2] != self.inputs[name][1:2]
        )


def _is_followed(inputs: object) -> bool:
    """Whether `torch.fx` follows the net: its inputs stand for tensors."""
    return isinstance(inputs, fx.Proxy)


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _as_tensor(name: str, value: Blob, like: Tensor | None) -> Tensor:
    """Return an input as a float tensor that suits the net's parameters."""
    is_tensor = isinstance(value, Tensor)
    array = value if isinstance(value, Tensor) else np.asarray(value)
    if not (array.is_floating_point() if isinstance(array, Tensor) else array.dtype.kind == "f"):
        raise DataError(f"input {name!r} holds {array.dtype}, expected floats, prepared as the model needs them")
    if not isinstance(array, Tensor):
        writable = array if array.flags.writeable and array.flags.aligned else array.copy()
        dtype, device = (like.dtype, like.device) if like is not None else (torch.float32, None)
        return torch.from_numpy(np.ascontiguousarray(writable)).to(device=device, dtype=dtype)
    if is_tensor and like is not None:
        if array.device != like.device:
            raise DataError(f"input {name!r} is on {array.device}, the net on {like.device}")
        if array.dtype != like.dtype and not torch.is_autocast_enabled(array.device.type):
            raise DataError(f"input {name!r} is {array.dtype}, the net is {like.dtype}")
    return array
