"""Every kind of layer of the net on a GPU, in every way that it could be run, beside the least time the card allows.

A kind is a convolution with its ReLU, or a pooling, of one shape; layers of the same kind are counted, not timed
again. The ways: float32, TF32 and bf16; PyTorch's layout (NCHW) and channels-last (NHWC); cuDNN's own choice of kernel
and the fastest one that it measures (`measured`: `cudnn.benchmark`); bias and ReLU as kernels of their own, as the
net's layers have them, or `fused` with the convolution by cuDNN; max-pooling as PyTorch has it on GPUs, which writes
indices that nobody asked for, or `without indices`, as a maximum over a view of the windows.

The roofline is the card's own: its measured matrix rate in that precision and its measured bandwidth. A layer is bound
by whichever takes longer, and `share %` is that time over the fastest way's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cpm_port.bench._gpu import Sizes, gpu_seconds, rates
from cpm_port.caffe import infer_shapes, layer_flops, parse_net
from cpm_port.engine.precision import PRECISIONS, arithmetic, kernels_measured
from cpm_port.graph import load_net
from cpm_port.graph.layers._pool2d import PoolWindow
from cpm_port.graph.layers.pooling import Pooling
from cpm_port.models import deploy_text
from cpm_port.release import BENCHMARK_MULTIPLIERS

__all__ = ["layers"]

_IMAGES = 4 * len(BENCHMARK_MULTIPLIERS)  # four people's
_LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


@dataclass(frozen=True, eq=False)
class _Kind:
    """Layers of one type and shape: the first one's module and name, how many there are, and what one costs."""

    name: str
    count: int
    module: Any
    shape: tuple[int, ...]
    rectified: bool
    operations: int
    values: int


def layers(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Time every kind of layer; a table for each precision."""
    matrix, bandwidth = rates(device, sizes)
    yield {"TFLOP per second of a product": {name: rate / 1e12 for name, rate in matrix.items()}}
    yield {"GB per second of a copy": bandwidth / 1e9}
    tables: dict[str, dict[str, Any]] = {precision: {} for precision in reversed(PRECISIONS)}  # the fastest first
    refused: dict[str, str] = {}
    for precision, kind in itertools.product(tables, _kinds(sizes)):
        size = 2 if precision == "bf16" else 4
        computing, moving = kind.operations / matrix[precision], size * kind.values / bandwidth
        with torch.inference_mode():
            ways = dict(_ways(kind, precision, device, sizes, refused))
        least, best = max(computing, moving), min(ways, key=lambda way: ways[way])
        tables[precision][kind.name] = {
            "layers": kind.count,
            "GFLOP": kind.operations / 1e9,
            "MB": size * kind.values / 1e6,
            "bound by": "matrix rate" if computing >= moving else "memory",
            "least ms": 1e3 * least,
            **{f"{way}, ms": 1e3 * seconds for way, seconds in ways.items()},
            "fastest": best,
            "share %": 100 * least / ways[best],
        }
        yield {f"layers in {precision}": tables[precision], "ways that are not here": refused}


def _kinds(sizes: Sizes) -> list[_Kind]:
    """Return the net's kinds of convolutions and poolings, in its order."""
    net = load_net(parse_net(deploy_text(sizes.design)))
    shapes = infer_shapes(net.spec, {name: (_IMAGES, *shape[1:]) for name, shape in net.inputs.items()})
    rectified = {layer.bottoms[0] for layer in net.spec.layers if layer.type == "ReLU"}
    found: dict[tuple[Any, ...], list[_Kind]] = {}
    for step in net.steps:
        layer = step.spec
        if layer.type not in ("Convolution", "Pooling"):
            continue
        module: nn.Module = net.get_submodule(step.key)
        bottom, top = shapes[layer.bottoms[0]], shapes[layer.tops[0]]
        weights = [tuple(parameter.shape) for parameter in module.parameters()]
        moved = [bottom, top, *weights]
        kind = _Kind(
            layer.name,
            1,
            module,
            bottom,
            layer.tops[0] in rectified and layer.type == "Convolution",
            layer_flops(layer, [bottom]) or 0,
            sum(math.prod(shape) for shape in moved),
        )
        found.setdefault((layer.type, bottom, top, *weights, kind.rectified), []).append(kind)
    return [replace(same[0], count=len(same)) for same in found.values()]


def _ways(
    kind: _Kind, precision: str, device: torch.device, sizes: Sizes, refused: dict[str, str]
) -> Iterator[tuple[str, float]]:
    """Yield each way's seconds; what a device does not offer goes to `refused` with its reason."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for (layout, memory_format), measured in itertools.product(_LAYOUTS.items(), (False, True)):
        data = torch.randn(kind.shape, device=device).to(dtype).to(memory_format=memory_format)
        module = kind.module.to(device=device, dtype=dtype)
        for parameter in module.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=memory_format)
        with arithmetic("tf32" if precision == "tf32" else "float32", device), kernels_measured(measured):
            calls = {"": _plain(module, data, kind.rectified), **_other_calls(module, data, kind.rectified)}
            for name, call in calls.items():
                way = f"{layout}{' measured' if measured else ''}{name}"
                try:
                    yield way, gpu_seconds(call, device, sizes)
                except (RuntimeError, NotImplementedError) as error:
                    refused[f"{precision} {way}"] = str(error).splitlines()[0]


def _other_calls(module: Any, data: Tensor, rectified: bool) -> dict[str, Callable[[], Tensor]]:
    """Return the ways to run a layer that the net does not take."""
    if rectified:
        return {" fused": _fused(module, data)}
    if isinstance(module, Pooling) and module.fields.pool == "MAX" and module.window.pad == (0, 0):
        return {" without indices": _without_indices(module.window, data)}
    return {}


def _plain(module: Any, data: Tensor, rectified: bool) -> Callable[[], Tensor]:
    """Return the layer as the net runs it."""
    if rectified:
        return lambda: functional.relu_(module(data)[0])
    return lambda: module(data)[0]


def _fused(module: Any, data: Tensor) -> Callable[[], Tensor]:
    """Return cuDNN's convolution with bias and ReLU in one kernel."""
    weight, bias = module.parameters()
    groups = module.fields.group
    return lambda: torch.cudnn_convolution_relu(data, weight, bias, module.stride, module.pad, module.dilation, groups)


def _without_indices(window: PoolWindow, data: Tensor) -> Callable[[], Tensor]:
    """Return max-pooling without padding as one reduction over all windows."""
    sides = (data.shape[2], data.shape[3])
    reached = [
        (n - 1) * step + size
        for n, step, size in zip(window.output_size(*sides), window.stride, window.kernel, strict=True)
    ]
    below, right = (
        end - side for end, side in zip(reached, sides, strict=True)
    )  # less than 0: the last ones are in no window
    return lambda: (
        functional.pad(data, (0, right, 0, below), value=-torch.inf)
        .unfold(2, window.kernel[0], window.stride[0])
        .unfold(3, window.kernel[1], window.stride[1])
        .amax(dim=(4, 5))
    )
