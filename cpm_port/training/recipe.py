"""One recipe for data of one's own: from a trained net and an annotation file to a model folder.

ANNOTATIONS + MODEL -> **folder**. What `cpm-port finetune` calls. The start is any pose net with a center map: it
becomes a net for the data's parts (`models/retarget.py`), and its weights move there (`models/surgery.py`): belief maps
by their parts' names, new ones from 0. Then it is trained with AdamW under a warm-up and a cosine, unlabelled joints
left out of the loss and the weights averaged; every so often people of images that are held out are measured, the best
weights are kept, and the run ends where nothing got better for a while. A run whose loss explodes, or grows,
starts again at a quarter of its rate.

The folder is a model of the user's own (`zoo/own.py`) and says what was done:

- `model.json`, `deploy.prototxt`, `weights.caffemodel`: the model; `history` in the first tells every training of it;
- `labels.png`: people as they are labelled; `found.png`: held-out people with what the model finds; `curves.svg`;
- `run/plan.json`: what this training is of; `run/start.txt`: which weights moved; `run/1/` (2, 3 after a restart):
  the net, the solver, snapshots, `train.metrics.jsonl`.

A run that was interrupted goes on when it is asked for again, here or wherever the folder was copied to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from cpm_port.annotations.genjson import OWN_ORDER, read_beside
from cpm_port.annotations.images import check_images
from cpm_port.annotations.samples import Sample
from cpm_port.annotations.trained import split_by_image
from cpm_port.caffe import NetSpec, parse_net, read_net, read_weights, write_weights
from cpm_port.compute.devices import joined_world
from cpm_port.errors import DataError, LayerError, TrainingError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json
from cpm_port.formats.folding import fold_batch_norm
from cpm_port.graph import CaffeNet, load_net
from cpm_port.imaging.reading import read_image
from cpm_port.models.interface import belief_maps
from cpm_port.models.prototxt import SolverSettings, TrainingData, solver_text
from cpm_port.models.retarget import deploy_for_parts, train_for_parts
from cpm_port.models.surgery import MoveReport, move_weights
from cpm_port.parts import PartOrder
from cpm_port.records.record import RecordStore, SampleRecords
from cpm_port.report.drawing import draw_joints
from cpm_port.report.tiles import tile, write_labels, write_tiles
from cpm_port.training.cache import CachedRecords
from cpm_port.training.curves import plot_run
from cpm_port.training.history import to_numpy
from cpm_port.training.presets import fill_like_he
from cpm_port.training.progress import read_metrics
from cpm_port.training.run import RunOptions, open_run
from cpm_port.training.validation import THRESHOLD, data_and_label, hold_out, stage_peaks
from cpm_port.version import __version__
from cpm_port.zoo import Choice, OwnModel, read_own_model, resolve, write_own_model

__all__ = ["Finetuned", "Recipe", "finetune"]

_EVERY = 5  # of the images are held out, where the file marks none
_ATTEMPTS = 4
_GROWN = 1.5  # times the first loss; batches differ by less
_SLOWER = 4.0
_CACHED_PIXELS = 300_000_000  # images that stay in memory, all together
_DECAY = 0.99  # of the averaged weights
_SHOWN = 25


@dataclass(frozen=True)
class Recipe:
    """What a user may choose; the defaults suit a few dozen to some thousand people.

    Attributes
    ----------
    iterations : int
        At most.
    batch_size : int
    rate : float
        The highest; a run that it breaks starts again at a quarter of it.
    validate_interval : int
        Iterations between measurements of the people held out.
    patience : int
        Measurements without a better one after which the run ends.
    box : int or None
        Side of the net's input, px; None: as the net that it starts from.
    rotate : float
        Degrees, each way.
    flip : bool
        Whether examples are mirrored; not where left and right look alike and the parts tell them apart by their place.
    seed : int

    Examples
    --------
    >>> from cpm_port.training.recipe import Recipe
    >>> Recipe(iterations=200, rate=1e-4).patience
    6
    """

    iterations: int = 2000
    batch_size: int = 8
    rate: float = 5e-4
    validate_interval: int = 100
    patience: int = 6
    box: int | None = None
    rotate: float = 40.0
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"iterations": 1, "batch_size": 1, "validate_interval": 1, "patience": 1, "seed": 0, "rotate": 0}
        wrong = [f"{name} {getattr(self, name)}" for name, value in least.items() if not getattr(self, name) >= value]
        if not self.rate > 0:
            wrong.append(f"rate {self.rate}")
        if self.box is not None and self.box < 1:
            wrong.append(f"box {self.box}")
        if wrong:
            raise UsageError(f"{', '.join(wrong)}: too small")


@dataclass(frozen=True)
class Finetuned:
    """What came of it.

    Attributes
    ----------
    folder : Path
    finished : bool
        False where a signal stopped the run; it goes on when it is asked for again.
    record : mapping
        The last record of the model's history; empty where it is not finished.
    """

    folder: Path
    finished: bool
    record: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Data:
    """The people, by image in two halves."""

    path: Path
    train: list[Sample]
    held: list[Sample]
    split: str

    @property
    def order(self) -> PartOrder:
        return self.train[0].order


@dataclass(frozen=True, eq=False)
class _Nets:
    """The start's net and weights, and the nets for the parts of the data."""

    source: NetSpec
    weights: Mapping[str, Sequence[Any]]
    parts: Sequence[str]
    deploy: NetSpec
    deploy_text: str
    train_text: str
    box: int
    sigma: float


def finetune(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    start: str = "default",
    recipe: Recipe | None = None,
    *,
    device: str | None = None,
    console: TextIO | None = None,
) -> Finetuned:
    """Make a model of one's own.

    Parameters
    ----------
    data : path-like
        An annotation file that names its parts (`cpm-port records json`); images beside it or in `images/`. People
        marked as validation are held out; where nobody is, every fifth image is.
    out : path-like
        The folder; it may hold an interrupted run of the same data and start.
    start : str
        A model's name, or the folder of an own one (then this training adds to its history).
    recipe : Recipe, optional
    device : str, optional
        By default a GPU where there is one.
    console : text stream, optional
        Where progress is written.

    Raises
    ------
    UsageError
        The folder is finished, or of another run; the start is no net that can be taught so; several processes.
    MissingFileError, DataError
        Of the annotations and their images.
    TrainingError
        No rate worked.

    Examples
    --------
    >>> from cpm_port.training.recipe import Recipe, finetune
    >>> finetune("people.json", "own", recipe=Recipe(iterations=200))
    Traceback (most recent call last):
    ...
    cpm_port.errors.MissingFileError: people.json is not there; get it from ...
    """
    recipe, out = recipe or Recipe(), Path(out)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "finetune runs in one process; for several: torchrun and `cpm-port train`, in the folder's run/"
        )
    if (out / "model.json").exists():
        raise UsageError(f"{out}: a finished model; to train it further: --from {out} --out ANOTHER")
    people = _read(Path(data))
    choice = resolve(start)
    plan = {
        "start": start,
        "start_sha256": file_sha256(choice.weights),
        "data_sha256": file_sha256(people.path),
        **asdict(recipe),
    }
    _check_plan(out / "run" / "plan.json", plan)
    nets = _retargeted(choice, people, recipe)
    write_labels(out / "labels.png", [*people.held[:_SHOWN], *people.train], 2 * _SHOWN)
    _say(
        console, f"{people.path}: {len(people.train)} people to train on, {len(people.held)} held out ({people.split})"
    )
    began, failures = time.perf_counter(), _failures(out)
    while True:
        rate = recipe.rate / _SLOWER ** len(failures)
        folder = out / "run" / str(len(failures) + 1)
        try:
            finished = _train(folder, nets, people, replace(recipe, rate=rate), device, console)
            break
        except TrainingError as error:
            failures.append(f"rate {rate:g}: {error}")
            (folder / "failed.txt").write_text(f"{failures[-1]}\n", encoding="utf-8")
            if len(failures) == _ATTEMPTS:
                raise TrainingError("no rate worked:\n  " + "\n  ".join(failures)) from error
            _say(console, f"{error}\nstarting again at a quarter of the rate, {rate / _SLOWER:g}")
    if not finished:
        return Finetuned(out, False, {})
    record = _record(folder, people, choice, start, replace(recipe, rate=rate), failures, time.perf_counter() - began)
    _write_model(out, folder, nets, people, choice, record)
    return Finetuned(out, True, record)


# -- what is trained on ------------------------------------------------------------------------------------------------


def _read(path: Path) -> _Data:
    samples = read_beside(path)
    if samples[0].order.name != OWN_ORDER:
        raise DataError(f"{path}: names no parts; expected a file of `cpm-port records json --from`")
    check_images(samples)
    split = "as the file marks them"
    images = {sample.image for sample in samples}
    if all(sample.split != "validation" for sample in samples) and len(images) > 1:
        every = min(_EVERY, len(images))
        samples = split_by_image([replace(sample, annolist_index=None) for sample in samples], every)
        split = f"every {every}-th of {len(images)} images"
    train, held = ([s for s in samples if (s.split == "validation") == wanted] for wanted in (False, True))
    if not train:
        raise DataError(f"{path}: every person is marked as validation, nobody is left to train on")
    if not held:
        held, split = train, "none: there is one image, so the people trained on are measured"
    return _Data(path, train, held, split)


def _records(samples: Sequence[Sample]) -> RecordStore:
    store = SampleRecords(samples, read_image)
    pixels = sum(sample.image_size[0] * sample.image_size[1] for sample in samples if sample.image_size is not None)
    return CachedRecords(store) if pixels <= _CACHED_PIXELS else store


# -- the nets ----------------------------------------------------------------------------------------------------------


def _retargeted(choice: Choice, people: _Data, recipe: Recipe) -> _Nets:
    """Make the nets for the data's parts from the start's, whose normalization is folded into its weights."""
    if choice.entry is None or choice.entry.center_sigma is None:
        raise UsageError(f"{choice.net}: a model with a center map expected, by its name or its folder")
    source, weights = fold_batch_norm(read_net(choice.net), dict(read_weights(choice.weights)))
    own_box = choice.entry.box[0]
    box = recipe.box or own_box
    sigma = round(choice.entry.center_sigma * box / own_box, 4)
    try:
        deploy_text = deploy_for_parts(source, len(people.order), box)
    except LayerError as error:
        raise UsageError(f"box {box} does not suit {choice.net}, a multiple of 16 would: {error}") from error
    deploy = parse_net(deploy_text, source="deploy.prototxt")
    data = TrainingData(
        people.path.name,
        recipe.batch_size,
        max_rotate_degree=recipe.rotate,
        sigma_center=sigma,
        flip_prob=0.5 if recipe.flip else 0.0,
    )
    parts = choice.entry.part_order.parts
    return _Nets(source, weights, parts, deploy, deploy_text, train_for_parts(deploy, data), box, sigma)


def _starting_weights(nets: _Nets, people: _Data, recipe: Recipe) -> tuple[CaffeNet, MoveReport]:
    """Return the train net with the start's weights moved into it."""
    torch.manual_seed(recipe.seed)
    net = load_net(parse_net(nets.train_text, source="train.prototxt", phase="TRAIN"))
    fill_like_he(net, list(net.params))
    into = {name: [to_numpy(blob) for blob in blobs] for name, blobs in net.params.items()}
    moved, report = move_weights(
        nets.weights, nets.source, net.spec, into, source_parts=nets.parts, target_parts=people.order.parts
    )
    net.load_weights(moved)
    return net, report


# -- the run -----------------------------------------------------------------------------------------------------------


def _train(
    folder: Path, nets: _Nets, people: _Data, recipe: Recipe, device: str | None, console: TextIO | None
) -> bool:
    """Train in a folder, or go on there; return whether the run came to its end."""
    start, solver = folder / "start.caffemodel", folder / "solver.prototxt"
    if not solver.exists():
        folder.mkdir(parents=True, exist_ok=True)
        net, report = _starting_weights(nets, people, recipe)
        write_weights(start, {name: [to_numpy(b) for b in blobs] for name, blobs in net.params.items()}, net.spec)
        _write(folder.parent / "start.txt", f"{report}\n")
        _write(folder / "train.prototxt", nets.train_text)
        settings = SolverSettings(
            base_lr=recipe.rate, max_iter=recipe.iterations, display=max(1, recipe.validate_interval // 5),
            snapshot=recipe.validate_interval,
        )  # fmt: skip
        _write(solver, solver_text("train.prototxt", "train", settings))
    options = RunOptions(
        solver,
        weights=[start],
        snapshot="latest",
        changes=f"snapshot_prefix: {json.dumps(str(folder / 'train'))}",
        preset="adamw",
        base_lr=recipe.rate,
        masked=True,
        ema=_DECAY,
        seed=recipe.seed,
        workers=None,
        validate_interval=recipe.validate_interval,
        records=_records(people.train),
        held_out=_records(people.held),
        patience=recipe.patience * recipe.validate_interval,
        keep_best=folder / "best.caffemodel",
    )
    with joined_world(device) as world, open_run(options, world, console=console) as trainer:
        finished = trainer.solve()
    _prune(folder, keep_state=not finished)
    if finished:
        losses = [line["loss"] for line in read_metrics(folder / "train.metrics.jsonl") if line["kind"] == "train"]
        later = float(np.mean(losses[len(losses) // 2 :]))
        if later > _GROWN * losses[0]:
            raise TrainingError(f"the loss grew: {losses[0]:.6g} at first, {later:.6g} in the run's second half")
    return finished


def _prune(folder: Path, *, keep_state: bool) -> None:
    """Remove snapshots that nothing needs any more: all of a finished run, else all but the newest."""
    states = sorted(folder.glob("train_iter_*.solverstate"), key=lambda path: path.stat().st_mtime_ns)
    for state in states[: -1 if keep_state else None]:
        for path in folder.glob(f"{state.stem}.*"):
            path.unlink()


def _failures(out: Path) -> list[str]:
    """Return what ended the attempts so far."""
    found = sorted((out / "run").glob("*/failed.txt"), key=lambda path: path.parent.name)
    return [path.read_text(encoding="utf-8").strip() for path in found]


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Write what a run is of, or hold it against what is there."""
    if not path.exists():
        if path.parent.parent.exists() and any(path.parent.parent.iterdir()):
            raise UsageError(f"{path.parent.parent}: not empty, and no run of `cpm-port finetune`")
        _write(path, json.dumps(plan, indent=1) + "\n")
        return
    known = read_json(path)
    named = dict.fromkeys(("start", "start_sha256"), "--from") | {"data_sha256": "--data"}
    differ = [
        f"{named.get(name, name)} was {known.get(name)!r}, is {value!r}"
        for name, value in plan.items()
        if name != "start" and (not isinstance(known, dict) or known.get(name) != value)
    ]
    if differ:
        raise UsageError(
            f"{path.parent.parent}: an unfinished run of another kind: {'; '.join(differ)}; "
            "to begin anew, delete the folder or name another --out"
        )


# -- what is left behind -----------------------------------------------------------------------------------------------


def _record(
    folder: Path, people: _Data, choice: Choice, start: str, recipe: Recipe, failures: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Return what the model's history says of this training."""
    records = list(read_metrics(folder / "train.metrics.jsonl"))
    measured = [record for record in records if record["kind"] == "validation"]
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    best = max(measured, key=lambda record: (record["pck"], -record["iteration"]))
    parts = dict(zip(people.order.parts, best["parts"], strict=True))
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "from": {"model": start, "weights_sha256": file_sha256(choice.weights)},
        "data": {
            "file": people.path.name,
            "sha256": file_sha256(people.path),
            "people": len(people.train),
            "images": len({sample.image for sample in people.train}),
            "held_out": people.split,
        },
        "recipe": {**asdict(recipe), "failed": list(failures)},
        "iterations": max(record["iteration"] for record in measured),
        "best_iteration": best["iteration"],
        "seconds": round(seconds, 1),
        "loss": [losses[0], losses[-1]] if losses else [],
        "validation": {
            "source": people.path.name,
            "people": best.get("people", len(people.held)),  # older versions did not count them
            "images": len({sample.image for sample in people.held}),
            "protocol": f"PCK by {best['length']}",
            "threshold": THRESHOLD,
            "before": measured[0]["pck"],
            "percent": best["pck"],
            "parts": parts,
        },
    }


def _write_model(
    out: Path, folder: Path, nets: _Nets, people: _Data, choice: Choice, record: Mapping[str, Any]
) -> None:
    best = read_weights(folder / "best.caffemodel")
    layers = {layer.name for layer in nets.deploy.layers}
    _write(out / "deploy.prototxt", nets.deploy_text)
    write_weights(out / "weights.caffemodel", {k: v for k, v in best.items() if k in layers}, nets.deploy)
    plot_run(read_metrics(folder / "train.metrics.jsonl"), out / "curves.svg", title=people.path.name)
    _draw_found(out / "found.png", nets, people, folder / "best.caffemodel")
    entry = choice.entry
    assert entry is not None
    earlier = read_own_model(choice.net.parent).history if entry.own_scores is not None else []
    title = f"your own, {len(people.order)} parts, fine-tuned from {entry.name if not earlier else entry.title}"
    write_own_model(OwnModel(out, people.order, nets.box, nets.sigma, title[:200], [*earlier, record]))


def _draw_found(path: Path, nets: _Nets, people: _Data, weights: Path) -> None:
    """Draw what the model finds in the boxes of people held out."""
    net = load_net(parse_net(nets.train_text, phase="TRAIN"), weights)
    _, _, parameters = data_and_label(net)
    held_out = hold_out(_records(people.held), parameters, _SHOWN)
    last = list(belief_maps(net.spec, net.blob_shapes).values())[-1]
    (found,) = stage_peaks(net, held_out, [last])
    crops = [np.ascontiguousarray(planes.transpose(1, 2, 0)) for planes in held_out.planes]
    write_tiles(path, [tile(draw_joints(crop, xy, people.order)) for crop, xy in zip(crops, found, strict=True)])


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _say(console: TextIO | None, text: str) -> None:
    if console is not None:
        print(text, file=console, flush=True)
