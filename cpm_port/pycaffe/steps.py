"""The layers of a pycaffe net as they run: each reads its bottoms' blobs and writes its tops', forward and backward.

Sources (Input, DummyData, MemoryData, data files) write tops; layers of the graph room run as torch modules, one
autograd graph each, so that every blob's gradient can be read, and written, between any two layers; Python layers work
on the blobs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.caffe import LayerSpec
from cpm_port.errors import ShapeError
from cpm_port.graph import LayerModule, Shape
from cpm_port.graph.fillers import fill
from cpm_port.pycaffe.blobs import Blob
from cpm_port.pycaffe.gradients import Visit
from cpm_port.pycaffe.python_layer import Layer, PythonModule
from cpm_port.training.batches import DataSource

__all__ = ["DummyStep", "FileStep", "LayerStep", "MemoryStep", "ModuleStep", "PythonStep", "Written", "shares_memory"]

Written = set[Blob]
"""Blobs whose gradient has got a part in the current backward pass: further parts are added."""

_ALWAYS_SHARING = ("Flatten", "Reshape", "Split")


def shares_memory(layer: LayerSpec) -> bool:
    """Tell whether Caffe's tops of this layer are the bottom's memory under another name."""
    alone = len(layer.bottoms) == len(layer.tops) == 1
    return layer.type in _ALWAYS_SHARING or (alone and layer.type in ("Concat", "Slice"))


@dataclass
class LayerStep:
    """One layer in its net; by itself an Input layer, which does nothing.

    Attributes
    ----------
    spec : LayerSpec
    layer : Layer
        What `net.layers` shows.
    bottoms, tops : list of Blob
    replaced : list of int
        Per top, the place in the net of the next layer that writes to the same blob; beyond the net where none does.
    visit : Visit
        What the backward pass does here.
    """

    spec: LayerSpec
    layer: Layer
    bottoms: list[Blob]
    tops: list[Blob]
    replaced: list[int]
    visit: Visit

    def reshape(self) -> None:
        """Give the tops the shapes that the bottoms' ask for."""

    def forward(self, end: int) -> None:
        """Compute the tops; the pass ends with layer number `end`."""

    def backward(self, written: Written) -> None:
        """Turn the tops' gradients into the bottoms' and the parameters'."""


@dataclass
class DummyStep(LayerStep):
    """DummyData: constants are filled once and then left alone, other fillers draw anew in every pass."""

    def __post_init__(self) -> None:
        fillers = list(self.spec.params.dummy_data_param.data_filler) or [0.0]
        self._fillers = fillers * len(self.tops) if len(fillers) == 1 else fillers
        self._fill(constant=True)

    def forward(self, end: int) -> None:
        """Draw."""
        self._fill(constant=False)

    def _fill(self, *, constant: bool) -> None:
        for blob, filler in zip(self.tops, self._fillers, strict=True):
            if constant == (isinstance(filler, float) or filler.type == "constant"):
                values = torch.empty(blob.shape)
                fill(values, filler, self.spec.name)
                blob.values.store(values.to(blob.values.device))


class MemoryStep(LayerStep):
    """MemoryData: batches from the arrays that `net.set_input_arrays` was given."""

    _data: NDArray[np.float32] | None = None
    _labels: NDArray[np.float32] | None = None
    _position = 0

    def give(self, data: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Take arrays, (n, C, H, W) and (n, 1, 1, 1), float32 and C-ordered, and start with their first batch.

        Raises
        ------
        RuntimeError
            Arrays of another kind.
        """
        param = self.spec.params.memory_data_param
        for name, array, sizes in (
            ("data", data, (param.channels, param.height, param.width)),
            ("labels", labels, (1, 1, 1)),
        ):
            if not array.flags.c_contiguous:
                raise RuntimeError(f"{name} array must be C contiguous")
            if array.ndim != 4:
                raise RuntimeError(f"{name} array must be 4-d")
            if array.dtype != np.float32:
                raise RuntimeError(f"{name} array must be float32")
            for what, have, want in zip(("number of channels", "height", "width"), array.shape[1:], sizes, strict=True):
                if have != want:
                    raise RuntimeError(f"{name} array has wrong {what}")
        if len(data) != len(labels):
            raise RuntimeError("data and labels must have the same first dimension")
        if not len(data) or len(data) % param.batch_size:
            raise RuntimeError("first dimensions of input arrays must be a multiple of batch size")
        self._data, self._labels, self._position = data, labels, 0

    def forward(self, end: int) -> None:
        """Give the next batch, from the beginning again after the last."""
        if self._data is None or self._labels is None:
            raise RuntimeError(f"layer {self.spec.name!r}: MemoryData without data; call net.set_input_arrays first")
        rows = slice(self._position, self._position + len(self.tops[0].data))
        for blob, array in zip(self.tops, (self._data, self._labels), strict=False):
            blob.data[...] = array[rows].reshape(blob.shape)
        self._position = rows.stop % len(self._data)


@dataclass
class FileStep(LayerStep):
    """A layer that reads files (Data, HDF5Data, CPMData, ...)."""

    source: DataSource

    def forward(self, end: int) -> None:
        """Read the next batch."""
        batch = self.source.next_batch()
        for name, blob in zip(self.spec.tops, self.tops, strict=True):
            blob.values.store(torch.from_numpy(batch[name]).to(blob.values.device))


@dataclass
class ModuleStep(LayerStep):
    """A layer of the graph room.

    Attributes
    ----------
    module : LayerModule
    parameters : list of (Parameter, Blob)
        Those that are learned.
    overwritten : list of bool
        Per bottom, whether this layer or a later one writes into the same blob.
    """

    module: LayerModule
    parameters: list[tuple[nn.Parameter, Blob]]
    overwritten: list[bool]
    _shapes: list[Shape] = field(default_factory=list)
    _record: tuple[list[Tensor], tuple[Tensor, ...]] | None = None

    def reshape(self) -> None:
        """Give the tops their shapes, where a bottom's has changed."""
        shapes = [blob.shape for blob in self.bottoms]
        if shapes != self._shapes:
            for blob, shape in zip(self.tops, self.module.reshape(shapes), strict=True):
                blob.values.reshape(shape)
            self._shapes = shapes

    def forward(self, end: int) -> None:
        """Run the module; where a gradient will be asked for, under autograd."""
        self.reshape()
        self._record = None
        if self.visit.needed:
            self._record = self._recorded()
            tops = self._record[1]
        else:
            tops = self.module(*(blob.values.tensor() for blob in self.bottoms))
        if shares_memory(self.spec):
            for blob, tensor in zip(self.tops, tops, strict=True):
                blob.values.shape = tuple(tensor.shape)
            return
        held = {blob.values.tensor().untyped_storage().data_ptr() for blob in self.bottoms if blob.values.in_memory}
        for blob, tensor, replaced in zip(self.tops, tops, self.replaced, strict=True):
            own = tensor.clone() if held and tensor.untyped_storage().data_ptr() in held else tensor
            blob.values.store(own, last=replaced > end)

    def backward(self, written: Written) -> None:
        """Ask autograd; a layer that has not run yet runs now, its tops' values unused."""
        if self._record is None:
            self.reshape()
            self._record = self._recorded()
        leaves, tops = self._record
        seeds = [(t, blob.gradient.tensor()) for t, blob in zip(tops, self.tops, strict=True) if t.requires_grad]
        written.difference_update(self.tops)
        wanted = [(leaf, blob) for leaf, blob in zip(leaves, self.bottoms, strict=True) if leaf.requires_grad]
        sources = [*(leaf for leaf, _ in wanted), *(parameter for parameter, _ in self.parameters)]
        if not seeds or not sources:
            return
        found = torch.autograd.grad(
            [t for t, _ in seeds], sources, [seed for _, seed in seeds], retain_graph=True, allow_unused=True
        )
        for (_, blob), gradient in zip(wanted, found, strict=False):
            if gradient is not None:
                _add_part(blob, gradient, written, 0.0 if blob in self.tops else blob.loss_weight)
        for (_, blob), gradient in zip(self.parameters, found[len(wanted) :], strict=True):
            if gradient is not None:
                blob.gradient.store(blob.gradient.tensor() + gradient)

    def _recorded(self) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Run the module under autograd; return its bottoms as leaves, and its tops."""
        leaves = []
        for blob, overwritten, wanted in zip(self.bottoms, self.overwritten, self.visit.propagate_down, strict=True):
            tensor = blob.values.tensor()
            if overwritten and blob.values.in_memory:
                tensor = tensor.clone()
            leaves.append(tensor.detach().requires_grad_(wanted))
        with torch.enable_grad():
            return leaves, self.module(*leaves)


@dataclass
class PythonStep(LayerStep):
    """A Python layer, on the net's own blobs."""

    module: PythonModule

    def reshape(self) -> None:
        """Call the layer's `reshape`."""
        self.module.layer.reshape(self.bottoms, self.tops)

    def forward(self, end: int) -> None:
        """Call its `reshape` and `forward`."""
        self.reshape()
        self.module.layer.forward(self.bottoms, self.tops)

    def backward(self, written: Written) -> None:
        """Call its `backward`; what other readers of a bottom gave before is added to what it writes."""
        written.difference_update(self.tops)
        wanted = [blob for blob, flag in zip(self.bottoms, self.visit.propagate_down, strict=True) if flag]
        before = {blob: blob.diff.copy() for blob in wanted if blob in written}
        self.module.layer.backward(self.tops, list(self.visit.propagate_down), self.bottoms)
        for blob in wanted:
            if blob in before:
                blob.diff[...] += before[blob]
            elif blob.loss_weight and blob not in self.tops:
                blob.diff[...] += blob.loss_weight
        written.update(wanted)


def _add_part(blob: Blob, gradient: Tensor, written: Written, loss_weight: float) -> None:
    """Take one reader's part of a blob's gradient: the first of a pass replaces what was there, later ones add."""
    if gradient.shape != blob.shape:
        raise ShapeError(f"a gradient of shape {tuple(gradient.shape)} for a blob of shape {blob.shape}")
    if blob in written:
        gradient = gradient + blob.gradient.tensor()
    elif loss_weight:
        gradient = gradient + loss_weight
    blob.gradient.store(gradient)
    written.add(blob)
