"""Means over a batch whose rows several processes share: what BatchNorm and a loss that counts its terms need.

A training loop says that its processes each have an equal part of every batch, `with shared_by(world.size):`, around
the forward and the backward pass of all of them alike. Inside, `mean_over_processes` gives the mean of a tensor over
the processes, and its gradient; outside, and for one process, it gives the tensor. (A test or validation that one
process runs alone stays outside: nobody would answer.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cpm_port.compute.devices import add_up

__all__ = ["mean_over_processes", "processes", "shared_by"]

_processes = 1


@contextmanager
def shared_by(count: int) -> Iterator[None]:
    """Say that so many processes share the batches of the passes inside."""
    global _processes
    before, _processes = _processes, count
    try:
        yield
    finally:
        _processes = before


def processes() -> int:
    """Return how many processes share the batch of the pass that runs."""
    return _processes


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes that share the batch."""
    if _processes == 1:
        return values
    mean: Tensor = _Mean.apply(values, _processes)  # type: ignore[no-untyped-call]
    return mean


class _Mean(torch.autograd.Function):
    """The losses of all processes depend on the mean, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, count: int) -> Tensor:
        ctx.count = count
        return add_up(values.clone()) / count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return add_up(gradient.contiguous().clone()) / ctx.count, None
