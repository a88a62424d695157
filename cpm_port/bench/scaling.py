"""How a person's cost grows: with scales, people, image size, stages and batch, measured and drawn.

Timed is our own side only, the accelerated net on the CPU, one seeded model of the MPI architecture:

- scales: one person at 1 to 7 scales, image to joints (640 x 360). Linear: every scale is one more pass.
- people: 1 to 3 people of one image, one after another. Linear: nothing is shared between people.
- image: one person at seven scales, 320 x 180 to 1920 x 1080. Nearly flat: the net sees boxes of one size, only the
  pyramid and the way back see the image.
- stages: one pass of nets with 1 to 6 stages. A step from 1 to 2 (the second trunk), then equal, smaller steps.
- batch: one pass of 1 to 8 images. Linear, with an offset: transformed weights are read once for a whole batch.

Every series gives medians in seconds and the fit `offset + slope * x`, with the largest deviation from it in percent.
`--plot F` draws them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpm_port._atomic import atomic_path
from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.bench.person import drawn_image
from cpm_port.engine import AcceleratedNet, accelerate
from cpm_port.imaging.pyramid import BENCHMARK_MULTIPLIERS, lsp_search
from cpm_port.inference.predict import predict_person
from cpm_port.models import architecture

__all__ = ["configure", "run"]

Series = Mapping[float, Callable[[], Any]]

_IMAGES = ((180, 320), (360, 640), (720, 1280), (1080, 1920))
_MEANING = {
    "scales": ("scales", "one person: every scale is one more pass"),
    "people": ("people", "one after another: nothing is shared"),
    "image": ("image, megapixels", "one person: the net sees boxes of one size"),
    "stages": ("stages", "one pass: stage 2 brings a second trunk, later ones only themselves"),
    "batch": ("images in a pass", "one pass: the weights are read once for all images"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=3, help="timed turns per point (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--width", type=int, help="no hidden convolution has more channels (default: the full net)")
    parser.add_argument("--box-size", type=int, default=368, help="side of the input (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw the series to F (.png, .svg, .pdf)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every series; return medians, fits and their meaning."""
    torch.set_num_threads(args.threads)
    nets, found = _nets(args), {}
    for name, points in _series(nets, args).items():
        seconds = take_turns({str(x): side for x, side in points.items()}, args.repeats)["medians"]
        found[name] = {"seconds": seconds, **_fit(seconds), "meaning": _MEANING[name][1]}
        for net in nets.values():
            net.forget()
    if args.plot is not None:
        _plot(found, args.plot)
    return {"threads": args.threads, "repeats": args.repeats, "series": found}


def _nets(args: argparse.Namespace) -> dict[int, AcceleratedNet]:
    nets = {}
    for stages in range(1, 7):
        design = architecture("mpi", stages=stages, width=args.width, box=(args.box_size, args.box_size))
        with tempfile.TemporaryDirectory() as folder:
            nets[stages] = accelerate(_peers.seeded_model(design, Path(folder)).net)
    return nets


def _series(nets: Mapping[int, AcceleratedNet], args: argparse.Namespace) -> dict[str, Series]:
    """Return, for every series, what to time at which value."""
    full, images = nets[6], {size: drawn_image(*size) for size in _IMAGES}

    def person(size: tuple[int, int], scales: int, people: int = 1) -> Callable[[], Any]:
        search = lsp_search(size, args.box_size)
        chosen = BENCHMARK_MULTIPLIERS[:scales]
        return lambda: [
            predict_person(full, images[size], search.center_xy, search.base_scale, chosen) for _ in range(people)
        ]

    def one_pass(stages: int, batch: int) -> Callable[[], Any]:
        x = torch.rand(batch, 4, args.box_size, args.box_size, generator=torch.Generator().manual_seed(0)) - 0.5

        def run_net() -> Any:
            with torch.inference_mode():
                return nets[stages]({"data": x})

        return run_net

    every = len(BENCHMARK_MULTIPLIERS)
    return {
        "scales": {scales: person(_IMAGES[1], scales) for scales in (1, 3, 5, every)},
        "people": {people: person(_IMAGES[1], every, people) for people in (1, 2, 3)},
        "image": {height * width / 1e6: person((height, width), every) for height, width in _IMAGES},
        "stages": {stages: one_pass(stages, 1) for stages in nets},
        "batch": {batch: one_pass(6, batch) for batch in (1, 2, 4, 8)},
    }


def _fit(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the straight line through the points, and the largest deviation from it in percent of the point."""
    x, y = np.array([float(value) for value in seconds]), np.array(list(seconds.values()))
    slope, offset = np.polyfit(x, y, 1)
    return {
        "offset": float(offset),
        "slope": float(slope),
        "largest_deviation_percent": round(float(100 * np.abs((offset + slope * x) / y - 1).max()), 1),
    }


def _plot(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(found), 3.6), layout="constrained")
    for axes, (name, series) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        label, meaning = _MEANING[name]
        x = [float(value) for value in series["seconds"]]
        axes.plot(x, list(series["seconds"].values()), "o-")
        axes.plot(x, [series["offset"] + series["slope"] * value for value in x], "--", linewidth=1)
        axes.set(xlabel=label, ylabel="seconds", ylim=(0, None))
        axes.set_title(meaning, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
