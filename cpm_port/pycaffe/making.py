"""From a net's layers to the blobs and steps of a pycaffe net: what `caffe.Net` does once, before the first pass.

A blob lasts: layers that write to one name, in place or one after another, share it, and layers that Caffe lets share
memory see each other's values. Data layers that read files are opened each by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn

from cpm_port.caffe import LayerSpec, NetSpec
from cpm_port.graph import DATA_TYPES, CaffeNet, LayerModule, Shape, is_source
from cpm_port.pycaffe import modes
from cpm_port.pycaffe.blobs import Blob, BlobValues, ParameterValues
from cpm_port.pycaffe.gradients import plan_backward
from cpm_port.pycaffe.python_layer import Layer, PythonModule
from cpm_port.pycaffe.steps import DummyStep, FileStep, LayerStep, MemoryStep, ModuleStep, PythonStep, shares_memory
from cpm_port.training.batches import DataSource, open_data_layers

__all__ = ["PHASES", "Made", "make_net", "open_sources"]

PHASES = ("TRAIN", "TEST")
"""Their names, by pycaffe's numbers."""

_FROM_MEMORY = ("DummyData", "Input", "MemoryData")


class Made(NamedTuple):
    """A net's steps in their order, its blobs by name, and its parameters' blobs."""

    steps: list[LayerStep]
    blobs: OrderedDict[str, Blob]
    parameters: dict[nn.Parameter, Blob]


def open_sources(spec: NetSpec) -> dict[str, DataSource]:
    """Open the layers that read files, each by itself: layer name -> its batches."""
    return {
        layer.name: open_data_layers(replace(spec, layers=(layer,)), phase=spec.phase, seed=modes.current_seed())
        for layer in spec.layers
        if is_source(layer) and layer.type in DATA_TYPES and layer.type not in _FROM_MEMORY
    }


def make_net(spec: NetSpec, core: CaffeNet, sources: Mapping[str, DataSource], device: torch.device) -> Made:
    """Make a net's steps and blobs.

    Parameters
    ----------
    spec : NetSpec
    core : CaffeNet
        Its modules, with their weights, on the device.
    sources : mapping of str to DataSource
        Of `open_sources`.
    device : torch.device
    """
    modules = {id(step.spec): core.get_submodule(step.key) for step in core.steps}
    ordered = [modules.get(id(layer)) for layer in spec.layers]
    known = [module for module in ordered if isinstance(module, LayerModule)]
    parameters = {p: Blob(ParameterValues(p)) for module in known for p in module.blobs}
    learned = [isinstance(module, LayerModule) and any(p.requires_grad for p in module.blobs) for module in ordered]
    visits = plan_backward(spec.layers, learned, force=spec.force_backward)
    shapes, blobs = core.blob_shapes, OrderedDict[str, Blob]()
    steps: list[LayerStep] = []
    for index, (layer, module, visit) in enumerate(zip(spec.layers, ordered, visits, strict=True)):
        for name in layer.bottoms:
            if name not in blobs:
                blobs[name] = Blob(BlobValues(shapes[name], device))
        bottoms = [blobs[name] for name in layer.bottoms]
        tops = _make_tops(layer, module, bottoms, shapes, blobs, device)
        handle = module.layer if isinstance(module, PythonModule) else _BuiltIn(layer)
        common = (layer, handle, bottoms, tops, [_next_writer(spec, index, top) for top in layer.tops], visit)
        if isinstance(module, PythonModule):
            module.bind()
            parameters.update(zip(module.blobs, handle.blobs, strict=True))
            steps.append(PythonStep(*common, module))
        elif isinstance(module, LayerModule):
            handle.blobs.extend(parameters[p] for p in module.blobs)
            trained = [(p, parameters[p]) for p in module.blobs if p.requires_grad]
            overwritten = [_next_writer(spec, index - 1, name) < len(spec.layers) for name in layer.bottoms]
            steps.append(ModuleStep(*common, module, trained, overwritten))
        elif layer.name in sources:
            steps.append(FileStep(*common, sources[layer.name]))
        else:
            kinds: dict[str, type[LayerStep]] = {"DummyData": DummyStep, "MemoryData": MemoryStep}
            steps.append(kinds.get(layer.type, LayerStep)(*common))
    return Made(steps, blobs, parameters)


def _make_tops(
    layer: LayerSpec,
    module: nn.Module | None,
    bottoms: list[Blob],
    shapes: Mapping[str, Shape],
    blobs: OrderedDict[str, Blob],
    device: torch.device,
) -> list[Blob]:
    """Return a layer's tops: new blobs, which are put down by name, or those that it changes in place."""
    tops = []
    for index, (name, weight) in enumerate(zip(layer.tops, layer.loss_weights, strict=True)):
        if name not in blobs:
            blob = Blob(BlobValues(shapes[name], device))
            if isinstance(module, PythonModule) and device.type == "cpu":
                blob = module.own_tops[index]  # the one that the layer's `setup` has seen
                blob.reshape(*shapes[name])
            if shares_memory(layer):
                blob.values.base = bottoms[0].values
            blobs[name] = blob
        blobs[name].loss_weight = weight or blobs[name].loss_weight
        tops.append(blobs[name])
    return tops


def _next_writer(spec: NetSpec, index: int, name: str) -> int:
    """Return the place of the first layer after `index` that writes to a blob; the net's length where none does."""
    layers = spec.layers
    return next((i for i in range(index + 1, len(layers)) if name in layers[i].tops), len(layers))


class _BuiltIn(Layer):
    """What `net.layers` shows of a layer that is not written in Python."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self._name = spec.name
        self.type = spec.type
        self.phase = PHASES.index(spec.params.phase)

    def _by_itself(self, *_blobs: Any) -> NoReturn:
        raise NotImplementedError(
            f"layer {self._name!r} ({self.type}) does not run by itself: call net.forward(start={self._name!r}, "
            f"end={self._name!r}), or net.backward"
        )

    setup = reshape = forward = backward = _by_itself  # type: ignore[assignment]
