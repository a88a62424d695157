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

from cpm_port.caffe.liveness import released
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
    reads = [{name for step in group for name in step.spec.bottoms} for group in groups]
    writes = [{name for step in group for name in step.spec.tops} for group in groups]
    gone = released(list(zip(reads, writes, strict=True)), kept=blobs)
    table = dict(inputs)
    for group, read, written, drop in zip(groups, reads, writes, gone, strict=True):
        names = [name for name in table if name in read]
        made = sorted(written.difference(drop))

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
        for name in table.keys() & set(drop):
            del table[name]
    return {name: table[name] for name in blobs}


def _groups(steps: Sequence[Step]) -> list[Sequence[Step]]:
    """Cut the layers into about sqrt(L) groups of equal length."""
    length = max(math.isqrt(len(steps)), 1)
    return [steps[start : start + length] for start in range(0, len(steps), length)]
