"""What the test pipeline must know of a net, read from the net itself: box size, channels, outputs, stages, parts.

Where in the flow: once per net, before the first image.

Conventions: the input is `(1, C, b, b)` with C = 3 (colour) or 4 (colour and center map), the output `(1, P + 1, h, w)`
with the background last. Stages count from 1.

Source: the reference notes (`release_testing.md`) section 2, step 3. How stages are found: `cpm_port.models.interface`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from cpm_port.caffe import NetSpec
from cpm_port.caffe.shapes import infer_shapes
from cpm_port.errors import LayerError, UnsupportedLayerError, UsageError
from cpm_port.models.interface import belief_maps, image_input
from cpm_port.parts import BACKGROUND, PartOrder, release_order
from cpm_port.release import PIXEL_DIVISOR, PIXEL_OFFSET, center_sigma

__all__ = ["BeliefNet", "NetInterface", "described", "numbered_parts", "read_interface"]


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
    name, shape = image_input(net.spec)
    if len(net.spec.outputs) != 1:
        raise UsageError(f"{source}: outputs are {', '.join(net.spec.outputs)}; prediction needs one, the belief maps")
    output = net.spec.outputs[0]
    maps = net.blob_shapes[output]
    if len(maps) != 4 or maps[1] < 2:
        raise UsageError(
            f"{source}: output {output!r} is {tuple(maps)}; prediction needs (1, parts + background, h, w)"
        )
    num_parts = maps[1] - 1
    order = part_order or release_order(num_parts) or numbered_parts(num_parts)
    if len(order) != num_parts:
        raise UsageError(f"{source}: {num_parts} parts and a background, but order {order.name!r} has {len(order)}")
    sigma = center_sigma(shape[2]) if sigma is None else sigma
    stages = belief_maps(net.spec, net.blob_shapes) or {1: output}
    return NetInterface(name, shape[1], shape[2], output, stages, order, sigma)


def described(net: NetSpec, sigma: float | None = None, part_order: PartOrder | None = None) -> dict[str, str]:
    """Return what somebody who runs a net elsewhere must know of it, as words; nothing where it is no pose net.

    Parameters
    ----------
    net : NetSpec
    sigma : float, optional
        Of the center map, as of `read_interface`.
    part_order : PartOrder, optional
        The net's parts, as of `read_interface`.

    Returns
    -------
    dict of str to str
        `parts` (the maps' names, in order), `input` (how pixels are prepared), `center_map` (where there is one),
        `box_size` (px), `stride` (input px per cell of the maps).
    """
    try:
        shapes = infer_shapes(net)
        found = read_interface(_Spec(net, shapes), part_order, sigma)
    except (UsageError, LayerError, UnsupportedLayerError):
        return {}
    words = {
        "parts": ", ".join((*found.part_order.parts, BACKGROUND)),
        "input": f"channels blue, green, red; pixel / {PIXEL_DIVISOR:g} - {PIXEL_OFFSET:g}",
        "box_size": str(found.box_size),
        "stride": f"{found.box_size / shapes[found.output][2]:g}",
    }
    if found.channels == 4:
        words["center_map"] = f"4th channel: Gaussian in the middle of the box, sigma {found.center_sigma:g} px, peak 1"
    return words


@dataclass(frozen=True)
class _Spec:
    """A net that is only looked at."""

    spec: NetSpec
    blob_shapes: Mapping[str, tuple[int, ...]]

    def __call__(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        raise AssertionError("not to be run")


def numbered_parts(num_parts: int) -> PartOrder:
    """Return an order of nameless parts: `part_0`, `part_1`, ..., no limbs."""
    return PartOrder(f"numbered{num_parts}", tuple(f"part_{i}" for i in range(num_parts)), ())
