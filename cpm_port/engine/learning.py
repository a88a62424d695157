"""A Caffe net's forward pass for training on a CPU: the same blobs and gradients, by the engine's convolutions.

Flow: a batch's blobs -> layers joined into operations (`program.py`) -> **the same blobs**, with gradients. Where that
pays, convolutions run in the frequency domain, forward and back (`gradients.py`), each with the ReLU and the pooling
behind it; all other layers are the net's own. Where it pays is decided by a cost model for each size of inputs, alike
everywhere.

Spectra of maps take at most `WORKSPACE` bytes, those of weights at most `WEIGHTS`, kept from pass to pass.

3 x 3 layers stay with the library's kernels, channels-last: from 32 channels on, tiles of 16 take 0.9 to 1.1 times as
long, and Winograd's F(4, 3) errs by 5e-6 to 1e-5 of the largest value in the forward pass alone.

It knowingly differs: blobs and gradients agree to about 1e-6 of each one's largest value rather than bit by bit, a
value that is not finite spoils its neighbourhood (`fft.py`), and gradients have no gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cpm_port.compute.memory import Workspace
from cpm_port.engine.fft import LANES, NO_POOL, TILE_SIZES, tile_geometry
from cpm_port.engine.gradients import convolve
from cpm_port.engine.net import MEMORY_BOUND, PLANS, AcceleratedNet
from cpm_port.engine.program import Operation, Program, compile_program, is_plain_convolution
from cpm_port.graph import CaffeNet, LayerModule, Shape
from cpm_port.graph.net import Blob

__all__ = ["WEIGHTS", "WORKSPACE", "LearningJob", "LearningNet", "tile_size"]

WORKSPACE, WEIGHTS = 256 << 20, 256 << 20

# Per core of the machine this was fitted on (Zen 4, AVX-512), float32. Only their proportions matter.
_DIRECT = 115e9  # operations a second of the direct convolution and its gradients, with many channels
_DIRECT_FEW = 58e9  # and with few
_PRODUCT = 65e9  # of the products per frequency
_TRANSFORM = 0.8e9  # values a second through one transform of maps
_SPECTRA = 1.1e9  # values a second of weights' spectra
_PASS = 1e-3  # seconds to start all passes


@dataclass(frozen=True)
class LearningJob:
    """A 'same' convolution of stride 1 to be trained: its sizes, and which gradients are wanted."""

    images: int
    channels: int
    outputs: int
    kernel: int
    height: int
    width: int
    for_input: bool
    for_weight: bool


class LearningNet(AcceleratedNet):
    """An accelerated net whose passes with gradients run faster, too.

    Parameters
    ----------
    net : CaffeNet
        Stays as it is. Its parameters are shared: training either net changes both. What the engine does not cover (a
        net on another device or in another type, autocast, tracing, hooks) runs by the net's own layers.

    Examples
    --------
    >>> import torch
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.engine import LearningNet
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> fast = LearningNet(net)
    >>> fast(torch.rand(1, 4, 64, 64))["Mconv5_stage2"].sum().backward()
    >>> all(parameter.grad is not None for parameter in net.parameters())
    True
    """

    def __init__(self, net: CaffeNet) -> None:
        super().__init__(net, MEMORY_BOUND, "model")

    def _start(self) -> None:
        super()._start()
        self._learning_workspace = Workspace(WORKSPACE)
        self._learning_plans: dict[tuple[object, ...], _Plan] = {}
        self.learning_ways: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` take along: nothing of what `_start` makes."""
        return {name: value for name, value in super().__getstate__().items() if "learning_" not in name}

    def forward(self, inputs: Mapping[str, Blob] | Blob, blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Run the net; parameters, result and errors as those of `CaffeNet.forward`."""
        by_value = any(module.shaped_by_values for module in self._layer_modules())
        if not torch.is_grad_enabled() or by_value or self.is_followed(inputs):
            return super().forward(inputs, blobs)
        table = self.take_inputs(inputs)
        if not self.is_covered(table):
            return super().forward(table, blobs)
        shapes = {name: tuple(tensor.shape) for name, tensor in table.items()}
        with self._turn:
            self._reshape(shapes)
            program, sizes = self._learning_plan(shapes, tuple(self._wanted(blobs)))
        self.learning_ways = sizes
        values = {program.inputs[name]: _channels_last(tensor) for name, tensor in table.items()}
        for operation in program.operations:
            bottoms = [values[value] for value in operation.reads]
            for position in operation.detached:
                bottoms[position] = bottoms[position].detach()
            values.update(zip(operation.writes, self._learn(operation, bottoms, sizes), strict=True))
            del bottoms
            for value in operation.frees:
                del values[value]
        return {name: values[value].contiguous() for name, value in program.results.items()}

    def _learn(self, operation: Operation, bottoms: list[Tensor], sizes: Mapping[str, int]) -> Sequence[Tensor]:
        module, size = self.get_submodule(operation.key), sizes.get(operation.key, 0)
        assert isinstance(module, LayerModule)
        if size:
            weight, *bias = module.blobs
            return (
                convolve(bottoms[0], weight, bias[0] if bias else None, size=size, rectify=operation.rectify,
                         pool=operation.pool, workspace=self._learning_workspace),
            )  # fmt: skip
        tops: tuple[Tensor, ...] = module(*bottoms)
        if operation.rectify:
            tops = (tops[0].relu(),)
        pool = operation.pool
        return tops if pool == NO_POOL else (F.max_pool2d(tops[0], pool.kernel, pool.stride, ceil_mode=True),)

    def _learning_plan(self, shapes: dict[str, Shape], wanted: tuple[str, ...]) -> _Plan:
        """Return the operations for inputs of these shapes, and each convolution's tile size."""
        learns = tuple(parameter.requires_grad for parameter in self.parameters())
        key = (tuple(shapes.items()), wanted, learns)
        if key not in self._learning_plans:
            self._learning_plans[key] = compile_program(self, wanted), self._sizes()
            if len(self._learning_plans) > PLANS:
                del self._learning_plans[next(iter(self._learning_plans))]
        return self._learning_plans[key]

    def _sizes(self) -> dict[str, int]:
        """Return the convolutions' tile sizes, at the blobs' sizes of now."""
        learned: set[str] = set()
        sizes = {}
        for step in self.steps:
            module = self.get_submodule(step.key)
            reached = [i not in step.detached and name in learned for i, name in enumerate(step.spec.bottoms)]
            learns = any(parameter.requires_grad for parameter in module.parameters())
            if is_plain_convolution(module):
                assert isinstance(module, LayerModule)
                images, channels, height, width = self._blob_shapes[step.spec.bottoms[0]]
                outputs, _, kernel, _ = module.blob(0).shape
                job = LearningJob(
                    images, channels, outputs, kernel, height, width, reached[0], module.blob(0).requires_grad
                )
                sizes[step.key] = tile_size(job)
            if learns or any(reached):
                learned |= set(step.spec.tops)
        return sizes


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


_Plan = tuple[Program, dict[str, int]]


def tile_size(job: LearningJob) -> int:
    """Return the tile size that makes a convolution's training fastest by the cost model, 0 for the direct way."""
    back = job.for_input + job.for_weight
    rate = _DIRECT if job.channels >= LANES else _DIRECT_FEW
    maps = job.channels * job.outputs
    times = {0: 2 * job.images * job.height * job.width * maps * job.kernel**2 * (1 + back) / rate}
    padded, outputs = (count + -count % LANES for count in (job.channels, job.outputs))
    for size in TILE_SIZES if job.kernel > 1 and job.images else ():
        geometry = tile_geometry(job.height, job.width, job.kernel, size, NO_POOL)
        frequencies = size * (size // 2 + 1)
        if (
            geometry is None
            or 8 * frequencies * maps > WEIGHTS
            or 16 * frequencies * (padded + job.outputs) > WORKSPACE
        ):
            continue
        tiles = job.images * geometry.rows * geometry.columns
        tiles += tiles % 2
        transforms = padded + outputs + (back > 0) * outputs + (job.for_weight + job.for_input) * padded
        times[size] = (
            8 * frequencies * tiles * maps * (1 + back) / _PRODUCT
            + tiles * size**2 * transforms / _TRANSFORM
            + 2 * frequencies * maps * (1 + back) / _SPECTRA
            + _PASS
        )
    return min(times, key=lambda size: times[size])
