"""Gradient checkpointing for a Caffe net: memory for time.

Flow: a batch's blobs -> the net's layers in groups -> **the same blobs**, but only those between groups are kept for
the backward pass, which computes the rest of a group again when it gets there. With about sqrt(L) groups of L layers
both the kept and the recomputed part are small. Results and gradients are those of the plain forward pass: dropout's
draws are replayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cpm_port.graph import CaffeNet, Step

__all__ = ["forward_recomputing"]


def forward_recomputing(net: CaffeNet, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
    """Return the named blobs as `net(inputs, blobs)` does, keeping few activations.

    Parameters
    ----------
    net : CaffeNet
    inputs : mapping of str to Tensor
        Every input of the net, on its device.
    blobs : sequence of str
        What to return; nothing else is.
    """
    groups = _groups(net.steps)
    needed_after = _needed_after(groups, set(blobs))
    table = dict(inputs)
    for group, kept in zip(groups, needed_after, strict=True):
        names = [name for name in table if name in {b for step in group for b in step.spec.bottoms}]
        made = [name for name in kept if name in {top for step in group for top in step.spec.tops}]

        def run(
            *tensors: Tensor, group: Sequence[Step] = group, names: list[str] = names, made: list[str] = made
        ) -> tuple[Tensor, ...]:
            local = dict(zip(names, tensors, strict=True))
            for step in group:
                tops = net.get_submodule(step.key)(*(local[bottom] for bottom in step.spec.bottoms))
                local.update(zip(step.spec.tops, tops, strict=True))
            return tuple(local[name] for name in made)

        results = checkpoint(run, *(table[name] for name in names), use_reentrant=False)
        assert isinstance(results, tuple)
        table.update(zip(made, results, strict=True))
        table = {name: tensor for name, tensor in table.items() if name in kept}
    return {name: table[name] for name in blobs}


def _groups(steps: Sequence[Step]) -> list[Sequence[Step]]:
    """Cut the layers into about sqrt(L) groups of equal length."""
    length = max(math.isqrt(len(steps)), 1)
    return [steps[start : start + length] for start in range(0, len(steps), length)]


def _needed_after(groups: Sequence[Sequence[Step]], wanted: set[str]) -> list[set[str]]:
    """Return, for every group, the blobs that a later group reads or the caller wants."""
    needed: list[set[str]] = []
    later = set(wanted)
    for group in reversed(groups):
        needed.append(set(later))
        later |= {bottom for step in group for bottom in step.spec.bottoms}
    return needed[::-1]
