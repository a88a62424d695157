"""The Convolutional Pose Machine as a readable `nn.Module`: the paper's Figure 2 in code.

A pose machine is a row of classifiers g_1 ... g_T. The first sees the image only and gives a belief map per part; each
later one sees image features again and, through large kernels, the beliefs of the stage before it:

    b_1 = g_1(x(image))            b_t = g_t(x'(image), b_{t-1}, center),  t >= 2

Convention: input (N, 4, H, W) float32, three BGR channels `pixel/256 - 0.5` and the center map, a Gaussian at full
resolution on the person of interest; every stage gives (N, parts + 1, H/8, W/8), background last. H and W are multiples
of 8.

`CPM` is the paper's design, `VGGCPM` the release's later one, `ResidualCPM` our own small one. They compute what
`cpm_port.load_net` computes on the prototxt of the same `Architecture` (tests/models/test_cpm.py); `names.py` carries
weights between the two forms.

Differs from the figure as the released files do: poolings are 3 x 3 of stride 2, and a stage's features are 32 maps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpm_port.errors import ShapeError
from cpm_port.models.architectures import (
    DILATIONS,
    MPI_FRONT,
    RESIDUAL_STRIDE,
    Architecture,
    Conv,
    ResidualWidths,
    Widths,
)
from cpm_port.release import STRIDE

__all__ = ["CPM", "VGGCPM", "ResidualCPM", "build"]


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def _classifier(inputs: int, hidden: Sequence[tuple[int, int]], maps: int) -> nn.Sequential:
    """Return convolutions of (width, kernel) with ReLUs between, and a linear 1 x 1 one to the belief maps."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (width, kernel) in enumerate(hidden, start=1):
        layers[f"conv{i}"] = _conv(inputs, width, kernel)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        inputs = width
    layers["beliefs"] = _conv(inputs, maps, 1)
    return nn.Sequential(layers)


def _trunk(width: int) -> nn.Sequential:
    """Return the image features down to stride 8: three times a 9 x 9 convolution and a pooling that rounds up."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, inputs in enumerate((3, width, width), start=1):
        layers[f"conv{i}"] = _conv(inputs, width, 9)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        layers[f"pool{i}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.Sequential(layers)


def _context(inputs: int, width: int) -> nn.Sequential:
    """Return the 5 x 5 convolution that ends a stage's image features."""
    return nn.Sequential(OrderedDict(conv=_conv(inputs, width, 5), relu=nn.ReLU(inplace=True)))


def _check_input(data: Tensor, channels: int, multiple: int = STRIDE) -> None:
    """Refuse what a net would bring to different sizes on two ways."""
    if data.ndim != 4 or data.shape[1] != channels or data.shape[2] % multiple or data.shape[3] % multiple:
        expected = f"(N, {channels}, H, W), H and W multiples of {multiple}"
        raise ShapeError(f"input is {tuple(data.shape)}; expected {expected}")


def _center_cells(center_map: Tensor) -> Tensor:
    """Average the center map down to stride 8; windows that leave the map average what lies inside."""
    return F.avg_pool2d(center_map, 9, stride=STRIDE, ceil_mode=True)


class CPM(nn.Module):
    """The paper's Convolutional Pose Machine.

    Parameters
    ----------
    stages : int
        T in the paper.
    parts : int
        P in the paper; the maps have one channel more, the background.
    widths : Widths
        Channels of the hidden convolutions.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.models import CPM, Widths
    >>> net = CPM(stages=2, parts=9, widths=Widths(trunk=4, context=4, classifier=4, refinement=4))
    >>> [tuple(beliefs.shape) for beliefs in net(torch.zeros(1, 4, 64, 64))]
    [(1, 10, 8, 8), (1, 10, 8, 8)]
    """

    def __init__(self, stages: int = 6, parts: int = 14, widths: Widths | None = None) -> None:
        super().__init__()
        w = widths or Widths()
        maps = parts + 1
        self.first_trunk = _trunk(w.trunk)  # x: the features of stage 1
        self.first_context = _context(w.trunk, w.context)
        self.first_classifier = _classifier(w.context, [(w.classifier, 9), (w.classifier, 1)], maps)
        later = range(2, stages + 1)
        self.trunk = _trunk(w.trunk) if later else nn.Sequential()  # x': shared by all later stages
        self.contexts = nn.ModuleDict({f"stage{t}": _context(w.trunk, w.context) for t in later})
        refine = [(w.refinement, 11)] * 3 + [(w.refinement, 1)]
        self.classifiers = nn.ModuleDict({f"stage{t}": _classifier(w.context + maps + 1, refine, maps) for t in later})

    def forward(self, data: Tensor) -> list[Tensor]:
        """Return the belief maps of every stage, first to last; ShapeError for an input of another shape."""
        _check_input(data, 4)
        image, center = data[:, :3], _center_cells(data[:, 3:])
        beliefs = [self.first_classifier(self.first_context(self.first_trunk(image)))]
        shared = self.trunk(image)
        for stage, classifier in self.classifiers.items():
            features = self.contexts[stage](shared)
            beliefs.append(classifier(torch.cat([features, beliefs[-1], center], dim=1)))
        return beliefs


class VGGCPM(nn.Module):
    """The release's design with a VGG front, whose features all stages share.

    Parameters
    ----------
    stages, maps : int
        Number of stages, and of belief maps (background included where there is one).
    front : sequence of Conv or POOL
        The front, VGG's first layers and those that bring them down to the features.
    widths : Widths
        `classifier` and `refinement` are used.
    center_map : bool
        Whether the input's fourth channel is a center map; without, the input has three channels.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.models import architecture, build
    >>> net = build(architecture("mpi-vgg", stages=2, width=4))
    >>> [tuple(maps.shape) for maps in net(torch.zeros(1, 4, 64, 64))]
    [(1, 15, 8, 8), (1, 15, 8, 8)]
    """

    def __init__(
        self,
        stages: int = 6,
        maps: int = 15,
        front: Sequence[Conv | None] = MPI_FRONT,
        widths: Widths | None = None,
        *,
        center_map: bool = True,
    ) -> None:
        super().__init__()
        w = widths or Widths()
        self.center_map = center_map
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for step in front:
            if step is None:
                layers[f"pool{sum(name.startswith('pool') for name in layers) + 1}"] = nn.MaxPool2d(2, ceil_mode=True)
            else:
                layers[step.name] = _conv(inputs, step.outputs, step.kernel)
                layers[step.name.replace("conv", "relu")] = nn.ReLU(inplace=True)
                inputs = step.outputs
        self.front = nn.Sequential(layers)
        self.first_classifier = _classifier(inputs, [(w.classifier, 1)], maps)
        refine = [(w.refinement, 7)] * 5 + [(w.refinement, 1)]
        self.classifiers = nn.ModuleDict(
            {f"stage{t}": _classifier(maps + inputs + int(center_map), refine, maps) for t in range(2, stages + 1)}
        )

    def forward(self, data: Tensor) -> list[Tensor]:
        """Return the belief maps of every stage, first to last; ShapeError for an input of another shape."""
        _check_input(data, 3 + int(self.center_map))
        features = self.front(data[:, :3])
        evidence = [features, _center_cells(data[:, 3:])] if self.center_map else [features]
        beliefs = [self.first_classifier(features)]
        for classifier in self.classifiers.values():
            beliefs.append(classifier(torch.cat([beliefs[-1], *evidence], dim=1)))
        return beliefs


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; a convolution on the shortcut where shapes change."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation)
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, rectified."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResidualCPM(nn.Module):
    """The residual design, as deployed: normalization folded into the convolutions (`residual.py` draws it).

    Parameters
    ----------
    stages, maps : int
        Number of stages, and of belief maps (background included).
    widths : ResidualWidths

    Examples
    --------
    >>> import torch
    >>> from cpm_port.models import architecture, build
    >>> net = build(architecture("residual", stages=2, width=4))
    >>> [tuple(maps.shape) for maps in net(torch.zeros(1, 4, 64, 64))]
    [(1, 15, 8, 8), (1, 15, 8, 8)]
    """

    def __init__(self, stages: int = 3, maps: int = 15, widths: ResidualWidths | None = None) -> None:
        super().__init__()
        w = widths or ResidualWidths()
        self.conv1 = nn.Conv2d(3, w.stem, 7, stride=2, padding=3)
        channels = w.stem
        for level, outputs in enumerate(w.strides, start=1):
            for number in range(1, w.blocks + 1):
                stride = 2 if level > 1 and number == 1 else 1
                self.add_module(f"block{level}_{number}", _Block(channels, outputs, stride=stride))
                channels = outputs
        shared = w.strides[1]
        self.enlarge = nn.ConvTranspose2d(channels, shared, 2, stride=2)
        self.features = _Block(shared, shared)
        self.hidden_stage1 = nn.Conv2d(shared, shared, 1)
        self.beliefs_stage1 = nn.Conv2d(shared, maps, 1)
        self.later = range(2, stages + 1)
        for t in self.later:
            self.add_module(f"hidden_stage{t}", nn.Conv2d(shared + maps + 1, w.stage, 1))
            for dilation in DILATIONS:
                block = _Block(w.stage, w.stage, dilation=dilation)
                self.add_module(f"dilated{dilation}_stage{t}", block)
            self.add_module(f"beliefs_stage{t}", nn.Conv2d(w.stage, maps, 1))
        self.blocks = w.blocks

    def forward(self, data: Tensor) -> list[Tensor]:
        """Return the belief maps of every stage, first to last; ShapeError for an input of another shape."""
        _check_input(data, 4, RESIDUAL_STRIDE)
        x = F.max_pool2d(F.relu(self.conv1(data[:, :3])), 3, stride=2, ceil_mode=True)
        at_stride_8 = x
        for level in (1, 2, 3):
            for number in range(1, self.blocks + 1):
                x = self.get_submodule(f"block{level}_{number}")(x)
            at_stride_8 = x if level == 2 else at_stride_8
        features = self.features(F.relu(F.relu(self.enlarge(x)) + at_stride_8))
        beliefs = [self.beliefs_stage1(F.relu(self.hidden_stage1(features)))]
        for t in self.later:
            evidence = torch.cat([features, beliefs[-1], _center_cells(data[:, 3:])], dim=1)
            x = F.relu(self.get_submodule(f"hidden_stage{t}")(evidence))
            for dilation in DILATIONS:
                x = self.get_submodule(f"dilated{dilation}_stage{t}")(x)
            beliefs.append(self.get_submodule(f"beliefs_stage{t}")(x))
        return beliefs


def build(net: Architecture) -> CPM | VGGCPM | ResidualCPM:
    """Return the module of an architecture, with PyTorch's own initial weights.

    Examples
    --------
    >>> from cpm_port.models import architecture, build
    >>> type(build(architecture("mpi", stages=2, width=4))).__name__
    'CPM'
    """
    if net.residual:
        return ResidualCPM(net.stages, net.maps, net.residual)
    if net.front:
        return VGGCPM(net.stages, net.maps, net.front, net.widths, center_map=net.center_map)
    return CPM(net.stages, net.parts, net.widths)
