"""How much memory a net's blobs take at once, and so how many images may go through it together.

Where in the flow: before a forward pass over many boxes (the scales of a person, the people of a batch). Whoever runs
the net splits them into passes of at most `images_within(...)`.

How: the layers are walked in order; a blob lives from the layer that makes it to the last one that reads it, and an
in-place layer makes a new one beside the old, as `CaffeNet.forward` does. The largest sum of bytes alive at once,
divided by the batch, is what one image takes. Measured on the official MPI net at 368 x 368 on a CPU: 141 MB an image
by this sum; resident memory grew by 179, 566 and 981 MB in passes of 1, 4 and 7 images.

It knowingly leaves out what does not grow with the batch (weights, transformed weights) and the scratch memory of
convolution libraries; layers that are joined (`engine/program.py`) take less than the sum says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from cpm_port.caffe import NetSpec
from cpm_port.caffe.liveness import peak_size

__all__ = ["ACTIVATION_BOUND", "activation_bound", "bytes_per_image", "images_within"]

ACTIVATION_BOUND = 1 << 30
"""Bytes of blobs in one pass on a CPU: seven scales of the official MPI net at once."""

_FREE_SHARE = 0.5  # of a GPU's free memory: its convolutions want scratch memory too


def bytes_per_image(
    spec: NetSpec, blob_shapes: Mapping[str, tuple[int, ...]], blobs: Sequence[str] = (), *, itemsize: int = 4
) -> int:
    """Return the bytes of blobs alive at once, per image of the batch.

    Parameters
    ----------
    spec : NetSpec
    blob_shapes : mapping of str to tuple of int
        Of every blob, for some batch; the first axis of the net's first input tells which.
    blobs : sequence of str
        Blobs that are kept to the end besides the outputs.
    itemsize : int
        Bytes of one value.
    """
    sizes = {name: math.prod(shape) * itemsize for name, shape in blob_shapes.items()}
    peak = peak_size(spec.layers, sizes, spec.inputs, kept={*spec.outputs, *blobs})
    batch = blob_shapes[next(iter(spec.inputs))][0]
    return -(-peak // batch)


def images_within(
    bound: int, spec: NetSpec, blob_shapes: Mapping[str, tuple[int, ...]], blobs: Sequence[str] = ()
) -> int:
    """Return how many images may go through a net at once; at least one. Parameters as of `bytes_per_image`."""
    return max(1, bound // bytes_per_image(spec, blob_shapes, blobs))


def activation_bound(device: torch.device, free_memory: Callable[[torch.device], int] | None = None) -> int:
    """Return how many bytes the blobs of one pass may take: on a GPU, half of what is free there now.

    Parameters
    ----------
    device : torch.device
    free_memory : callable, optional
        Device -> free bytes; by default the driver's answer plus what torch holds without using it.
    """
    if free_memory is None:
        if device.type != "cuda":
            return ACTIVATION_BOUND
        free_memory = _free_on_gpu
    return int(_FREE_SHARE * free_memory(device))


def _free_on_gpu(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
