"""Training in several processes: the sum of what they found.

Flow: `compute.devices.World` -> **the loop**. Each process takes its share of every batch of the train prototxt, so
`batch_size` is the total and the run computes what one process computes, to rounding. (Caffe's own multi-GPU training
multiplies the batch by the number of GPUs instead; so does `cpm-port train -gpu 0,1`, by enlarging every batch first.)
Gradients are averaged in one flat buffer per update, after all `iter_size` backward passes, together with the numbers
that the processes must agree on.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cpm_port.compute.devices import World, add_up

__all__ = ["average_gradients"]


def average_gradients(world: World, params: Iterable[Tensor], numbers: Tensor) -> Tensor:
    """Replace every gradient by its mean over the processes; return the mean of `numbers`.

    Parameters
    ----------
    params : iterable of Tensor
        Those without a gradient in this process have none in any.
    numbers : Tensor, shape (K,), float32
        Losses and flags, averaged on the same way.
    """
    if world.size == 1:
        return numbers
    gradients = [p.grad for p in params if p.grad is not None]
    flat = torch.cat([numbers, *(g.reshape(-1) for g in gradients)])
    add_up(flat)
    flat /= world.size
    start = numbers.numel()
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return flat[: numbers.numel()]
