"""The flip test: a net that looks at every box and at its mirror image, and averages what it believes of both.

Where in the flow: around the net, below everything else; whoever runs it notes nothing but twice the time. Belief maps
of the mirror image are turned back, and left parts exchanged with right ones. The center map is mirrored with the
image. Not in the release; common since (hourglass networks, Newell et al., 2016).

Convention: belief maps are (N, C, h, w), one channel per part and perhaps the background after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from cpm_port.caffe import NetSpec
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface

__all__ = ["MirroredNet"]


class MirroredNet(nn.Module):
    """A pose net that believes the average of an image's beliefs and its mirror image's.

    Parameters
    ----------
    net : BeliefNet
    interface : NetInterface, optional
        What `read_interface` says of it: the parts' order tells left from right.

    Raises
    ------
    UsageError
        The net is no pose net.
    """

    def __init__(self, net: BeliefNet, interface: NetInterface | None = None) -> None:
        super().__init__()
        self._net = net
        interface = interface or read_interface(net)
        order = interface.part_order
        self._input = interface.input
        self._beliefs = frozenset((interface.output, *interface.stages.values()))
        self._exchange = [*order.mirrored(), len(order)]

    @property
    def spec(self) -> NetSpec:
        """The net's layers, inputs and outputs."""
        return self._net.spec

    @property
    def blob_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every blob for one look."""
        return self._net.blob_shapes

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the net's outputs and the named blobs; belief maps are averages, other blobs the image's own."""
        found = self._net(inputs, blobs)
        mirror = {**inputs, self._input: inputs[self._input].flip(3)}
        believed = self._net(mirror, blobs)
        for name in self._beliefs & found.keys():
            maps = believed[name]
            found[name] = (found[name] + maps.flip(3)[:, self._exchange[: maps.shape[1]]]) / 2
        return found
