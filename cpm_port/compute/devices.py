"""Where this process computes: its device and, under `torchrun`, which of several processes it is.

Where in the flow: before a net is loaded. Everything that takes a device's name from a user, and everything that may
run under torchrun, asks here; nothing else reads torchrun's environment.

Conventions: a device is named as PyTorch names it (cpu, cuda, cuda:1). Under torchrun "cuda" means one GPU per process,
whatever its number. From the choice of a device on, convolutions keep float32's precision: PyTorch lets them round
their inputs to TF32's 10 bits by default, an error of 1e-3 where Caffe has none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from cpm_port.errors import UsageError

__all__ = [
    "LostProcessError",
    "World",
    "add_up",
    "checked_device",
    "default_device",
    "first_to_claim",
    "joined_world",
    "slow_bfloat16",
    "to_device",
    "to_host",
    "wait_for_all",
]

_BFLOAT16 = ("avx512bf16", "amx-bf16", "bf16")  # as LLVM names them


_CLAIM_PATIENCE = timedelta(seconds=10)


class LostProcessError(RuntimeError):
    """Another process of the world cannot be reached any more; who waits for it decides what that means."""


@dataclass(frozen=True)
class World:
    """Which of the processes that work together we are.

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
        """Whether this process is the one that gathers, prints and writes."""
        return self.rank == 0


def default_device() -> str:
    """Return "cuda" where PyTorch can use a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def checked_device(name: str) -> str:
    """Return the name of a device that is there; on a GPU, convolutions keep float32's precision from here on.

    Raises
    ------
    UsageError
        No such kind of device, or none here with that number.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = not isinstance(error, NotImplementedError)  # of a kind that the build lacks, torch lists its backends
        reason = str(error).splitlines()[0] if known else "the PyTorch that is installed does not compute on it"
        raise UsageError(f"--device {name}: {reason}; {torch.cuda.device_count()} CUDA devices are here") from None
    torch.backends.cudnn.allow_tf32 = False
    return name


def slow_bfloat16(device: str | torch.device) -> str | None:
    """Return what a user should know where a device computes bfloat16 far slower than float32, else None.

    That is a CPU without instructions for it (AVX512-BF16, AMX, Arm's BF16), as most are. Results are bfloat16's all
    the same. With AVX2 alone nets took 7 to 27 times as long as in float32.
    """
    if torch.device(device).type != "cpu":
        return None
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    if any(features.get(name) for name in _BFLOAT16):
        return None
    return "bf16 on this CPU is many times slower than float32: it has no instructions for it (AVX512-BF16 or AMX)"


@contextmanager
def joined_world(device: str | None = None, patience: timedelta | None = None) -> Iterator[World]:
    """Join the processes that `torchrun` started, or stand alone; leaving the `with` block parts from them.

    Parameters
    ----------
    device : str, optional
        By default a GPU if there is one.
    patience : timedelta, optional
        How long a process waits for the slowest one; by default as long as PyTorch does.

    Raises
    ------
    UsageError
        A device that this machine lacks; or more processes than GPUs.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    name = device or default_device()
    if size > 1 and name.partition(":")[0] == "cuda" and torch.cuda.is_available():
        name = f"cuda:{_own_gpu()}"  # before anything is made on a GPU: else every process would open the first one
    chosen = torch.device(checked_device(name))
    if chosen.type == "cuda":
        chosen = torch.device("cuda", chosen.index or 0)
        torch.cuda.set_device(chosen)
    world = World(rank, size, chosen)
    if size == 1:
        yield world
        return
    # `torch.distributed.nn` is imported above since its functions keep the group that is there when it is imported, as
    # an optimizer does: the group's threads would outlive the `with` block, and can abort the process when Python ends.
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=patience)
    try:
        yield world
    finally:
        dist.destroy_process_group()


def _own_gpu() -> int:
    """Return the number of this process's GPU, and make it the current one."""
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise UsageError(f"process {local} of this machine has no GPU of its own: {count} are here")
    torch.cuda.set_device(local)
    return local


def to_device(array: NDArray[Any], device: torch.device | str) -> Tensor:
    """Return an array as a tensor on a device; on a GPU without waiting for the copy, which pinned memory allows."""
    array = np.ascontiguousarray(array)
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    """Send a tensor's values to the host; what is returned gives them, as an array, when they are there.

    On a GPU nothing waits here: the copy goes to pinned memory behind the work that was queued before it, and other
    work can be queued behind the copy. On a CPU the array is the tensor's own memory.
    """
    if tensor.device.type != "cuda":
        array: NDArray[Any] = tensor.detach().cpu().numpy()
        return lambda: array
    there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    there.copy_(tensor.detach(), non_blocking=True)
    arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrival.record(torch.cuda.current_stream(tensor.device))

    def arrived() -> NDArray[Any]:
        arrival.synchronize()
        values: NDArray[Any] = there.numpy()
        return values

    return arrived


def add_up(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over all processes, and return it.

    Raises
    ------
    LostProcessError
        One of them has gone.
    """
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise LostProcessError(str(error).splitlines()[0]) from error
    return tensor


def first_to_claim(world: World, what: str) -> bool:
    """Whether this process is the first of its world to ask for something that one of them shall do.

    It asks the store through which they found each other, so it works when some of them have gone. Where the store has
    gone, too, the leading process or, as that one kept it, the next one does it.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_CLAIM_PATIENCE)
        return bool(store.add(f"cpm_port/{what}", 1) == 1)
    except RuntimeError:
        return world.rank == 1


def wait_for_all(world: World) -> None:
    """Return when every process has come here."""
    if world.size > 1:
        dist.barrier()
