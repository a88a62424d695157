"""Blob: what `net.blobs[name]` and `net.params[layer][i]` give; values and gradients as NumPy arrays that last.

`data` and `diff` are float32 arrays over one memory each, which stays where it is while the blob keeps its size: an
array that was taken once shows what every later pass computes, and what is written into it is what the net reads.

How that is kept without copying every blob of every pass: a computed tensor waits in `_fresh` until somebody looks.
The first look gives the blob a memory; from then on every pass writes into it. On a GPU the memory is the host's copy:
each look fetches the values, and what was written is sent back at the next pass; an array kept from before the pass is
then out of date. Parameters on the CPU need none of this: their arrays are views of the net's own tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.errors import ShapeError, UnsupportedLayerError

__all__ = ["Blob", "BlobValues", "BlobVec", "ParameterValues"]

Shape = tuple[int, ...]
FloatArray = NDArray[np.float32]

_LEGACY_AXES = 4


class BlobValues:
    """The values, or the gradients, of one blob.

    Parameters
    ----------
    shape : tuple of int
    device : torch.device
        Where the net computes.
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape = shape
        self.device = device
        self.base: BlobValues | None = None
        """The values whose memory these are, in another shape (Flatten, Reshape, Split)."""
        self._memory: FloatArray | None = None
        self._fresh: Tensor | None = None

    @property
    def in_memory(self) -> bool:
        """Whether `tensor` gives a view of memory that callers may hold, not a tensor of its own."""
        return self._fresh is None if self.base is None else self.base.in_memory

    def array(self) -> FloatArray:
        """Return the lasting array, its values up to date."""
        if self.base is not None:
            return self.base.array().reshape(self.shape)
        count = math.prod(self.shape)
        if self._memory is None or self._memory.size < count:
            self._memory = np.zeros(count, np.float32)
        view = self._memory[:count].reshape(self.shape)
        if self._fresh is not None:
            np.copyto(view, self._fresh.cpu().numpy())
            self._fresh = None
        return view

    def tensor(self) -> Tensor:
        """Return the values on the net's device; not to be written to."""
        if self.base is not None:
            return self.base.tensor().reshape(self.shape)
        if self._fresh is None and self._memory is None:
            self._fresh = torch.zeros(self.shape, device=self.device)
        return self._fresh if self._fresh is not None else torch.from_numpy(self.array()).to(self.device)

    def store(self, tensor: Tensor, *, last: bool = True) -> None:
        """Take new values, of any shape.

        Parameters
        ----------
        tensor : Tensor
        last : bool
            False where a layer of the same pass will replace them: nobody will look at them in between.
        """
        tensor = tensor.detach()
        if self.base is not None:
            self.shape = tuple(tensor.shape)
            self.base.store(tensor.reshape(self.base.shape), last=last)
            return
        self.shape, self._fresh = tuple(tensor.shape), tensor
        if last and self._memory is not None and self.device.type == "cpu":
            self.array()

    def reshape(self, shape: Shape) -> None:
        """Change the shape; the memory stays where the new count fits into it, and so do its values."""
        if shape == self.shape:
            return
        if self._fresh is not None:
            self.array()
        self.shape = shape

    def clear(self) -> None:
        """Make all values zero."""
        self.store(torch.zeros(self.shape, device=self.device))


class ParameterValues(BlobValues):
    """The values of a parameter: on the CPU its tensor's own memory, on a GPU a copy, sent back before a pass."""

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__(tuple(parameter.shape), parameter.device)
        self.parameter = parameter

    def array(self) -> FloatArray:
        """Return the array to read and write."""
        if self.parameter.device.type == "cpu":
            self._memory = None
            array: FloatArray = self.parameter.detach().numpy()
            return array
        if self._memory is None:
            self._memory = np.zeros(self.shape, np.float32)
        if self._fresh is None:  # nobody has looked since the values were last sent
            np.copyto(self._memory, self.parameter.detach().cpu().numpy())
            self._fresh = self.parameter.detach()
        return self._memory

    def tensor(self) -> Tensor:
        """Return the parameter's own values."""
        self.send()
        return self.parameter.detach()

    @torch.no_grad()
    def store(self, tensor: Tensor, *, last: bool = True) -> None:
        """Overwrite the parameter."""
        self.parameter.copy_(tensor)
        self._fresh = None

    def send(self) -> None:
        """Send what may have been written into the array to the GPU."""
        if self._fresh is not None and self._memory is not None:
            self._fresh.copy_(torch.from_numpy(self._memory))
            self._fresh = None

    def reshape(self, shape: Shape) -> None:
        """Refuse another shape: the layer computes with the one it has."""
        if shape != self.shape:
            raise UnsupportedLayerError(
                f"reshape of a parameter from {self.shape} to {shape}: not supported; write the shape into the prototxt"
            )


class Blob:
    """Values and gradients of one shape.

    Attributes
    ----------
    loss_weight : float
        What the blob counts in the total loss.
    """

    def __init__(self, data: BlobValues) -> None:
        self._data = data
        self._diff: BlobValues | None = None
        self.loss_weight = 0.0

    @classmethod
    def of_shape(cls, shape: Sequence[int], device: torch.device | str = "cpu") -> Blob:
        """Return a blob of zeros."""
        return cls(BlobValues(tuple(int(size) for size in shape), torch.device(device)))

    @property
    def data(self) -> FloatArray:
        """The values: float32, in C order, to read and to write."""
        return self._data.array()

    @property
    def diff(self) -> FloatArray:
        """The gradient of the loss with respect to the values, of their shape; to read and to write."""
        return self.gradient.array()

    @property
    def values(self) -> BlobValues:
        """What is behind `data`."""
        return self._data

    @values.setter
    def values(self, values: BlobValues) -> None:
        self._data = values

    @property
    def gradient(self) -> BlobValues:
        """What is behind `diff`, in the shape of the values; a blob that counts in the loss starts with its weight."""
        if self._diff is None:
            self._diff = BlobValues(self._data.shape, self._data.device)
            if self.loss_weight:
                self._diff.store(torch.full(self._data.shape, self.loss_weight, device=self._data.device))
        self._diff.reshape(self._data.shape)
        return self._diff

    @property
    def has_gradient(self) -> bool:
        """Whether anybody has asked for a gradient yet."""
        return self._diff is not None

    @property
    def shape(self) -> Shape:
        """Size of every axis."""
        return self._data.shape

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def num(self) -> int:
        """Size of axis 0; 1 where there is none."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Size of axis 1; 1 where there is none."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Size of axis 2; 1 where there is none."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Size of axis 3; 1 where there is none."""
        return self._legacy(3)

    def reshape(self, *shape: int, **unknown: Any) -> None:
        """Change the shape: `blob.reshape(1, 3, 224, 224)`; `net.reshape()` or the next pass carries it on."""
        if unknown:
            raise RuntimeError("Blob.reshape takes no kwargs")
        try:
            wanted = tuple(int(size) for size in shape)
        except (TypeError, ValueError):
            raise TypeError(
                f"Blob.reshape takes sizes one by one, as in reshape(1, 3, 224, 224); got {shape}"
            ) from None
        if any(size < 0 for size in wanted):
            raise ShapeError(f"reshape to {wanted}: expected no negative size")
        self._data.reshape(wanted)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > _LEGACY_AXES:
            raise ShapeError(
                f"num, channels, height and width of a blob of shape {self.shape}: at most 4 axes expected"
            )
        return self.shape[axis] if axis < len(self.shape) else 1


class BlobVec(list[Blob]):
    """The blobs of a layer."""

    def add_blob(self, *shape: int, **unknown: Any) -> None:
        """Append a blob of zeros: how a Python layer declares a parameter in `setup`."""
        if unknown:
            raise RuntimeError("BlobVec.add_blob takes no kwargs")
        self.append(Blob.of_shape(shape))
