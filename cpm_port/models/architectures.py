"""The five released architectures and one of our own as data: how they differ, and how a user may vary them.

First step of the room: `cpm.py` builds a module from an `Architecture`, `prototxt.py` writes its Caffe files,
`names.py` joins the two by name. Two designs exist:

- the paper's (`mpi`, `leeds`, `flic`): stage 1 and the later stages each learn their own image features, 9 x 9
  convolutions between 3 x 3 poolings; 11 x 11 convolutions refine the beliefs;
- with a VGG front (`mpi-vgg`, `person`): one front feeds every stage; 7 x 7 convolutions refine.

Sizes are `(height, width)` in box pixels; the maps are 8 times smaller. Channels of a belief map: one per part, and one
of background after them where `background` says so.

Source: the layer geometry of the release's deploy nets; `leeds` is `mpi` under another name, as in the release.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cpm_port.errors import UsageError
from cpm_port.release import BOX_SIZE, STRIDE

__all__ = [
    "ARCHITECTURES",
    "DILATIONS",
    "POOL",
    "RESIDUAL_STRIDE",
    "Architecture",
    "Conv",
    "ResidualWidths",
    "Widths",
    "architecture",
]

RESIDUAL_STRIDE = 16  # the coarsest maps of the residual design, whose beliefs are at 8


@dataclass(frozen=True)
class Conv:
    """A convolution of a VGG front: Caffe's layer name, output channels, kernel size (it keeps the map's size)."""

    name: str
    outputs: int
    kernel: int = 3


POOL = None  # in a front: a 2 x 2 max pooling of stride 2


@dataclass(frozen=True)
class Widths:
    """Channels of the hidden convolutions, by place; the defaults are the released ones.

    Attributes
    ----------
    trunk : int
        The 9 x 9 convolutions that see the image (designs with a VGG front: unused, the front lists its own).
    context : int
        The 5 x 5 convolution that ends the image features of a stage.
    classifier : int
        The wide convolutions of stage 1.
    refinement : int
        The convolutions of the later stages.

    Examples
    --------
    >>> from cpm_port.models import ARCHITECTURES, Widths
    >>> ARCHITECTURES["mpi"].widths == Widths()
    True
    """

    trunk: int = 128
    context: int = 32
    classifier: int = 512
    refinement: int = 128

    def capped(self, width: int) -> Widths:
        """Return the same widths with none above `width`."""
        return Widths(*(min(value, width) for value in (self.trunk, self.context, self.classifier, self.refinement)))


_VGG = (
    Conv("conv1_1", 64), Conv("conv1_2", 64), POOL,
    Conv("conv2_1", 128), Conv("conv2_2", 128), POOL,
    Conv("conv3_1", 256), Conv("conv3_2", 256), Conv("conv3_3", 256), Conv("conv3_4", 256), POOL,
    Conv("conv4_1", 512), Conv("conv4_2", 512),
)  # fmt: skip

MPI_FRONT = (
    *_VGG,
    Conv("conv4_3_CPM", 256), Conv("conv4_4_CPM", 256), Conv("conv4_5_CPM", 256), Conv("conv4_6_CPM", 256),
    Conv("conv4_7_CPM", 128),
)  # fmt: skip

PERSON_FRONT = (
    *_VGG,
    Conv("conv4_3", 512), Conv("conv4_4", 512), Conv("conv5_1", 512), Conv("conv5_2_CPM", 128),
)  # fmt: skip


DILATIONS = (1, 2, 4)
"""Of a later stage's blocks in the residual design, in turn."""


@dataclass(frozen=True)
class ResidualWidths:
    """Channels of the residual design (`residual.py`) by place.

    Attributes
    ----------
    stem : int
        The convolution that sees the image.
    strides : (int, int, int)
        The blocks at stride 4, 8 and 16; the features that all stages share have those of stride 8.
    stage : int
        The blocks of stage 2 and later.
    blocks : int
        Blocks at each of the three strides.
    """

    stem: int = 32
    strides: tuple[int, int, int] = (64, 128, 256)
    stage: int = 88
    blocks: int = 2

    def capped(self, width: int) -> ResidualWidths:
        """Return the same widths with none above `width`."""
        low, middle, high = (min(value, width) for value in self.strides)
        return ResidualWidths(min(self.stem, width), (low, middle, high), min(self.stage, width), self.blocks)


@dataclass(frozen=True)
class Architecture:
    """Everything that defines one net.

    Attributes
    ----------
    name : str
        Name on the command line and, with `_` for `-`, in file names.
    title : str
        What it is, in words.
    stages, parts : int
        Number of stages (from 1) and of body parts.
    box : (int, int)
        Height and width that the deploy net declares, pixels.
    widths : Widths
        Channels of the hidden convolutions.
    background : bool
        Whether the beliefs end with a background channel.
    center_map : bool
        Whether the input has a fourth channel, a Gaussian on the person's centre.
    front : tuple of Conv or POOL
        The VGG front; empty in the paper's design.
    residual : ResidualWidths or None
        Channels of the residual design; None in the others.
    classifier_names : (str, str)
        Caffe's names of stage 1's two last convolutions behind a front.
    shifted_relus : bool
        The release's person net numbers the ReLU of `Mconv<i>` as `Mrelu<i+1>`.

    Examples
    --------
    >>> from cpm_port.models import ARCHITECTURES
    >>> net = ARCHITECTURES["mpi"]
    >>> net.stages, net.parts, net.box
    (6, 14, (368, 368))
    """

    name: str
    title: str
    stages: int
    parts: int
    box: tuple[int, int] = (BOX_SIZE, BOX_SIZE)
    widths: Widths = Widths()
    background: bool = True
    center_map: bool = True
    front: tuple[Conv | None, ...] = ()
    residual: ResidualWidths | None = None
    classifier_names: tuple[str, str] = ("", "")
    shifted_relus: bool = False

    @property
    def maps(self) -> int:
        """Channels of each stage's belief map."""
        return self.parts + int(self.background)

    @property
    def channels(self) -> int:
        """Channels of the net's input."""
        return 3 + int(self.center_map)

    @property
    def input_name(self) -> str:
        """Name of the net's input blob."""
        return "data" if self.center_map else "image"

    @property
    def summary(self) -> str:
        """The net in a line: what it is, stages, parts, box."""
        height, width = self.box
        parts = f"{self.parts} part{'s' if self.parts > 1 else ''}"
        return f"{self.title}: {self.stages} stages, {parts}, box {height} x {width}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the belief maps, one per stage, as Caffe calls them."""
        if self.residual:
            return tuple(f"beliefs_stage{stage}" for stage in range(1, self.stages + 1))
        first, later = (self.classifier_names[1], "Mconv7") if self.front else ("conv7_stage1", "Mconv5")
        return (first, *(f"{later}_stage{stage}" for stage in range(2, self.stages + 1)))


ARCHITECTURES = {
    net.name: net
    for net in (
        Architecture("mpi", "the paper's net for MPII", stages=6, parts=14),
        Architecture("leeds", "the paper's net for LSP, the same as mpi", stages=6, parts=14),
        Architecture("flic", "the paper's net for FLIC", stages=4, parts=9),
        Architecture(
            "mpi-vgg",
            "the later net for MPII, with a VGG front",
            stages=6,
            parts=14,
            front=MPI_FRONT,
            classifier_names=("conv5_1_CPM", "conv5_2_CPM"),
        ),
        Architecture(
            "residual",
            "our own small net, with a residual front",
            stages=3,
            parts=14,
            box=(256, 256),
            residual=ResidualWidths(),
        ),
        Architecture(
            "person",
            "finds the centres of people, without center map",
            stages=4,
            parts=1,
            box=(376, 656),
            background=False,
            center_map=False,
            front=PERSON_FRONT,
            classifier_names=("conv6_1_CPM", "conv6_2_CPM"),
            shifted_relus=True,
        ),
    )
}


def architecture(
    name: str,
    *,
    stages: int | None = None,
    parts: int | None = None,
    width: int | None = None,
    front_share: float | None = None,
    box: tuple[int, int] | None = None,
) -> Architecture:
    """Return an architecture, varied where an argument is given.

    Parameters
    ----------
    name : str
        A key of `ARCHITECTURES`.
    stages, parts : int, optional
        Other numbers of stages and parts.
    width : int, optional
        A cap: no hidden convolution has more output channels. The belief maps keep theirs.
    front_share : float, optional
        The convolutions of a VGG front have this share of their channels, rounded up; `width` caps what is left.
    box : (int, int), optional
        Height and width of the declared input; multiples of 8, of 16 in the residual design.

    Raises
    ------
    UsageError
        An unknown name, a number below 1, a box that is no pair or that 8 does not divide, or a share of a front that
        is not there or not in (0, 1].

    Examples
    --------
    >>> from cpm_port.models import architecture
    >>> architecture("mpi", stages=3, box=(184, 184)).stages
    3
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"architecture {name!r} is unknown; expected one of {', '.join(ARCHITECTURES)}")
    for what, value in (("stages", stages), ("parts", parts), ("width", width)):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; expected 1 or more")
    net = ARCHITECTURES[name]
    if box is not None:
        multiple = RESIDUAL_STRIDE if net.residual else STRIDE
        if not isinstance(box, Sequence) or len(box) != 2:
            raise UsageError(f"box is {box!r}; expected (height, width)")
        if any(side < multiple or side % multiple for side in box):
            raise UsageError(
                f"box is {box[0]} x {box[1]}; expected positive multiples of {multiple} (the net's stride)"
            )
        net = replace(net, box=box)
    if front_share is not None:
        if not net.front or not 0 < front_share <= 1:
            raise UsageError(
                f"front share {front_share} of {name}: expected a number in (0, 1], and a net with a front"
            )
        front = tuple(step and replace(step, outputs=math.ceil(step.outputs * front_share)) for step in net.front)
        net = replace(net, front=front)
    if width is not None:
        front = tuple(step and replace(step, outputs=min(step.outputs, width)) for step in net.front)
        residual = net.residual and net.residual.capped(width)
        net = replace(net, widths=net.widths.capped(width), front=front, residual=residual)
    return replace(net, stages=stages or net.stages, parts=parts or net.parts)
