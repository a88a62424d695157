"""What the test pipeline must know of a net, read from the net itself: box size, channels, outputs, stages, parts.

Where in the flow: once per net, before the first image.

Conventions: the input is `(1, C, b, b)` with C = 3 (colour) or 4 (colour and center map), the output `(1, P + 1, h, w)`
with the background last. Stages count from 1.

Source: the reference notes (`release_testing.md`) section 2, steps 3 and 4. The demo takes, for every stage s, the last
blob whose name contains `stage<s>`.

Knowingly different: `stage1` is not found in `stage10`. A net without stages in its blob names has one, its output. The
VGG net's first stage, `conv5_2_CPM`, is found though its name does not say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from cpm_port.caffe import NetSpec
from cpm_port.errors import UsageError
from cpm_port.imaging.gaussians import center_sigma
from cpm_port.parts import CPM14, FLIC9, PartOrder

__all__ = ["BeliefNet", "NetInterface", "numbered_parts", "read_interface"]


class BeliefNet(Protocol):
    """What prediction asks of a net; `cpm_port.load_net` returns one."""

    @property
    def spec(self) -> NetSpec:
        """The net's layers, inputs and outputs."""
        ...

    @property
    def blob_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every blob, in Caffe's order of blobs."""
        ...

    def __call__(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the net's outputs and the named blobs."""
        ...


@dataclass(frozen=True)
class NetInterface:
    """A net as the test pipeline sees it.

    Attributes
    ----------
    input : str
        Name of the input blob.
    channels : int
        3, or 4 with the center map.
    box_size : int
        Side of the input, px.
    output : str
        Name of the final belief maps' blob.
    stages : dict of int to str
        Stage -> blob of its belief maps.
    part_order : PartOrder
        Names of the parts, in the channels' order.
    center_sigma : float
        Standard deviation of the center map, box px (where `channels` is 4).
    """

    input: str
    channels: int
    box_size: int
    output: str
    stages: Mapping[int, str]
    part_order: PartOrder
    center_sigma: float


def read_interface(net: BeliefNet, part_order: PartOrder | None = None, sigma: float | None = None) -> NetInterface:
    """Read from a net what the pipeline must know.

    Parameters
    ----------
    net : BeliefNet
    part_order : PartOrder, optional
        The net's parts; by default the release's order for their number (14 or 9), else `part_0`, `part_1`, ...
    sigma : float, optional
        Standard deviation of the center map that the net was trained with, box px; by default the release's, in
        proportion to the box: `21 * b / 368`.

    Raises
    ------
    UsageError
        The net is no pose net: not one square, even-sized input of 3 or 4 channels, not one output of at least two
        maps; or `part_order` has another number of parts.
    """
    source = net.spec.source
    inputs = net.spec.inputs
    if len(inputs) != 1:
        raise UsageError(f"{source}: inputs are {', '.join(inputs) or 'none'}; prediction needs one")
    name, shape = next(iter(inputs.items()))
    if len(shape) != 4 or shape[1] not in (3, 4) or shape[2] != shape[3] or shape[2] % 2:
        raise UsageError(
            f"{source}: input {name!r} is {tuple(shape)}; prediction needs (1, 3 or 4, b, b) with an even box size b"
        )
    if len(net.spec.outputs) != 1:
        raise UsageError(f"{source}: outputs are {', '.join(net.spec.outputs)}; prediction needs one, the belief maps")
    output = net.spec.outputs[0]
    maps = net.blob_shapes[output]
    if len(maps) != 4 or maps[1] < 2:
        raise UsageError(
            f"{source}: output {output!r} is {tuple(maps)}; prediction needs (1, parts + background, h, w)"
        )
    num_parts = maps[1] - 1
    order = part_order or {len(CPM14): CPM14, len(FLIC9): FLIC9}.get(num_parts) or numbered_parts(num_parts)
    if len(order) != num_parts:
        raise UsageError(f"{source}: {num_parts} parts and a background, but order {order.name!r} has {len(order)}")
    sigma = center_sigma(shape[2]) if sigma is None else sigma
    return NetInterface(name, shape[1], shape[2], output, _stages(net, output), order, sigma)


def numbered_parts(num_parts: int) -> PartOrder:
    """Return an order of nameless parts: `part_0`, `part_1`, ..., no limbs."""
    return PartOrder(f"numbered{num_parts}", tuple(f"part_{i}" for i in range(num_parts)), ())


def _stages(net: BeliefNet, output: str) -> dict[int, str]:
    """Return stage -> the last blob like the output that is named after it.

    A first stage of another name is the last convolution like the output before the second stage's.
    """
    found: dict[int, str] = {}
    first = None
    for layer in net.spec.layers:
        for blob in layer.tops:
            if net.blob_shapes[blob][1:] == net.blob_shapes[output][1:]:
                numbers = re.findall(r"stage(\d+)", blob)
                found.update((int(number), blob) for number in numbers)
                if not found and layer.type == "Convolution":
                    first = blob
    if found and 1 not in found and first:
        found[1] = first
    return {stage: found[stage] for stage in sorted(found)} or {1: output}
