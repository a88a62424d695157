"""How a person's cost grows: with scales, people, image size, stages and batch.

Timed is our own side only, the accelerated net on the CPU, seeded models of the full MPI architecture; `MEANING` says
for each series what is measured and why it grows as it does. One net at a time has its transformed weights in memory.

Every series gives medians in seconds and the fit `offset + slope * x`, with the largest deviation from it in percent.
`cpm-port bench report` draws what was recorded.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.bench.person import drawn_image
from cpm_port.engine import AcceleratedNet, accelerate
from cpm_port.imaging.pyramid import lsp_search
from cpm_port.inference.predict import predict_person
from cpm_port.models import architecture
from cpm_port.release import BENCHMARK_MULTIPLIERS, BOX_SIZE

__all__ = ["MEANING", "configure", "run"]

Points = Mapping[float, Callable[[], Any]]

_STAGES = 6
_IMAGES = ((180, 320), (360, 640), (720, 1280), (1080, 1920))
MEANING = {
    "scales": "one person, image to joints: every scale is one more image in the pass",
    "people": "one image, one person after another: nothing is shared between them",
    "megapixels": "one person at seven scales: the net sees boxes of one size, only the way there and back grows",
    "stages": "one pass of nets of 1 to 6 stages: the second brings a second trunk, later ones only themselves",
    "batch": "one pass of 1 to 8 images: weights are read once for all of them, the rest is per image",
}
"""Series -> what is measured, and why it grows as it does."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=3, help="timed turns per point (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--width", type=int, help="no hidden convolution has more channels (default: the full net)")
    parser.add_argument("--box-size", type=int, default=BOX_SIZE, help="side of the input (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every series; return medians, spread, fits and their meaning."""
    torch.set_num_threads(args.threads)
    found = {name: take_turns({str(x): side for x, side in points.items()}, args.repeats)
             for name, points in _series(_net(_STAGES, args), args).items()}  # fmt: skip
    found["stages"] = {"medians": {}, "spread": {}}
    for stages in range(1, _STAGES + 1):
        one = take_turns({str(stages): _one_pass(_net(stages, args), 1, args)}, args.repeats)
        for key, values in found["stages"].items():
            values |= one[key]
    return {
        "medians": _flat(found, "medians"),
        "spread": _flat(found, "spread"),
        "threads": args.threads,
        "repeats": args.repeats,
        "growth": {name: {**_fit(found[name]["medians"]), "meaning": MEANING[name]} for name in MEANING},
        "series": {name: found[name]["medians"] for name in MEANING},
    }


def _net(stages: int, args: argparse.Namespace) -> AcceleratedNet:
    design = architecture("mpi", stages=stages, width=args.width, box=(args.box_size, args.box_size))
    with tempfile.TemporaryDirectory() as folder:
        return accelerate(_peers.seeded_model(design, Path(folder)).net)


def _series(net: AcceleratedNet, args: argparse.Namespace) -> dict[str, Points]:
    """Return, for every series of the whole net, what to time at which value."""
    images = {size: drawn_image(*size) for size in _IMAGES}

    def person(size: tuple[int, int], scales: int, people: int = 1) -> Callable[[], Any]:
        search = lsp_search(size, args.box_size)
        chosen = BENCHMARK_MULTIPLIERS[:scales]
        return lambda: [
            predict_person(net, images[size], search.center_xy, search.base_scale, chosen) for _ in range(people)
        ]

    every = len(BENCHMARK_MULTIPLIERS)
    return {
        "scales": {scales: person(_IMAGES[1], scales) for scales in (1, 3, 5, every)},
        "people": {people: person(_IMAGES[1], every, people) for people in (1, 2, 3)},
        "megapixels": {round(height * width / 1e6, 3): person((height, width), every) for height, width in _IMAGES},
        "batch": {batch: _one_pass(net, batch, args) for batch in (1, 2, 4, 8)},
    }


def _one_pass(net: AcceleratedNet, batch: int, args: argparse.Namespace) -> Callable[[], Any]:
    x = torch.rand(batch, 4, args.box_size, args.box_size, generator=torch.Generator().manual_seed(0)) - 0.5

    def run_net() -> Any:
        with torch.inference_mode():
            return net({"data": x})

    return run_net


def _flat(found: Mapping[str, Mapping[str, Mapping[str, Any]]], key: str) -> dict[str, Any]:
    return {f"{name}, {x}": value for name in MEANING for x, value in found[name][key].items()}


def _fit(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the straight line through the points, and the largest deviation from it in percent of the point."""
    x, y = np.array([float(value) for value in seconds]), np.array(list(seconds.values()))
    slope, offset = np.polyfit(x, y, 1)
    return {
        "offset": float(offset),
        "slope": float(slope),
        "largest_deviation_percent": round(float(100 * np.abs((offset + slope * x) / y - 1).max()), 1),
    }
