"""What the parts of `gpu` share: how large they are, and how a GPU's time is taken."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.drawn.source import DrawnPeople
from cpm_port.engine.precision import PRECISIONS, arithmetic
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.inference.whereabouts import search_of
from cpm_port.models import Architecture, architecture

__all__ = ["Part", "Sizes", "drawn_person", "gpu_seconds", "rates"]


@dataclass(frozen=True)
class Sizes:
    """How large everything is that a part runs.

    Attributes
    ----------
    design : Architecture
        Of the seeded net; by default the release's MPI net.
    groups : tuple of int
        How many people go through the net together.
    people : int
        In a timed stream.
    repeats, calls : int
        Timed turns, and calls in each.
    batch, iterations : int
        Of training.
    shapes : int
        For how many input shapes graphs are captured.
    square, copied : int
        Rows of the matrices whose product tells the matrix rate; values in the copy that tells the bandwidth.
    side : int
        Of drawn images, px.
    net, weights : Path or None
        Of the model whose joints are compared; None: the default model.
    """

    design: Architecture = field(default_factory=lambda: architecture("mpi"))
    groups: tuple[int, ...] = (1, 2, 4, 8)
    people: int = 32
    repeats: int = 3
    calls: int = 3
    batch: int = 16
    iterations: int = 20
    shapes: int = 8
    square: int = 8192
    copied: int = 1 << 28
    side: int = 640
    net: Path | None = None
    weights: Path | None = None


Part = Callable[[torch.device, Sizes], Iterator[dict[str, Any]]]
"""Measures, and gives what it knows as often as it knows more; a key given again replaces what it held."""


def drawn_person(number: int, sizes: Sizes) -> tuple[NDArray[np.uint8], ScaleSearch]:
    """Draw a person; return the image and where to look, at the benchmark's scales."""
    sample, image = DrawnPeople(number + 1, size=sizes.side, seed=368)[number]
    return image, search_of(sample, (image.shape[0], image.shape[1]), sizes.design.box[0])


def gpu_seconds(call: Callable[[], object], device: torch.device, sizes: Sizes) -> float:
    """Return the GPU's seconds for what a call queues: the median of several turns, after two calls to warm up."""
    stream = torch.cuda.current_stream(device)
    call()
    call()
    turns: list[float] = []
    for _ in range(sizes.repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record(stream)
        for _ in range(sizes.calls):
            call()
        end.record(stream)
        end.synchronize()
        turns.append(start.elapsed_time(end) / sizes.calls / 1e3)
    return statistics.median(turns)


def rates(device: torch.device, sizes: Sizes) -> tuple[dict[str, float], float]:
    """Return what the card itself can do: its matrix rate in each precision, and its memory's bytes a second."""
    matrix: dict[str, float] = {}
    for precision in PRECISIONS:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = (torch.randn(sizes.square, sizes.square, device=device, dtype=dtype) for _ in range(2))

        def product(left: Tensor = left, right: Tensor = right) -> Tensor:
            return left @ right

        with arithmetic("tf32" if precision == "tf32" else "float32", device), torch.inference_mode():
            matrix[precision] = 2 * sizes.square**3 / gpu_seconds(product, device, sizes)
        del left, right
    source = torch.zeros(sizes.copied, device=device)
    target = torch.empty_like(source)
    seconds = gpu_seconds(lambda: target.copy_(source), device, sizes)
    return matrix, 2 * source.numel() * source.element_size() / seconds
