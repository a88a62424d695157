"""Training in several processes: who we are among them, and the sum of what they found.

Flow: `torchrun` -> **World** -> the loop. Each process takes its share of every batch of the train prototxt, so
`batch_size` is the total and the run computes what one process computes, to rounding. (Caffe's own multi-GPU training
multiplies the batch by the number of GPUs instead.) Gradients are averaged in one flat buffer per update, after all
`iter_size` backward passes, together with the numbers that the processes must agree on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from cpm_port.errors import UsageError

__all__ = ["World", "average_gradients", "join_world", "leave_world"]


@dataclass(frozen=True)
class World:
    """Which of the processes that train together we are.

    Attributes
    ----------
    rank, size : int
        Which one of how many.
    device : torch.device
        Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0


def join_world(device: str | None = None) -> World:
    """Join the processes that `torchrun` started, or stand alone where it did not start us.

    Parameters
    ----------
    device : str, optional
        "cpu", "cuda" or "cuda:1". Default: a GPU if there is one. Under torchrun "cuda" means one GPU per process. On
        a GPU, convolutions keep float32's precision from here on (bfloat16 is asked for by other means).

    Raises
    ------
    UsageError
        A device that this machine lacks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UsageError(f"device {device!r}: expected cpu, cuda or cuda:<index>") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"device {device!r}: this machine has no GPU that torch can use")
        local = int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else chosen.index or 0
        if local >= torch.cuda.device_count():
            raise UsageError(f"device {device!r}: GPU {local} asked for, {torch.cuda.device_count()} found")
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.allow_tf32 = False
    if size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(rank, size, chosen)


def leave_world(world: World) -> None:
    """Part from the others."""
    if world.size > 1:
        dist.destroy_process_group()


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
    dist.all_reduce(flat)
    flat /= world.size
    start = numbers.numel()
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return flat[: numbers.numel()]
