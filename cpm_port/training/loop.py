"""The training loop, in Caffe's order of events.

Flow: batches -> net -> losses -> gradients -> solver -> **snapshots, records, a trained net**. Before iteration k
(from 0): the test nets and the validation, where their intervals divide k. Then `iter_size` forward and backward
passes, whose gradients add up; the rate; the update; k + 1 iterations are done; a snapshot, where its interval
divides k + 1.

Numbers come off a GPU one iteration late, so that it never waits for them: an iteration's loss is looked at when the
next one is under way. What decides about files (a snapshot, the end) waits for all of them first.

Dropout draws from a generator seeded by (seed, iteration, pass, process), so a resumed run needs no generator state.

Source: BVLC/caffe@9b891540 src/caffe/solver.cpp (Step, Solve), tools/caffe.cpp. Differs: a loss or weight that is not
finite, or a loss that explodes, ends the run (`sanity.py`), and no snapshot is made of it; the loss window of
`average_loss` survives a resume; a stop by signal always leaves a snapshot; Caffe's extra forward pass after the last
iteration, for its last line, is left out; `debug_info` and `snapshot_diff` have no effect.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cpm_port.caffe import SolverSpec, read_weights, write_weights
from cpm_port.compute.devices import LostProcessError, World, first_to_claim, to_device
from cpm_port.errors import TrainingError
from cpm_port.graph import CaffeNet, LayerModule
from cpm_port.graph.whole_batch import shared_by
from cpm_port.training.averaging import WeightAverage
from cpm_port.training.caffe_log import opening, snapshot_lines, test_lines, train_lines
from cpm_port.training.distributed import average_gradients
from cpm_port.training.history import collect_history, restore_history, to_numpy
from cpm_port.training.lr_policy import Rate
from cpm_port.training.objective import Objective
from cpm_port.training.progress import Clock, Progress
from cpm_port.training.sanity import LossWatch, require_finite_weights
from cpm_port.training.signals import Wishes, watch_signals
from cpm_port.training.snapshot import RunState, Snapshot, write_snapshot
from cpm_port.training.solver import CaffeOptimizer

__all__ = ["BatchSource", "PeriodicMeasure", "Trainer"]


class BatchSource(Protocol):
    """Where batches come from: `cpm_port.training.batches.open_data_layers`, or anything with these methods."""

    def next_batch(self) -> Mapping[str, np.ndarray]:
        """Return the data layers' tops of the next batch."""

    def state(self) -> dict[str, Any]:
        """Return the position after the last batch, in JSON values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to such a position."""

    def skip(self, batches: int) -> None:
        """Go on as if that many batches had been taken."""

    def describe_last(self) -> Sequence[str]:
        """Name the samples of the last batch."""


@dataclass(frozen=True)
class PeriodicMeasure:
    """Something measured every so many iterations, without touching the run.

    Attributes
    ----------
    kind : {"test", "validation"}
    interval : int
        Measured before every iteration that it divides, and after the last one.
    at_start : bool
        Also before iteration 0.
    measure : callable
        Takes the number of iterations done; returns named numbers, and the line to print.
    score : str or None
        The number, the higher the better, whose best value is kept in the snapshots.
    number : int
        Which of the test nets.
    weights : mapping of str to float
        Of the numbers that are losses, for Caffe's log.
    """

    kind: str
    interval: int
    at_start: bool
    measure: Callable[[int], tuple[Mapping[str, Any], str]]
    score: str | None = None
    number: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Pending:
    """An iteration whose numbers have not been looked at; on a GPU, they are on their way to pinned memory."""

    iteration: int
    rate: float
    numbers: Tensor
    samples: list[str]
    arrival: torch.cuda.Event | None
    ended: float

    @classmethod
    def of(cls, numbers: Tensor, iteration: int, rate: float, samples: list[str]) -> _Pending:
        """Send the numbers of an iteration that is under way to the host, without waiting for them."""
        arrival = None
        if numbers.device.type == "cuda":
            there = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            numbers = there.copy_(numbers, non_blocking=True)
            arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrival.record()
        return cls(iteration, rate, numbers, samples, arrival, time.perf_counter())

    def values(self) -> list[float]:
        """Return the numbers, when they are there."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.numbers.tolist()


@dataclass(frozen=True)
class _Moment:
    """What a snapshot of the moment before an iteration needs, once the iteration has begun."""

    current_step: int
    data: dict[str, Any]
    running_sums: dict[torch.nn.Parameter, Tensor]


@dataclass
class Trainer:
    """A run: everything it needs, and where it stands.

    Attributes
    ----------
    solver : SolverSpec
        Intervals, `max_iter`, `iter_size`, names.
    net : CaffeNet
        On the world's device.
    objective : Objective
        The net's losses of a batch.
    optimizer : CaffeOptimizer
    schedule : callable
        (iteration, current_step) -> Rate.
    source : BatchSource
    world : World
    progress : Progress
    evaluations : sequence of PeriodicMeasure
    recipe : str
        Name of the update rule, kept in snapshots.
    seed : int
    prefix : Path
        The solver's `snapshot_prefix`.
    average : WeightAverage or None
        Kept beside the weights, measured instead of them, and written into snapshots.
    patience : int
        Iterations after which the run ends where no score was better than the best one; 0: it does not.
    keep_best : Path or None
        A .caffemodel that always holds the weights of the best score.
    sigint, sighup : {"stop", "snapshot", "none"}
        What these signals do.
    """

    solver: SolverSpec
    net: CaffeNet
    objective: Objective
    optimizer: CaffeOptimizer
    schedule: Callable[[int, int], Rate]
    source: BatchSource
    world: World
    progress: Progress
    evaluations: Sequence[PeriodicMeasure] = ()
    recipe: str = "SGD"
    seed: int = 0
    prefix: Path = Path("snapshot")
    average: WeightAverage | None = None
    patience: int = 0
    keep_best: Path | None = None
    sigint: str = "stop"
    sighup: str = "snapshot"
    iteration: int = field(default=0, init=False)
    last_losses: dict[str, float] = field(default_factory=dict, init=False)
    last_snapshot: Path | None = field(default=None, init=False)
    best: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._current_step = 0
        self._losses = LossWatch(self.solver.average_loss)
        self._pending: deque[_Pending] = deque()
        self._batch_size = 0
        self._stop = self._wanted = self._enough = False
        self._snapshot_at = -1
        self._clock = Clock(0)
        self._learnable = [entry.tensor for entry in self.net.param_info()]

    # -- the run -------------------------------------------------------------------------------------------------------

    def solve(self) -> bool:
        """Run to the solver's `max_iter`, or till patience ends; return whether it got there, False after a signal.

        Raises
        ------
        TrainingError
            A loss or weight is not finite, or the loss has exploded. The snapshots made before are untouched.
        """
        self._clock = Clock(self.iteration)
        self.progress.say("", opening(self.net.spec.name, self.solver.lr_policy))
        with watch_signals(self.sigint, self.sighup) as wishes:
            while self.iteration < self.solver.max_iter and not self._stop:
                self._evaluate(at_end=False)
                self.step(wishes)
                self._after_step(wishes)
        self._settle()
        if self._stop or self.solver.snapshot_after_train:
            self.snapshot()
        if not self._stop:
            self._evaluate(at_end=True)
            self.progress.say("", ["Optimization Done."])
        return self._enough or not self._stop

    def step(self, wishes: Wishes | None = None) -> None:
        """Make one iteration: forward and backward `iter_size` times, then update.

        Parameters
        ----------
        wishes : Wishes, optional
            Whether to stop: the processes agree on it here.

        Raises
        ------
        TrainingError
            A loss is not finite or has exploded; or another process has gone, and one of those that are left has
            written a snapshot of the moment before this iteration.
        """
        before = self._moment()
        try:
            numbers, samples, rate = self._summed_over_processes(wishes)
        except LostProcessError as error:
            raise TrainingError(self._rescue(before, error)) from error
        self.optimizer.step()
        self._pending.append(_Pending.of(numbers, self.iteration, rate, samples))
        self.iteration += 1
        if self.average is not None:
            self.average.update(self.iteration)
        self._settle(keep=1 if self.world.device.type == "cuda" else 0)

    def _summed_over_processes(self, wishes: Wishes | None) -> tuple[Tensor, list[str], float]:
        """Make an iteration's gradients, the mean over all processes; return the numbers, the samples, the rate."""
        rate, self._current_step = self.schedule(self.iteration, self._current_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        numbers, samples = self._accumulate()
        stop, snapshot = (self._enough, False) if wishes is None else (wishes.stop or self._enough, wishes.snapshot)
        flags = numbers.new_zeros(2)
        for flag, wish in zip(flags, (stop, snapshot), strict=True):
            if wish:
                flag.fill_(1.0)  # there, where it is: a value from here would be waited for
        return average_gradients(self.world, self._learnable, torch.cat([numbers, flags])), samples, rate

    def snapshot(self) -> None:
        """Let the leading process write a snapshot of this moment, unless it was just written (`last_snapshot`).

        Raises
        ------
        TrainingError
            A weight is not finite.
        """
        self._settle()
        if self._snapshot_at == self.iteration:
            return
        began = time.perf_counter()
        require_finite_weights(self.net, self.iteration - 1, self._losses.samples)
        self._snapshot_at = self.iteration
        if self.world.leads:
            self.last_snapshot = self._write_snapshot(self.source.state())
            self.progress.say(
                f"Iteration {self.iteration}, snapshot {self.last_snapshot}", snapshot_lines(self.last_snapshot)
            )
            self.progress.record("snapshot", self.iteration, {"path": str(self.last_snapshot)})
        self._clock.pause(time.perf_counter() - began)

    def _write_snapshot(self, data: dict[str, Any]) -> Path:
        return write_snapshot(
            self.prefix,
            iteration=self.iteration,
            current_step=self._current_step,
            blobs={name: [to_numpy(b) for b in blobs] for name, blobs in self.net.params.items()},
            net=self.net.spec,
            history=collect_history(self.optimizer, self._learnable),
            run=RunState(
                recipe=self.recipe,
                seed=self.seed,
                data=data,
                losses=tuple(self._losses.window),
                reference_loss=self._losses.reference,
                best=dict(self.best),
            ),
            averaged=None if self.average is None else self.average.blobs(),
            hdf5=self.solver.snapshot_format == "HDF5",
        )

    def _moment(self) -> _Moment | None:
        """Return what an iteration changes before its update, where other processes may get lost in it."""
        if self.world.size == 1:
            return None
        sums = {blob: blob.detach().clone() for blob in _running_sums(self.net)}
        return _Moment(self._current_step, self.source.state(), sums)

    def _rescue(self, before: _Moment | None, error: Exception) -> str:
        """Go back to the moment before this iteration and leave a snapshot of it; return what is to be said."""
        assert before is not None
        self._current_step = before.current_step
        for blob, values in before.running_sums.items():
            blob.data.copy_(values)
        said = f"iteration {self.iteration}: one of the {self.world.size} processes has gone ({error}); "
        if self._snapshot_at != self.iteration:
            if not first_to_claim(self.world, f"snapshot of {self.iteration}"):
                return said + "another one leaves a snapshot"
            require_finite_weights(self.net, self.iteration - 1, self._losses.samples)
            self.last_snapshot = self._write_snapshot(before.data)
        where = self.last_snapshot or "that was just written"
        return f"{said}the snapshot of the {self.iteration} that are done is {where}; --snapshot latest goes on from it"

    def restore(self, snapshot: Snapshot) -> None:
        """Take up a run where a snapshot left it; the weights must be in the net already.

        Raises
        ------
        TrainingError
            The history belongs to another net or another kind of solver.
        """
        run = snapshot.run
        if run is not None and run.recipe != self.recipe:
            raise TrainingError(f"{snapshot.path}: snapshot of a run with {run.recipe}, this one uses {self.recipe}")
        self.iteration = self._snapshot_at = snapshot.iteration
        self.last_snapshot = snapshot.path
        self._current_step = snapshot.current_step
        restore_history(self.optimizer, self._learnable, snapshot.history, str(snapshot.path))
        self.optimizer.set_iteration(snapshot.iteration)
        if self.average is not None and snapshot.averaged is not None:
            self.average.restore(read_weights(snapshot.averaged))
        if run is not None and run.data is not None:
            self.source.restore(run.data)
        else:
            self.source.skip(snapshot.iteration * self.solver.iter_size)
        if run is not None:
            self.seed = run.seed
            self._losses.window.extend(run.losses)
            self._losses.reference = run.reference_loss
            self.best = dict(run.best)

    # -- one iteration -------------------------------------------------------------------------------------------------

    def _accumulate(self) -> tuple[Tensor, list[str]]:
        """Add up the gradients of `iter_size` batches; return the numbers to look at, and the samples' names.

        The numbers are the mean loss per loss layer, then what else the net measured of the last batch.
        """
        total: Tensor | None = None
        samples: list[str] = []
        for number in range(self.solver.iter_size):
            torch.manual_seed(_mix(self.seed, self.iteration, number, self.world.rank))
            batch = self.source.next_batch()
            samples += self.source.describe_last()
            inputs = {name: to_device(array, self.world.device) for name, array in batch.items()}
            self._batch_size = len(next(iter(batch.values())))
            with shared_by(self.world.size):
                losses = self.objective(inputs)
                losses.sum().backward()  # type: ignore[no-untyped-call]
            total = losses.detach() if total is None else total + losses.detach()
        assert total is not None
        total /= self.solver.iter_size
        measures = self.objective.last_measures
        return total if measures is None else torch.cat([total, measures]), samples

    def _settle(self, keep: int = 0) -> None:
        """Look at the numbers of all iterations but the last `keep`."""
        while len(self._pending) > keep:
            self._look(self._pending.popleft())

    def _look(self, done: _Pending) -> None:
        """Check an iteration's losses and, where its turn has come, print them."""
        *values, stop, snapshot = done.values()
        self._stop |= stop > 0
        self._wanted |= snapshot > 0
        count = len(self.objective.names)
        losses = dict(zip(self.objective.names, values[:count], strict=True))
        self._losses.add(done.iteration, losses, done.samples)
        self.last_losses = losses
        if self.world.leads and self.solver.display and done.iteration % self.solver.display == 0:
            self._display(done, losses, values[count:])

    def _display(self, done: _Pending, losses: Mapping[str, float], measured: Sequence[float]) -> None:
        smoothed = self._losses.smoothed()
        pace, left = self._clock.look(done.iteration + 1, self.solver.max_iter, done.ended)
        samples = pace * self._batch_size * self.solver.iter_size * self.world.size
        each = ", ".join(f"{name} {value:.6g}" for name, value in losses.items()) if len(losses) > 1 else ""
        measures = _shared_out(measured, self.objective.measures)
        outputs = measures | {name: value / self.objective.weights[name] for name, value in losses.items()}
        self.progress.say(
            f"Iteration {done.iteration}, loss = {smoothed:.6g}{f' ({each})' if each else ''}, lr = {done.rate:.6g}, "
            f"{samples:.3g} samples/s, {_duration(left)} left",
            train_lines(done.iteration, smoothed, dict(sorted(outputs.items())), self.objective.weights, done.rate),
        )
        values = {"loss": smoothed, "losses": dict(losses), "lr": done.rate, "samples_per_s": samples}
        if measures:
            values["outputs"] = measures
        self.progress.record("train", done.iteration, values)

    # -- around the iterations -----------------------------------------------------------------------------------------

    def _after_step(self, wishes: Wishes) -> None:
        """Take the snapshot that is due, or that a signal asked for."""
        wanted, self._wanted = self._wanted, False
        if wanted:
            wishes.snapshot = False
        due = self.solver.snapshot and self.iteration % self.solver.snapshot == 0
        if due or wanted:
            self.snapshot()

    def _evaluate(self, *, at_end: bool) -> None:
        """Measure what is due before this iteration; at the end, validations in any case."""
        for evaluation in self.evaluations:
            due = evaluation.interval > 0 and self.iteration % evaluation.interval == 0
            if self.iteration == 0:
                due = due and evaluation.at_start
            if not (due or (at_end and evaluation.kind == "validation")):
                continue
            self._settle()
            began = time.perf_counter()
            if self.world.leads:
                self._measure(evaluation)
            self._clock.pause(time.perf_counter() - began)

    def _measure(self, evaluation: PeriodicMeasure) -> None:
        averaged = nullcontext() if self.average is None else self.average.applied()
        with torch.no_grad(), averaged:
            values, line = evaluation.measure(self.iteration)
            better = evaluation.score is not None and values[evaluation.score] > self.best.get("score", -math.inf)
            if better and self.keep_best is not None:
                blobs = {name: [to_numpy(b) for b in blobs] for name, blobs in self.net.params.items()}
                write_weights(self.keep_best, blobs, self.net.spec)
        number = evaluation.number
        self.progress.say(
            f"Iteration {self.iteration}, {evaluation.kind}{f' of net {number}' if number else ''}: {line}",
            test_lines(self.iteration, number, values, evaluation.weights)
            if evaluation.kind == "test"
            else [f"{evaluation.kind.capitalize()}: {line}"],
        )
        self.progress.record(evaluation.kind, self.iteration, {**values, **({"net": number} if number else {})})
        if evaluation.score is None:
            return
        if better:
            self.best = {"score": float(values[evaluation.score]), "iteration": float(self.iteration)}
        elif self.patience and self.iteration - self.best.get("iteration", 0.0) >= self.patience:
            self._enough = True
            self.progress.say(f"Iteration {self.iteration}: no better score in {self.patience} iterations, enough")


def _running_sums(net: CaffeNet) -> list[torch.nn.Parameter]:
    """Return the parameters that a forward pass changes: the statistics that layers normalize by."""
    modules = (net.get_submodule(step.key) for step in net.steps if step.spec.type in ("BatchNorm", "BN"))
    return [blob for module in modules if isinstance(module, LayerModule) for blob in module.blobs]


def _shared_out(numbers: Sequence[float], sizes: Mapping[str, int]) -> dict[str, float | list[float]]:
    """Return numbers by name, `sizes` telling how many belong to each: a number, or a list of several."""
    ends = list(itertools.accumulate(sizes.values()))
    parts = [list(numbers[end - size : end]) for end, size in zip(ends, sizes.values(), strict=True)]
    return {name: part[0] if len(part) == 1 else part for name, part in zip(sizes, parts, strict=True)}


def _mix(*numbers: int) -> int:
    """Hash integers to a 63-bit seed, the same in every process and version."""
    mixed = np.random.SeedSequence([n & 0xFFFFFFFF for n in numbers]).generate_state(1, np.uint64)[0]
    return int(mixed) >> 1


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
