"""What the studies share: small nets, drawn people, short runs, curves of PCK and how they are drawn.

Flow: `StudySize` -> nets and people -> **trained nets** -> PCK over thresholds per stage.

Nets train by the Fourier engine (`train --engine`), except under Caffe's own solver: a rounding of 1e-6 of the largest
gradient would hide one that vanishes.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.caffe import NetSpec, parse_net, parse_solver, spec_of
from cpm_port.compute.devices import World
from cpm_port.drawn.source import DrawnRecords
from cpm_port.files.atomic import atomic_path
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import Architecture, TrainingData, architecture, train_text
from cpm_port.records.record import Record
from cpm_port.release import MPII_PERSON_HEIGHT
from cpm_port.studies.records import fingerprint
from cpm_port.studies.size import StudySize
from cpm_port.training.batches import open_data_layers
from cpm_port.training.loop import Trainer
from cpm_port.training.objective import Objective
from cpm_port.training.presets import PRESETS, fill_like_he, recipe_of
from cpm_port.training.progress import Progress
from cpm_port.training.validation import HeldOut, data_and_label, hold_out, stage_errors

__all__ = [
    "THRESHOLDS",
    "People",
    "average_curves",
    "design",
    "draw_band",
    "draw_people",
    "figure",
    "pck_curves",
    "plot_curves",
    "save",
    "seeds_in_words",
    "stage_of",
    "train",
    "train_spec",
    "with_stages",
]

THRESHOLDS = [k / 100 for k in range(21)]
_SAY_EVERY = 100
_PERSON = 100 / MPII_PERSON_HEIGHT / 128  # target_dist per box px: people become 100 px tall in a box of 128
_HELD_OUT_SEED = 1_000_003  # far from any seed of training people
_CPU = World(0, 1, torch.device("cpu"))

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class People:
    """Drawn people, kept in memory: to train on, and to measure on."""

    train: list[Record]
    held_out: list[Record]


def draw_people(scale: StudySize) -> People:
    """Draw the people of a study."""

    def drawn(count: int, seed: int) -> list[Record]:
        records = DrawnRecords(count=count, size=2 * scale.box, seed=seed, difficulty=scale.difficulty)
        return [records[index] for index in range(count)]

    return People(drawn(scale.people, scale.seed), drawn(scale.held_out, _HELD_OUT_SEED + scale.seed))


def design(scale: StudySize, stages: int | None = None) -> Architecture:
    """Return the paper's net at the study's size."""
    box = (scale.box, scale.box)
    return architecture("mpi", stages=stages or scale.stages, width=scale.width, box=box)


def train_spec(net: Architecture, scale: StudySize) -> NetSpec:
    """Return the net with a data layer and a loss per stage, in phase TRAIN."""
    data = TrainingData("drawn:", scale.batch, scale.box * _PERSON, scale_min=0.9, scale_max=1.1, max_rotate_degree=10)
    return parse_net(train_text(net, data), source="study", phase="TRAIN")


def stage_of(layer_name: str) -> int:
    """Return the stage that a layer belongs to, from its name; 0 where it belongs to none."""
    _, _, stage = layer_name.rpartition("_stage")
    return int(stage) if stage.isdecimal() else 0


def with_stages(spec: NetSpec, losses: Collection[int], learning: Collection[int]) -> NetSpec:
    """Return the net with only the losses of some stages counting, and only the layers of some stages learning."""
    message: Any = copy.deepcopy(spec.message)
    for layer in message.layer:
        stage = stage_of(layer.name)
        if layer.type == "EuclideanLoss":
            layer.loss_weight[:] = [float(stage in losses)]
        elif stage not in learning:
            for param in layer.param:
                param.lr_mult = 0
    return spec_of(message, source=spec.source, phase="TRAIN")


def train(
    spec: NetSpec,
    people: People,
    scale: StudySize,
    say: Say,
    *,
    name: str,
    iterations: int,
    weights: CaffeNet | None = None,
    after_step: Callable[[Trainer], None] | None = None,
    solver: str | None = None,
) -> CaffeNet:
    """Train a net on drawn people.

    Parameters
    ----------
    spec : NetSpec
        Of `train_spec`, perhaps changed.
    people : People
    scale : StudySize
    say : callable
        Takes a line of progress now and then, headed by `name`.
    name : str
    iterations : int
    weights : CaffeNet, optional
        Start from its parameters, layer by layer; default: He's filler before ReLUs, the prototxt's elsewhere.
    after_step : callable, optional
        Called after every iteration; the gradients of the update are still there.
    solver : str, optional
        A solver's text; default: AdamW under a cosine.

    Returns
    -------
    CaffeNet
    """
    fields = parse_solver(f"max_iter: {iterations} {solver or ''}")
    records = {layer.name: people.train for layer in spec.layers if layer.type == "CPMData"}
    with (
        open_data_layers(spec, phase="TRAIN", seed=scale.seed, records=records) as source,
        tempfile.TemporaryDirectory() as nowhere,
    ):
        torch.manual_seed(scale.seed)
        net = load_net(spec)
        if solver is None:
            fill_like_he(net, list(net.params))
        if weights is not None:
            net.load_weights(weights.params, strict=False)
        optimizer, schedule = recipe_of(fields, net.param_info(), PRESETS["adamw"] if solver is None else None)
        trainer = Trainer(
            solver=fields,
            net=net,
            objective=Objective(net, engine=solver is None),
            optimizer=optimizer,
            schedule=schedule,
            source=source,
            world=_CPU,
            progress=Progress(),
            seed=scale.seed,
            prefix=Path(nowhere) / "none",
        )
        while trainer.iteration < iterations:
            trainer.step()
            if after_step is not None:
                after_step(trainer)
            if trainer.iteration % _SAY_EVERY == 0 or trainer.iteration == iterations:
                losses = ", ".join(f"{value:.4g}" for value in trainer.last_losses.values())
                say(f"{name}: iteration {trainer.iteration} of {iterations}, losses {losses}")
    return net


def pck_curves(net: CaffeNet, people: People, stages: Sequence[str]) -> dict[str, list[float]]:
    """Return PCK in percent over `THRESHOLDS`, all joints together, for each stage's blob."""
    _, _, parameters = data_and_label(net)
    held_out: HeldOut = hold_out(people.held_out, parameters)
    labelled = ~np.isnan(held_out.joints).any(axis=2)
    errors = stage_errors(net, held_out, stages)
    return {name: average_curves(row[labelled]) for name, row in zip(stages, errors, strict=True)}


def average_curves(errors: NDArray[np.float64]) -> list[float]:
    """Return the percentage of errors at or below every threshold, to four decimals."""
    return [round(100 * float((errors <= threshold).mean()), 4) for threshold in THRESHOLDS]


def plot_curves(record: dict[str, Any], titles: Mapping[str, str], title: str, path: Path) -> None:
    """Draw the curves `pck` of a record's runs, with their spread, and their ends beside their titles."""
    picture, axes = figure(5.0, 3.6)
    axis, runs = axes[0, 0], record["runs"]
    for number, (name, words) in enumerate(titles.items()):
        curves = np.array([run["pck"][name] for run in runs])
        draw_band(axis, THRESHOLDS, curves, f"C{number}", f"{words}: {curves[:, -1].mean():.1f}")
    axis.set(xlabel="distance / torso", ylabel="PCK, %", ylim=(0, 100), xlim=(0, 0.2))
    axis.set_title(f"{title}, {record['size']['iterations']} iterations{seeds_in_words(runs)}", fontsize=9)
    axis.grid(color="#dddddd", linewidth=0.5)
    axis.legend(fontsize=7, frameon=False)
    save(picture, path, record)


def draw_band(axis: Any, x: Sequence[float], values: NDArray[np.float64], color: str, label: str | None) -> None:
    """Draw the mean of runs, a row each, and the band from the lowest to the highest."""
    axis.plot(x, values.mean(axis=0), color=color, linewidth=1.4, label=label)
    if len(values) > 1:
        axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)


def seeds_in_words(runs: Sequence[Any]) -> str:
    """Say in a picture's title what the bands are; nothing of one run."""
    return f"\nmean and range of {len(runs)} seeds" if len(runs) > 1 else ""


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """Return a matplotlib figure that needs no window, and its axes, a matrix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(picture)
    return picture, picture.subplots(rows, columns, squeeze=False)


def save(picture: Any, path: Path, record: dict[str, Any]) -> None:
    """Write a figure as an SVG that names the record that it shows. The same numbers give the same bytes."""
    from matplotlib import rc_context

    metadata = {"Date": None, "Identifier": fingerprint(record)}
    with rc_context({"svg.hashsalt": "cpm_port"}), atomic_path(path) as temporary:
        picture.savefig(temporary, format="svg", metadata=metadata)
