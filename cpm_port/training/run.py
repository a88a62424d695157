"""From a solver file and a user's wishes to a run that is ready to go: what `cpm-port train` calls.

Flow: solver prototxt -> net, data layers, test nets, optimizer, validation -> **Trainer**.

Paths in a solver or net file are Caffe's: against the working directory. Where nothing is there, the folder of the
file that names them is tried, and those above it, so a run can be started from anywhere. Snapshots go where
`snapshot_prefix` says, against the working directory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import torch

from cpm_port.caffe import NetSpec, SolverSpec, read_solver
from cpm_port.caffe.solverspec import with_changes, with_train_state
from cpm_port.compute.devices import World, slow_bfloat16
from cpm_port.compute.machine import own_cores
from cpm_port.engine.precision import Precision, arithmetic, check_precision, kernels_measured
from cpm_port.errors import DataError, TrainingError, UsageError
from cpm_port.files.npz import read_npz
from cpm_port.graph import CaffeNet, load_net
from cpm_port.records.lmdb import LmdbRecords
from cpm_port.records.record import RecordStore
from cpm_port.records.shards import ShardRecords
from cpm_port.training.averaging import WeightAverage
from cpm_port.training.batches import DataSource, enlarged, fed, open_data_layers
from cpm_port.training.cache import CachedRecords
from cpm_port.training.caffe_log import TEST_LOSS
from cpm_port.training.extras import Extras
from cpm_port.training.finetune import start_from
from cpm_port.training.loop import PeriodicMeasure, Trainer
from cpm_port.training.objective import Objective
from cpm_port.training.presets import PRESETS, Preset, fill_like_he, recipe_of
from cpm_port.training.progress import Progress
from cpm_port.training.snapshot import Snapshot, read_latest_snapshot, read_snapshot, snapshot_prefix
from cpm_port.training.solver_nets import locate, testing_nets, training_net
from cpm_port.training.sources import is_path, open_records
from cpm_port.training.testnets import mean_outputs, share_parameters
from cpm_port.training.transform_param import TransformParameters, resized_box
from cpm_port.training.validation import HeldOut, data_and_label, hold_out, stage_pck

__all__ = ["WITHOUT_EFFECT", "RunOptions", "open_run", "solver_device"]


WITHOUT_EFFECT = {"debug_info": False, "snapshot_diff": False, "layer_wise_reduce": True}
"""Solver fields that change nothing here, with Caffe's defaults: what they print, what they add to a snapshot, and in
which steps several GPUs sum gradients.
"""


@dataclass(frozen=True)
class RunOptions:
    """What a user asks of a run, beyond its solver file.

    Attributes
    ----------
    solver : path-like
    weights : sequence of path-like
        Models to start from, matched by layer name; later ones override earlier ones. None: the solver's own `weights`.
    skip_misfits : bool
        Layers of another shape in such a model keep their fillers, instead of being an error.
    snapshot : path-like, "latest" or None
        The `.solverstate` to go on from; "latest": the newest under `snapshot_prefix`, the start where there is none.
    changes : str
        Solver fields in prototxt text that override the file's: `max_iter: 100`.
    level : int
        Of the train net, instead of the one in the solver's `train_state`; 0: that one.
    stages : sequence of str
        Of the train net, besides those in the solver's `train_state`.
    sigint, sighup : {"stop", "snapshot", "none"}
        What these signals do to the run.
    preset : str or None
        A name in `PRESETS`.
    base_lr : float or None
        Instead of the solver's or the preset's.
    bfloat16, compiled, channels_last, recompute, masked : bool
        See `Objective`; `channels_last` lays weights and maps out as GPUs like them.
    engine : bool or None
        Whether the Fourier engine trains (see `Objective`). None: where a preset leaves Caffe's numbers anyway, in
        float32 on a CPU, without `compiled`, `channels_last` and `recompute`.
    tf32 : bool
        Let a GPU round the inputs of convolutions and products to TF32's 10 bits.
    extras : Extras
        Augmentation beyond the release's.
    boxes : sequence of (int, int)
        (box, iterations): so many of the first iterations see a square box of that side, in turn; then the net's own.
    ema : float or None
        Decay of a moving average of the weights (`WeightAverage`); None: no average.
    seed : int or None
        Of fillers, dropout and augmentation; None: the solver's `random_seed`, or 0 where that is unset. A run that
        goes on from a snapshot of ours keeps that one's.
    srand : int or None
        Replay the C library's random sequence in CPM data layers, as Caffe's fork draws from it.
    workers : int or None
        Threads that make batches; None: one on a CPU, whose cores the net needs; for a GPU all cores that may be used
        but one, shared by the machine's processes: an example of a 1280 x 720 photograph takes 6.4 ms of a core. What a
        batch holds does not depend on it.
    cached : bool
        Keep in memory the records that CPM data layers read from images or draw (LMDBs are mapped as it is, shards are
        streamed).
    validate : str or None
        Held-out people, named like the source of a CPM data layer; of a JSON file, those marked as validation.
    validate_interval : int
        Iterations between validations; 0: at the end alone.
    validate_limit : int or None
        That many of them, spread evenly; None: all.
    metrics : path-like or None
        The `.jsonl`; None: `<snapshot_prefix>.metrics.jsonl`.
    tensorboard : path-like or None
    records : RecordStore or None
        What the CPM data layers read, instead of the sources that they name.
    held_out : RecordStore or None
        Who is validated on, instead of `validate`; before the first iteration, too.
    patience : int
        Iterations without a better validation after which the run ends; 0: it does not.
    keep_best : path-like or None
        A .caffemodel that holds the weights of the best validation.
    memory : mapping of str to path-like
        MemoryData layer -> the `.npz` of its arrays: `data` (rows, channels, height, width) and `label` (rows,).
    batch_times : int
        So many times the data layers' batch size: what several GPUs make of it in Caffe.
    log_format : {"plain", "caffe"}
        Of the console's lines; "caffe": as Caffe logs, for the scripts that read its logs.
    """

    solver: str | os.PathLike[str]
    weights: Sequence[str | os.PathLike[str]] = ()
    skip_misfits: bool = False
    snapshot: str | os.PathLike[str] | None = None
    changes: str = ""
    level: int = 0
    stages: Sequence[str] = ()
    sigint: str = "stop"
    sighup: str = "snapshot"
    preset: str | None = None
    base_lr: float | None = None
    bfloat16: bool = False
    tf32: bool = False
    compiled: bool = False
    channels_last: bool = False
    recompute: bool = False
    masked: bool = False
    engine: bool | None = None
    extras: Extras = field(default_factory=Extras)
    boxes: Sequence[tuple[int, int]] = ()
    ema: float | None = None
    seed: int | None = None
    srand: int | None = None
    workers: int | None = 0
    cached: bool = False
    validate: str | None = None
    validate_interval: int = 500
    validate_limit: int | None = None
    metrics: str | os.PathLike[str] | None = None
    tensorboard: str | os.PathLike[str] | None = None
    records: RecordStore | None = None
    held_out: RecordStore | None = None
    patience: int = 0
    keep_best: str | os.PathLike[str] | None = None
    memory: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    batch_times: int = 1
    log_format: str = "plain"


@contextmanager
def open_run(options: RunOptions, world: World, *, console: TextIO | None = None) -> Iterator[Trainer]:
    """Prepare a run; leaving the `with` block closes its files and workers.

    Raises
    ------
    UsageError
        Options that contradict each other, or a batch that the processes cannot share equally.
    MissingFileError, CaffeFormatError, LayerError, ShapeError, WeightsError, DataError, TrainingError
        Files that are absent or do not fit each other.
    """
    _check(options)
    solver = _read_solver(options)
    prefix = snapshot_prefix(solver)
    snapshot = _snapshot(options, prefix)
    seed = _seed(options, solver, snapshot)
    precision: Precision = "tf32" if options.tf32 else "bf16" if options.bfloat16 else "float32"
    check_precision(precision, world.device)
    with ExitStack() as stack:
        if options.tf32:
            stack.enter_context(arithmetic("tf32", world.device))
        if world.device.type == "cuda":
            stack.enter_context(kernels_measured())  # the shapes of a run stay the same
        spec = training_net(solver)
        share = (world.rank, world.size)
        source = stack.enter_context(
            open_data_layers(
                enlarged(spec, options.batch_times),
                phase="TRAIN",
                seed=seed,
                srand=options.srand,
                num_workers=_workers(options, world),
                records=_given(spec, options),
                shard=share,
                masked=options.masked,
                extras=options.extras,
                boxes=[(box, iterations * solver.iter_size) for box, iterations in options.boxes],
                memory=_memory(spec, options),
            )
        )
        done = 0 if snapshot is None else snapshot.iteration
        metrics = Path(options.metrics or f"{prefix}.metrics.jsonl")
        progress = stack.enter_context(
            Progress(
                console=console if world.leads else None,
                metrics=metrics if world.leads else None,
                tensorboard=options.tensorboard if world.leads else None,
                start=done,
                like_caffe=options.log_format == "caffe",
            )
        )
        for note in (*solver.notes, *spec.notes, *_without_effect(solver), *_one_sided_flips(spec)):
            progress.say(note)
        if options.bfloat16 and (known := slow_bfloat16(world.device)) is not None:
            progress.say(known)
        preset = _preset(options.preset)
        engine = _uses_engine(options, world.device)
        torch.manual_seed(seed)
        net = load_net(fed(spec), input_shapes=source.shapes)
        if snapshot is not None:
            net.load_weights(snapshot.weights)
        else:
            _start(net, options, solver, preset, progress)
        net.to(world.device)
        if options.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer, schedule = recipe_of(solver, net.param_info(), preset, options.base_lr)
        trainer = Trainer(
            solver=solver,
            net=net,
            objective=Objective(
                net,
                masked=options.masked,
                bfloat16=options.bfloat16,
                compiled=options.compiled,
                recompute=options.recompute,
                engine=engine,
            ),
            optimizer=optimizer,
            schedule=schedule,
            source=source,
            world=world,
            progress=progress,
            evaluations=[*_tests(options, solver, net, seed, done, stack), *_validation(options, net)]
            if world.leads
            else [],
            recipe=options.preset or solver.type,
            seed=seed,
            prefix=prefix,
            average=None if options.ema is None else WeightAverage(net, options.ema),
            patience=options.patience,
            keep_best=None if options.keep_best is None else Path(options.keep_best),
            sigint=options.sigint,
            sighup=options.sighup,
        )
        if snapshot is not None:
            trainer.restore(snapshot)
            progress.say(f"Resuming from {snapshot.path} at iteration {snapshot.iteration}")
        yield trainer


def solver_device(path: str | os.PathLike[str], changes: str = "") -> str | None:
    """Return the device that a solver file asks for, fields of `changes` before its own: "cpu", a numbered GPU, or None
    for whatever there is.

    Caffe's default mode is GPU, and most machines that read its files have none: only an explicit `device_id` insists.
    """
    solver = with_changes(read_solver(path), changes, source="--set")
    if solver.solver_mode == "CPU":
        return "cpu"
    return f"cuda:{solver.device_id}" if solver.params.has("device_id") and torch.cuda.is_available() else None


def _check(options: RunOptions) -> None:
    """Refuse options that contradict each other."""
    if options.weights and options.snapshot not in (None, "latest"):
        raise UsageError("weights and a snapshot: a run starts from one or goes on from the other")
    if options.validate_interval < 0 or (options.validate_limit is not None and options.validate_limit < 1):
        raise UsageError(
            f"validate_interval {options.validate_interval}, validate_limit {options.validate_limit}: "
            "expected 0 or more, and 1 or more"
        )


def _snapshot(options: RunOptions, prefix: Path) -> Snapshot | None:
    """Read the snapshot to go on from, if any."""
    if options.snapshot == "latest":
        return read_latest_snapshot(prefix)
    return None if options.snapshot is None else read_snapshot(options.snapshot)


def _start(net: CaffeNet, options: RunOptions, solver: SolverSpec, preset: Preset | None, progress: Progress) -> None:
    """Give a new run's net its first weights: the preset's filler, and over it the files named."""
    if preset is not None and preset.he_filler:
        fill_like_he(net, list(net.params))
    for path in options.weights or solver.weights:
        progress.say(start_from(net, locate(path, solver.source), skip_misfits=options.skip_misfits))


def _uses_engine(options: RunOptions, device: torch.device) -> bool:
    """Decide whether the Fourier engine trains.

    Raises
    ------
    UsageError
        It was asked for on a GPU.
    """
    if options.engine is not None:
        if options.engine and device.type != "cpu":
            raise UsageError(f"the engine trains on a CPU; the device is {device}")
        return options.engine
    others = options.bfloat16 or options.compiled or options.channels_last or options.recompute
    return options.preset is not None and device.type == "cpu" and not others


def _workers(options: RunOptions, world: World) -> int:
    """Return how many threads make batches."""
    if options.workers is not None:
        return options.workers
    if world.device.type != "cuda":
        return 1
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, (own_cores() - 1) // on_this_machine)


def _read_solver(options: RunOptions) -> SolverSpec:
    """Read the solver file and lay the user's changes over it."""
    solver = read_solver(options.solver)
    if options.changes:
        solver = with_changes(solver, options.changes, source="--set")
    if options.level or options.stages:
        solver = with_train_state(solver, options.level, options.stages)
    if options.base_lr is not None and options.preset is None:
        solver = replace(solver, base_lr=options.base_lr)
    if solver.max_iter <= 0:
        raise TrainingError(f"{solver.source}: max_iter is {solver.max_iter}, expected 1 or more")
    return solver


def _without_effect(solver: SolverSpec) -> list[str]:
    """Name the solver's fields that are set and change nothing here."""
    return [
        f"{solver.source}: {name} has no effect here"
        for name, default in WITHOUT_EFFECT.items()
        if getattr(solver.params, name) != default
    ]


def _seed(options: RunOptions, solver: SolverSpec, snapshot: Snapshot | None) -> int:
    """Return the run's seed: a snapshot's own where there is one."""
    if snapshot is not None and snapshot.run is not None:
        if options.seed not in (None, snapshot.run.seed):
            raise UsageError(
                f"{snapshot.path}: a run with seed {snapshot.run.seed} goes on with it, not {options.seed}"
            )
        return snapshot.run.seed
    return options.seed if options.seed is not None else max(solver.random_seed, 0)


def _one_sided_flips(spec: NetSpec) -> Iterator[str]:
    """Warn of LMDBs whose flipped images keep their labels' sides, as in the original."""
    for layer in spec.layers:
        source = layer.params.cpmdata_param.source if layer.type == "CPMData" else ""
        if not source or not is_path(source) or source.endswith(".json"):
            continue
        parameters = TransformParameters.from_message(layer.params.transform_param)
        flips = parameters.aug_way == "table" or (parameters.aug_way == "rand" and parameters.flip_prob > 0)
        if flips and parameters.flip_order == tuple(range(parameters.num_parts)):
            yield (
                f"layer {layer.name!r}: flips exchange no parts of {parameters.num_parts} in an LMDB, as in the "
                "original; if left and right are told apart, set flip_prob to 0 or train from a .json file"
            )


def _tests(
    options: RunOptions, solver: SolverSpec, net: CaffeNet, seed: int, done: int, stack: ExitStack
) -> Iterator[PeriodicMeasure]:
    """Open the solver's test nets, their data where they stand after `done` iterations."""
    for number, (spec, batches) in enumerate(testing_nets(solver)):
        memory = _memory(spec, options)
        source = stack.enter_context(open_data_layers(spec, phase=spec.phase, seed=seed, memory=memory))
        test = load_net(fed(spec), input_shapes=source.shapes)
        share_parameters(net, test)
        tests = max(0, -(-done // solver.test_interval) - (not solver.test_initialization))
        source.skip(tests * batches)
        measure = functools.partial(_test_outputs, test, source, batches, solver.test_compute_loss)
        yield PeriodicMeasure(
            "test", solver.test_interval, solver.test_initialization, measure, number=number, weights=test.loss_weights
        )


def _test_outputs(
    test: CaffeNet, source: DataSource, batches: int, with_loss: bool, _: int
) -> tuple[dict[str, Any], str]:
    means, loss = mean_outputs(test, source.next_batch, batches)
    if with_loss:
        means[TEST_LOSS] = loss
    return means, ", ".join(f"{name} {value:.6g}" for name, value in means.items() if not isinstance(value, list))


def _validation(options: RunOptions, net: CaffeNet) -> Iterator[PeriodicMeasure]:
    """Cut the held-out boxes, if there are to be any, of the size that the run sees at that iteration."""
    if options.validate is None and options.held_out is None:
        return
    _, _, parameters = data_and_label(net)
    records = options.held_out
    if records is None:
        records = open_records(str(options.validate), parameters.np_in_lmdb, held_out=True)
    sizes = {box: resized_box(parameters, box) for box, _ in options.boxes}
    held_out: dict[int | None, HeldOut] = {None: hold_out(records, parameters, options.validate_limit)}
    held_out |= {box: hold_out(records, smaller, options.validate_limit) for box, smaller in sizes.items()}

    def measure(iteration: int) -> tuple[dict[str, Any], str]:
        return stage_pck(net, held_out[_box_at(options.boxes, iteration)])

    at_start = options.held_out is not None
    yield PeriodicMeasure("validation", options.validate_interval, at_start, measure, score="pck")


def _box_at(boxes: Sequence[tuple[int, int]], iteration: int) -> int | None:
    """Return the box that the iteration before this one saw, None for the net's own."""
    for box, iterations in boxes:
        if iteration <= iterations:
            return box
        iteration -= iterations
    return None


def _given(spec: NetSpec, options: RunOptions) -> dict[str, RecordStore] | None:
    """Return what the CPM data layers read where it is not opened by the sources that they name."""
    if options.records is None:
        return _cached(spec) if options.cached else None
    return {layer.name: options.records for layer in spec.layers if layer.type == "CPMData"}


def _cached(spec: NetSpec) -> dict[str, RecordStore]:
    """Return, for the CPM data layers that read no LMDB, their records behind a cache."""
    stores: dict[str, RecordStore] = {}
    for layer in spec.layers:
        if layer.type == "CPMData":
            store = open_records(
                layer.params.cpmdata_param.source,
                layer.params.transform_param.np_in_lmdb,
                locate=functools.partial(locate, named_in=spec.source),
            )
            if not isinstance(store, LmdbRecords | ShardRecords):
                stores[layer.name] = CachedRecords(store)
    return stores


def _memory(spec: NetSpec, options: RunOptions) -> dict[str, tuple[Any, Any]]:
    """Read the arrays of a net's MemoryData layers."""
    names = [layer.name for layer in spec.layers if layer.type == "MemoryData" and layer.name in options.memory]
    found = {}
    for name in names:
        arrays = read_npz(options.memory[name])
        if arrays.keys() != {"data", "label"}:
            raise DataError(f"{options.memory[name]}: arrays {', '.join(arrays)}; expected data and label")
        found[name] = (arrays["data"], arrays["label"])
    return found


def _preset(name: str | None) -> Preset | None:
    if name is not None and name not in PRESETS:
        raise UsageError(f"preset {name!r}: expected one of {', '.join(PRESETS)}")
    return None if name is None else PRESETS[name]
