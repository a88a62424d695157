"""A net's forward pass with every BatchNorm and the Scale behind it done as one, for training in bfloat16.

Flow: a batch's blobs -> the net's layers, pairs of them merged -> **the same blobs**, to bfloat16's precision. On a CPU
these layers cost more for their passes over memory than the convolutions around them for their arithmetic. In
float32 the layers run one by one, with Caffe's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from cpm_port.graph import CaffeNet, Step
from cpm_port.graph.layers.batch_norm import BatchNorm
from cpm_port.graph.layers.scale import Scale
from cpm_port.graph.whole_batch import processes

__all__ = ["forward_merged"]


def forward_merged(net: CaffeNet, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
    """Return the named blobs as `net(inputs, blobs)` does, to bfloat16's precision.

    Parameters
    ----------
    net : CaffeNet
    inputs : mapping of str to Tensor
        Every input of the net, on its device.
    blobs : sequence of str
        What to return; nothing else is. Blobs between a BatchNorm and its Scale cannot be had.
    """
    table = dict(inputs)
    norm: BatchNorm | None = None
    for step, follower in zip(net.steps, (*net.steps[1:], None), strict=True):
        module: Any = net.get_submodule(step.key)
        bottoms = [table[bottom] for bottom in step.spec.bottoms]
        if norm is not None:
            scale, shift = module.blobs
            tops = [norm.normalize_coarsely(bottoms[0], scale, shift)]
            norm = None
        elif follower is not None and _can_merge(net, step, follower):
            norm, tops = module, bottoms
        else:
            tops = list(module(*bottoms))
        table.update(zip(step.spec.tops, tops, strict=True))
    return {name: table[name] for name in blobs}


def _can_merge(net: CaffeNet, step: Step, follower: Step) -> bool:
    """Whether `follower` scales and shifts in place, channel by channel, what `step` normalizes by the batch."""
    norm, scale = net.get_submodule(step.key), net.get_submodule(follower.key)
    if not (isinstance(norm, BatchNorm) and isinstance(scale, Scale)):
        return False
    if not (norm.is_upstreams and norm.uses_batch_statistics) or processes() > 1:
        return False
    in_place = step.spec.tops == follower.spec.bottoms == follower.spec.tops
    return in_place and scale.fields.axis == 1 and [blob.dim() for blob in scale.blobs] == [1, 1]
