"""Do gradients vanish? The paper's Figure 5: gradients of every stage's layers, with and without intermediate
supervision.

Two nets of the same weights see the same batches under Caffe's SGD; one is trained by the losses of all stages, the
other by the last one's alone. At some iterations the gradients of each convolution's weights are taken: their mean
magnitude, and a histogram of their values.

The fillers are the paper's, at this size: a Gaussian of standard deviation 0.01 at the released widths, enlarged with
the root of how many fewer inputs a narrow layer sums, so that a signal grows or shrinks per layer as in the full net.

Histograms are of log10 of the magnitudes, at the beginning of every stage; the bar at -20 holds everything below,
mostly zeros of inactive units. The study's number is the mean magnitude in the first layer without supervision over
that with it: 1 would be none vanishing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.caffe import NetSpec, infer_shapes, param_shapes, spec_of
from cpm_port.graph.sources import source_shapes
from cpm_port.models import Widths
from cpm_port.studies.common import (
    Say,
    design,
    draw_band,
    draw_people,
    figure,
    save,
    seeds_in_words,
    train,
    train_spec,
    with_stages,
)
from cpm_port.studies.size import StudySize
from cpm_port.training.loop import Trainer

__all__ = ["DEFAULT", "NUMBER", "numbers", "plot", "run"]

NUMBER = "first layer's gradient: without intermediate supervision / with"
DEFAULT = StudySize(stages=6, width=16, box=96, batch=4, iterations=61, people=244, held_out=1)
_LOOKS = 3  # first, middle and last iteration
_RATE = 2e-6
_SOLVER = f'base_lr: {_RATE} lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005'
_BINS = 45
_WITH, _WITHOUT = "with", "without"
_COLORS = {_WITH: "#1f5fa8", _WITHOUT: "#d1602b"}


def run(scale: StudySize, say: Say) -> dict[str, Any]:
    """Train both nets; return their gradients by look and layer."""
    people = draw_people(scale)
    spec = _filled_like_the_paper(train_spec(design(scale), scale), scale)
    stages = range(1, scale.stages + 1)
    looks = sorted({round(i * (scale.iterations - 1) / (_LOOKS - 1)) for i in range(_LOOKS)})
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for kind, losses in ((_WITH, stages), (_WITHOUT, [scale.stages])):
        seen = found[kind] = {}
        train(
            with_stages(spec, losses, stages),
            people,
            scale,
            say,
            name=f"{kind} intermediate supervision",
            iterations=scale.iterations,
            after_step=_watch(seen, looks),
            solver=_SOLVER,
        )
    return {
        "solver": _SOLVER,
        "iterations": looks,
        "layers": list(found[_WITH][looks[0]]),
        "log10_edges": _edges().tolist(),
        "gradients": {kind: [seen[look] for look in looks] for kind, seen in found.items()},
    }


def numbers(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return what is left of the first layer's gradient in every run, by iteration."""
    first = runs[0]["layers"][0]
    found: dict[str, list[float]] = {}
    for place, look in enumerate(runs[0]["iterations"]):
        means = [[run["gradients"][kind][place][first]["mean"] for kind in (_WITHOUT, _WITH)] for run in runs]
        found[f"iteration {look}"] = [without / with_ for without, with_ in means]
    return found


def plot(record: dict[str, Any], path: Path) -> None:
    """Draw mean magnitudes over the layers, and the last histograms, of all runs, at the beginning of every stage."""
    runs = record["runs"]
    layers, looks = runs[0]["layers"], runs[0]["iterations"]
    picture, _ = figure(9.0, 5.6)
    picture.clear()
    shown = [name for name in layers if "histogram" in runs[0]["gradients"][_WITH][-1][name]]
    grid = picture.add_gridspec(2, len(shown), height_ratios=[1.4, 1])
    axes = picture.add_subplot(grid[0, :])
    axes.set_yscale("log")
    for kind in (_WITH, _WITHOUT):
        means = np.array([[[look[name]["mean"] for name in layers] for look in run["gradients"][kind]] for run in runs])
        for place in range(len(looks) - 1):
            axes.plot(means[:, place].mean(axis=0), color=_COLORS[kind], alpha=0.35, linewidth=0.9)
        draw_band(axes, range(len(layers)), means[:, -1], _COLORS[kind], f"{kind} intermediate supervision")
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=5.5)
    axes.set_ylabel("mean |gradient|", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    early = ", ".join(map(str, looks[:-1]))
    axes.set_title(f"dark: iteration {looks[-1]}; light: iterations {early}{seeds_in_words(runs)}", fontsize=8)
    for place, name in enumerate(shown):
        axes = picture.add_subplot(grid[1, place])
        for kind in (_WITH, _WITHOUT):
            counts = np.sum([run["gradients"][kind][-1][name]["histogram"] for run in runs], axis=0)
            axes.stairs(counts, runs[0]["log10_edges"], color=_COLORS[kind], fill=True, alpha=0.55)
        axes.set_title(name, fontsize=7)
        axes.set_yticks([])
        axes.tick_params(labelsize=6)
        axes.set_xlabel("log10 |gradient|", fontsize=6)
    save(picture, path, record)


def _watch(seen: dict[int, dict[str, Any]], looks: list[int]) -> Callable[[Trainer], None]:
    def watch(trainer: Trainer) -> None:
        look = trainer.iteration - 1
        if look not in looks:
            return
        seen[look] = {}
        for info in trainer.net.param_info():
            if info.index == 0 and info.tensor.grad is not None:
                values = info.tensor.grad.abs().double().flatten().numpy()
                logs = np.log10(np.maximum(values, 10.0 ** _edges()[0]))
                seen[look][info.layer] = {"mean": float(f"{values.mean():.4g}")}
                if len(seen[look]) == 1 or info.layer.startswith("Mconv1_stage"):
                    histogram = np.histogram(np.minimum(logs, _edges()[-1]), _edges())[0]
                    seen[look][info.layer]["histogram"] = histogram.tolist()

    return watch


def _edges() -> np.ndarray:
    return np.linspace(-20.0, 2.0, _BINS)


def _filled_like_the_paper(spec: NetSpec, scale: StudySize) -> NetSpec:
    """Return the net with each Gaussian filler widened for the inputs that its layer lacks."""
    full = _fan_ins(train_spec(replace(design(scale), widths=Widths()), scale))
    narrow = _fan_ins(spec)
    message: Any = copy.deepcopy(spec.message)
    for layer in message.layer:
        if layer.name in narrow:
            layer.convolution_param.weight_filler.std *= math.sqrt(full[layer.name] / narrow[layer.name])
    return spec_of(message, source=spec.source, phase="TRAIN")


def _fan_ins(spec: NetSpec) -> dict[str, int]:
    """Return how many inputs each output of a convolution sums."""
    shapes = infer_shapes(spec, source_shapes(spec, {}))
    return {
        layer.name: math.prod(param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms])[0][1:])
        for layer in spec.layers
        if layer.type == "Convolution"
    }
