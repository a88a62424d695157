"""Training speed: samples per second of whole iterations, and how much of the machine's matrix rate that is.

What is timed: forward, backward and update of a CPM's train net on one batch that lies on the device already, as
`cpm-port train` does it (`Objective`, SGD in Caffe's order), without the making of batches; beside it, in turn, a
product of two large square matrices and a convolution of 128 channels by 9 x 9, all of the same type. The faster of
these two counts as what the machine can do: its matrix rate. (On a CPU they come from different libraries, and the
product is often the slower one.) The net's arithmetic is counted from its convolutions: two operations per
multiplication, once forward, once for the weights' gradient, and once for the input's where the input depends on
weights.

`plain PyTorch` is the same iteration as a port would write it: the readable twin, eager, float32, NCHW, and
`torch.optim.SGD`. On a CPU ours runs by the Fourier engine (`--no-engine`: by the same library's convolutions).

Parity first: the losses of the timed configuration, and of plain PyTorch, beside float32 on the CPU. The engine's
gradients, of one image, are held to those of direct sums in float64 (which plain float32 is often further from), with
TanH and average pooling in the place of ReLU and maxima: at their kinks any rounding makes gradients jump.

Without arguments: the full 6-stage net, in bfloat16, channels-last and at batch 16 on a GPU, at batch 2 in float32
where there is none.
`--finetune N` also trains that net for N iterations on 40 drawn people, from seeded weights, with the engine and
without, as `cpm-port train` does: the losses must be the same, and the seconds of both are told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cpm_port.bench._peers import seeded_model
from cpm_port.bench._timing import take_turns
from cpm_port.caffe import infer_shapes, layer_flops, parse_net, parse_solver
from cpm_port.compute.devices import World, checked_device, default_device
from cpm_port.engine.precision import arithmetic, kernels_measured
from cpm_port.errors import TrainingError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import (
    Architecture,
    SolverSettings,
    TrainingData,
    architecture,
    build,
    from_caffe,
    train_text,
    write_files,
)
from cpm_port.release import BOX_SIZE, STRIDE
from cpm_port.training.objective import Objective
from cpm_port.training.presets import fill_like_he, recipe_of
from cpm_port.training.progress import read_metrics
from cpm_port.training.run import RunOptions, open_run

__all__ = ["configure", "run", "training_flops"]

_BATCH, _REPEATS = {"cuda": 16, "cpu": 2}, {"cuda": 15, "cpu": 5}  # few repeats of short steps leave much to chance
_PRODUCT_SIZE, _CHANNELS = {"cuda": 8192, "cpu": 2048}, 128  # of what tells the machine's matrix rate
_LOSS_TOLERANCE = {"bf16": 0.02, None: 1e-4}  # relative; bfloat16 keeps 8 bits
_GRADIENT_TOLERANCE = 1e-5  # of each tensor's largest value: what the engine promises
_RUN_TOLERANCE = 1e-4  # relative, of every loss of a fine-tuning
_RATE = 1e-6  # at Caffe's 8e-5 seeded weights learn so unsteadily that rounding of 4e-7 grows to 2e-4 in 12 iterations
_EXACT_BOX = 128  # px: float64 is slow
_SMOOTH = {'type: "ReLU"': 'type: "TanH"', "pool: MAX": "pool: AVE"}
_PEOPLE = "drawn:count=40,size=400,seed=1"
_SOLVER = 'lr_policy: "fixed" base_lr: 1e-9 momentum: 0.9 weight_decay: 0.0005'


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's arguments."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument("--stages", type=int, default=6)
    parser.add_argument("--width", type=int, help="no hidden convolution has more channels")
    parser.add_argument("--box-size", type=int, default=BOX_SIZE)
    parser.add_argument("--batch-size", type=int, help="default: 16 on a GPU, 2 on a CPU")
    parser.add_argument("--amp", choices=("bf16", "none"), help="default: bf16 on a GPU")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--channels-last", action=argparse.BooleanOptionalAction, help="default: on a GPU in bf16, whose layout it is"
    )
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument(
        "--engine", action=argparse.BooleanOptionalAction, help="default: on a CPU in float32, without the three above"
    )
    parser.add_argument("--finetune", type=int, default=0, metavar="N", help="iterations of a run with and without it")
    parser.add_argument("--repeats", type=int, help="default: 15 on a GPU, 5 on a CPU")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return medians, ratios, samples per second, operations per second and the share of the matrix rate."""
    device = torch.device(checked_device(args.device or default_device()))
    with (
        arithmetic("float32", device),
        kernels_measured(device.type == "cuda"),
    ):  # bfloat16, where chosen, is the objective's own; nothing is ever in TF32
        return _run(args, device)


def _run(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    amp = None if (args.amp or ("bf16" if on_gpu else "none")) == "none" else "bf16"
    channels_last = on_gpu and amp is not None if args.channels_last is None else args.channels_last
    others = bool(amp or args.compile or channels_last or args.recompute)
    engine = not (on_gpu or others) if args.engine is None else args.engine
    box, batch = args.box_size, args.batch_size or _BATCH[device.type]
    design = architecture("mpi", stages=args.stages, width=args.width, box=(box, box))
    text = train_text(design, TrainingData(batch_size=batch))
    net = _filled(text)
    inputs = {name: torch.randn(shape) * 0.2 for name, shape in net.inputs.items()}
    exact = Objective(net)({name: value[:1] for name, value in inputs.items()}).detach()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    inputs = {name: value.to(device).to(memory_format=layout) for name, value in inputs.items()}
    first = {name: value[:1] for name, value in inputs.items()}
    plain = _PlainPort(net, design, device)
    parity = _parity(exact, Objective(net, bfloat16=amp is not None, engine=engine)(first), amp)
    _parity(exact.sum(), plain.loss(first), None)
    if engine:
        parity += f", {_gradient_parity(design)}"
    objective = Objective(net, bfloat16=amp is not None, compiled=args.compile, recompute=args.recompute, engine=engine)
    optimizer, _ = recipe_of(parse_solver(_SOLVER), net.param_info())

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(inputs).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait(device)

    def plain_iteration() -> None:
        plain.step(inputs)
        _wait(device)

    dtype = torch.bfloat16 if amp else torch.float32
    product, convolution = _square_products(device, dtype), _wide_convolution(device, dtype)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    sides = {"iteration": iteration, "plain PyTorch": plain_iteration}
    sides |= {yardstick.name: yardstick.compute for yardstick in (product, convolution)}
    result = take_turns(sides, args.repeats or _REPEATS[device.type])
    seconds, plain_seconds, product_seconds, convolution_seconds = result["medians"].values()
    operations = training_flops(net)
    rates = {
        "product": product.operations / product_seconds,
        "convolution": convolution.operations / convolution_seconds,
    }
    matrix_rate = max(rates.values())
    told = {} if args.finetune < 1 else _fine_tune(design, batch, args.finetune)
    return {
        "parity": parity,
        **result,
        "ratios": {"plain PyTorch": plain_seconds / seconds},
        "share of the matrix rate": operations / seconds / matrix_rate,
        "samples per second": batch / seconds,
        "TFLOP per second": operations / seconds / 1e12,
        **{f"TFLOP per second of the {name}": rate / 1e12 for name, rate in rates.items()},
        "net": f"{design.stages} stages, widest layer {max(vars(design.widths).values())}, box {box}, batch {batch}",
        "how": f"{device}, {amp or 'float32'}, compiled {args.compile}, channels last {channels_last}, "
        f"recomputed {args.recompute}, engine {engine}, {torch.get_num_threads()} threads",
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "peak memory": torch.cuda.max_memory_allocated(device) if on_gpu else None,
        **told,
    }


class _Yardstick(NamedTuple):
    """Something that tells a machine's matrix rate: what to call and time, and how many operations it takes."""

    name: str
    compute: Callable[[], None]
    operations: int


def _square_products(device: torch.device, dtype: torch.dtype) -> _Yardstick:
    size, count = _PRODUCT_SIZE[device.type], 10 if device.type == "cuda" else 2
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def compute() -> None:
        for _ in range(count):
            torch.mm(left, right)
        _wait(device)

    return _Yardstick(f"{count} products of {size}", compute, count * 2 * size**3)


def _wide_convolution(device: torch.device, dtype: torch.dtype) -> _Yardstick:
    images, cells = 64 if device.type == "cuda" else 2, BOX_SIZE // STRIDE
    maps = torch.randn(images, _CHANNELS, cells, cells, device=device, dtype=dtype)
    kernels = torch.randn(_CHANNELS, _CHANNELS, 9, 9, device=device, dtype=dtype)

    def compute() -> None:
        with torch.no_grad():
            functional.conv2d(maps, kernels, padding=4)
        _wait(device)

    return _Yardstick("wide convolution", compute, 2 * images * cells**2 * kernels.numel())


class _PlainPort:
    """A CPM and its training as a port of the paper has them, with the weights of a train net."""

    def __init__(self, net: CaffeNet, design: Architecture, device: torch.device) -> None:
        self._twin = build(design).to(device)
        blobs = {layer: [blob.detach().cpu().numpy() for blob in blobs] for layer, blobs in net.params.items()}
        self._twin.load_state_dict(from_caffe(blobs, design))
        self._optimizer = torch.optim.SGD(self._twin.parameters(), lr=1e-9, momentum=0.9, weight_decay=0.0005)

    def loss(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return half the squared distance of all stages' maps, over the images; stage 1 has labels of its own."""
        data, label = inputs["data"].contiguous(), inputs["label"]
        later, first = label.chunk(2, dim=1)
        stages = self._twin(data)
        targets = [first, *[later] * (len(stages) - 1)]
        terms = [(maps - target).square().sum() for maps, target in zip(stages, targets, strict=True)]
        return torch.stack(terms).sum() / (2 * len(data))

    def step(self, inputs: Mapping[str, Tensor]) -> None:
        """Do one iteration."""
        self._optimizer.zero_grad(set_to_none=True)
        self.loss(inputs).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def training_flops(net: CaffeNet) -> int:
    """Count the operations of one forward and backward pass of a train net, at the shapes that it was built for."""
    shapes = infer_shapes(net.spec, net.inputs)
    learned: set[str] = set()
    total = 0
    for step in net.steps:
        bottoms = step.spec.bottoms
        depends = any(bottom in learned for bottom in bottoms)
        flops = layer_flops(step.spec, [shapes[bottom] for bottom in bottoms]) or 0
        total += flops * (3 if depends else 2)
        if depends or flops:
            learned |= set(step.spec.tops)
    return total


def _parity(exact: Tensor, found: Tensor, amp: str | None) -> str:
    off = float(((found.detach().cpu() - exact) / exact).abs().max())
    if off > _LOSS_TOLERANCE[amp]:
        raise TrainingError(f"bench train: losses are {off:.2g} off those of float32 on the CPU")
    return f"losses within {off:.1e} of float32 on the CPU"


def _filled(text: str) -> CaffeNet:
    """Return a train net with drawn weights that let the losses depend on every layer."""
    torch.manual_seed(0)
    net = load_net(parse_net(text, phase="TRAIN"))
    fill_like_he(net, list(net.params))
    return net


def _gradient_parity(design: Architecture) -> str:
    """Hold the engine's gradients to those of direct sums in float64, in a net without kinks, at a box of that size."""
    box = min(design.box[0], _EXACT_BOX)
    text = train_text(replace(design, box=(box, box)), TrainingData(batch_size=1))
    for kinked, smooth in _SMOOTH.items():
        text = text.replace(kinked, smooth)
    net, exact = _filled(text), _filled(text).double()
    inputs = {name: torch.randn(shape) * 0.2 for name, shape in net.inputs.items()}
    found = torch.autograd.grad(Objective(net, engine=True)(inputs).sum(), list(net.parameters()))
    doubled = {name: value.double() for name, value in inputs.items()}
    expected = torch.autograd.grad(Objective(exact)(doubled).sum(), list(exact.parameters()))
    pairs = zip(found, expected, strict=True)
    off = max(float((ours - true).abs().max() / true.abs().max()) for ours, true in pairs)
    if off > _GRADIENT_TOLERANCE:
        raise TrainingError(f"bench train: the engine's gradients are {off:.2g} of the largest off those of float64")
    return f"gradients within {off:.1e} of float64's"


def _fine_tune(design: Architecture, batch: int, iterations: int) -> dict[str, Any]:
    """Train seeded weights on drawn people, with the engine and without; return seconds, and how far losses differ."""
    seconds, losses = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = seeded_model(design, folder)
        settings = SolverSettings(base_lr=_RATE, max_iter=iterations, display=1, snapshot=0, clip_gradients=100)
        solver = write_files(design, folder, TrainingData(_PEOPLE, batch), settings)[2]
        for engine in (True, False):
            options = RunOptions(
                solver, weights=[model.caffemodel], engine=engine, metrics=folder / f"{engine}.jsonl", cached=True,
                changes="snapshot_after_train: false",
            )  # fmt: skip
            with open_run(options, World(0, 1, torch.device("cpu"))) as trainer:
                began = time.perf_counter()
                trainer.solve()
                seconds["engine" if engine else "plain layers"] = time.perf_counter() - began
            records = read_metrics(folder / f"{engine}.jsonl")
            losses.append(torch.tensor([record["loss"] for record in records if record["kind"] == "train"]))
    off = float(((losses[0] - losses[1]) / losses[1]).abs().max())
    if off > _RUN_TOLERANCE:
        raise TrainingError(f"bench train: losses of the fine-tuning are {off:.2g} apart with the engine and without")
    ends = [float(losses[1][place]) for place in (0, -1)]
    return {
        "fine-tuning": f"{iterations} iterations at batch {batch} on {_PEOPLE}, "
        f"loss from {ends[0]:.4g} to {ends[1]:.4g}, within {off:.1e} with the engine and without",
        "fine-tuning, seconds": seconds["engine"],
        "fine-tuning by plain layers, seconds": seconds["plain layers"],
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
