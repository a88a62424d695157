"""The loop's order of events, what stops it, and what it writes. Oracles: Caffe's order by hand; unbroken runs."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net, parse_solver
from cpm_port.errors import DataError, MissingDependencyError, TrainingError
from cpm_port.graph import load_net
from cpm_port.training.loop import PeriodicMeasure, Trainer
from cpm_port.training.progress import Progress, read_metrics
from cpm_port.training.sanity import EXPLODED
from cpm_port.training.snapshot import latest_snapshot, read_snapshot
from tests.training.support import ArraySource, golden_arrays, golden_trainer, make_trainer

pytestmark = pytest.mark.usefixtures("one_thread")
_LINE = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "fit" type: "InnerProduct" bottom: "x" top: "p" inner_product_param { num_output: 1 } }
layer { name: "loss_a" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss_a" }
layer { name: "loss_b" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss_b" loss_weight: 0.5 }
"""


def _fit(solver: str, tmp_path: Path, y: np.ndarray | None = None, name: str = "run", **fields: Any) -> Trainer:
    """Return a trainer of one weight w towards y = 3 x, from w = 0, with x = 1 (or the given y)."""
    net = load_net(parse_net(_LINE, phase="TRAIN"))
    with torch.no_grad():
        for blob in net.params["fit"]:
            blob.zero_()
    y = np.full((6, 1), 3, np.float32) if y is None else y
    arrays = {"x": np.ones_like(y), "y": y}
    return make_trainer(parse_solver(f'lr_policy: "fixed" {solver}'), net, tmp_path / name, arrays=arrays, **fields)


def test_losses_are_named_and_weighted(tmp_path: Path) -> None:
    trainer = _fit("base_lr: 0.1 max_iter: 1", tmp_path)
    trainer.step()
    assert trainer.last_losses == {"loss_a": 4.5, "loss_b": 2.25}


def test_iterations_that_are_looked_at_together_have_their_own_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: one iteration late, and two before a snapshot. By hand: every batch of two takes a second."""
    now = [0.0]
    for module in ("loop", "progress"):
        monkeypatch.setattr(f"cpm_port.training.{module}.time.perf_counter", lambda: now[0])
    inner = ArraySource.next_batch

    def next_batch(source: ArraySource) -> dict[str, np.ndarray]:
        now[0] += 1.0
        return inner(source)

    monkeypatch.setattr(ArraySource, "next_batch", next_batch)
    with Progress(metrics=tmp_path / "m.jsonl") as progress:
        trainer = _fit("base_lr: 0.1 max_iter: 6 display: 1 snapshot: 2", tmp_path, progress=progress)
        settle = Trainer._settle
        monkeypatch.setattr(Trainer, "_settle", lambda self, keep=None: settle(self, 0 if keep is None else 1))
        trainer.solve()
    records = [record for record in read_metrics(tmp_path / "m.jsonl") if record["kind"] == "train"]
    assert [record["samples_per_s"] for record in records] == [2.0] * 6


def test_batches_of_two_at_iter_size_two_equal_batches_of_four(tmp_path: Path) -> None:
    arrays = golden_arrays()
    small, large = (golden_trainer("sgd_step", tmp_path / "run", iter_size=size) for size in (2, 1))
    large.source = ArraySource(arrays, 4)
    for _ in range(5):
        small.step()
        large.step()
        assert small.last_losses["loss"] == pytest.approx(large.last_losses["loss"], rel=1e-6)
    for name, tensor in small.net.state_dict().items():
        torch.testing.assert_close(tensor, large.net.state_dict()[name], rtol=2e-6, atol=1e-7)


class _Diary:
    """Writes down what a run does, in order."""

    def __init__(self, trainer: Trainer) -> None:
        self.entries: list[str] = []
        self.trainer = trainer
        step, snapshot = trainer.step, trainer.snapshot

        def noted_step(*args: Any) -> None:
            self.entries.append(f"step {trainer.iteration}")
            step(*args)

        def noted_snapshot() -> None:
            before = trainer.last_snapshot
            snapshot()
            written = trainer.last_snapshot != before
            self.entries.append(f"snapshot {trainer.iteration}" if written else "no snapshot")

        trainer.step, trainer.snapshot = noted_step, noted_snapshot  # type: ignore[method-assign]

    def evaluation(self, kind: str, interval: int, *, at_start: bool = True) -> PeriodicMeasure:
        def measure(_: int) -> tuple[Mapping[str, Any], str]:
            self.entries.append(f"{kind} {self.trainer.iteration}")
            return {"pck": 1.0}, "fine"

        return PeriodicMeasure(kind, interval, at_start, measure)


def test_tests_come_before_their_iteration_and_snapshots_after_theirs(tmp_path: Path) -> None:
    trainer = _fit("base_lr: 0.1 max_iter: 4 snapshot: 2", tmp_path)
    diary = _Diary(trainer)
    trainer.evaluations = [diary.evaluation("test", 2), diary.evaluation("validation", 3, at_start=False)]
    assert trainer.solve()
    assert diary.entries == [
        "test 0", "step 0", "step 1", "snapshot 2",
        "test 2", "step 2", "validation 3", "step 3", "snapshot 4",
        "no snapshot", "test 4", "validation 4",
    ]  # fmt: skip


def test_the_last_iteration_is_snapshot_unless_told_otherwise(tmp_path: Path) -> None:
    _fit("base_lr: 0.1 max_iter: 3", tmp_path).solve()
    assert latest_snapshot(tmp_path / "run") == tmp_path / "run_iter_3.solverstate"
    other = _fit("base_lr: 0.1 max_iter: 3 snapshot_after_train: false", tmp_path, name="other")
    other.solve()
    assert latest_snapshot(tmp_path / "other") is None


def test_the_displayed_loss_is_the_mean_over_average_loss_iterations(tmp_path: Path) -> None:
    """By hand: an error e costs 0.75 e^2, and each step takes 0.1 * 1.5 e off it twice, by weight and by bias."""
    console = io.StringIO()
    metrics = tmp_path / "metrics.jsonl"
    with Progress(console=console, metrics=metrics) as progress:
        _fit("base_lr: 0.1 max_iter: 5 display: 2 average_loss: 2", tmp_path, progress=progress).solve()
    losses = [0.75 * (3 * 0.7**k) ** 2 for k in range(5)]
    records = [record for record in read_metrics(metrics) if record["kind"] == "train"]
    assert [record["iteration"] for record in records] == [0, 2, 4]
    expected = [losses[0], (losses[1] + losses[2]) / 2, (losses[3] + losses[4]) / 2]
    assert [record["loss"] for record in records] == pytest.approx(expected, rel=1e-5)
    lines = console.getvalue().splitlines()
    assert lines[0].startswith("Iteration 0, loss = 6.75 (loss_a 4.5, loss_b 2.25), lr = 0.1, ")
    assert "samples/s" in lines[1]
    assert lines[-1].startswith("Iteration 5, snapshot ")


@pytest.mark.parametrize("resumed_from", [2, 4])
def test_metrics_of_a_resumed_run_read_as_if_it_never_stopped(resumed_from: int, tmp_path: Path) -> None:
    text = "base_lr: 0.1 max_iter: 6 display: 1 snapshot: 2 average_loss: 3"
    for start in (0, resumed_from):
        with Progress(metrics=tmp_path / "metrics.jsonl", start=start) as progress:
            trainer = _fit(text, tmp_path, progress=progress)
            if start:
                snapshot = read_snapshot(tmp_path / f"run_iter_{start}.solverstate")
                trainer.net.load_weights(snapshot.weights)
                trainer.restore(snapshot)
            else:
                trainer.solver = replace(trainer.solver, max_iter=5)
            trainer.solve()
    records = read_metrics(tmp_path / "metrics.jsonl")
    whole = tmp_path / "whole.jsonl"
    with Progress(metrics=whole) as progress:
        _fit(text, tmp_path, name="whole", progress=progress).solve()
    timeless = [
        [(r["kind"], r["iteration"], r.get("loss"), r.get("lr")) for r in some]
        for some in (records, read_metrics(whole))
    ]
    assert timeless[0] == timeless[1]


def test_a_run_that_cannot_start_leaves_the_metrics_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "iteration": 0}\n')
    before = path.read_text()
    with Progress(metrics=path):
        pass
    assert path.read_text() == before
    with Progress(metrics=path) as progress:
        progress.record("train", 0, {"loss": 1.0})
    assert read_metrics(path) == [{"kind": "train", "iteration": 0, "loss": 1.0}]


def test_a_torn_last_line_of_metrics_is_dropped_and_any_other_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "iteration": 0}\n{"kind": "tra')
    assert read_metrics(path) == [{"kind": "train", "iteration": 0}]
    path.write_text('{"kind": "train"}\n{"kind": "train", "iteration": 1}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:1"):
        read_metrics(path)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_with_iteration_stage_and_samples(poison: float, tmp_path: Path) -> None:
    y = np.full((8, 1), 3, np.float32)
    y[5] = poison
    trainer = _fit("base_lr: 0.1 max_iter: 4 snapshot: 1", tmp_path, y)
    with pytest.raises(
        TrainingError, match=r"iteration 2: loss_a is (nan|inf), loss_b is (nan|inf); samples: row 4, row 5"
    ):
        trainer.solve()
    assert latest_snapshot(tmp_path / "run") == tmp_path / "run_iter_2.solverstate"
    assert np.isfinite(read_snapshot(tmp_path / "run_iter_2.solverstate").history[0]).all()


def test_an_exploding_loss_stops_and_keeps_the_last_snapshot(tmp_path: Path) -> None:
    y = np.full((80, 1), 3, np.float32)
    y[40] = 3 * EXPLODED
    trainer = _fit("base_lr: 0.0001 max_iter: 40 snapshot: 15", tmp_path, y)
    with pytest.raises(TrainingError, match=r"iteration 20: the loss exploded .* loss_a .*samples: row 40, row 41"):
        trainer.solve()
    assert latest_snapshot(tmp_path / "run") == tmp_path / "run_iter_15.solverstate"


def test_weights_that_are_not_finite_are_not_snapshot(tmp_path: Path) -> None:
    trainer = _fit("base_lr: 0.1 max_iter: 4", tmp_path)
    trainer.step()
    with torch.no_grad():
        trainer.net.params["fit"][1].fill_(torch.nan)
    with pytest.raises(
        TrainingError, match=r"iteration 0: weights are not finite .*: fit\[1\]; .*samples: row 0, row 1"
    ):
        trainer.snapshot()
    assert latest_snapshot(tmp_path / "run") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopping_signal_leaves_a_snapshot_to_go_on_from(number: signal.Signals, tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "run")
    before = signal.getsignal(number)
    inner = trainer.source.next_batch

    def interrupted() -> Mapping[str, np.ndarray]:
        if trainer.iteration == 6:
            os.kill(os.getpid(), number)
        return inner()

    trainer.source.next_batch = interrupted  # type: ignore[method-assign]
    assert not trainer.solve()
    assert trainer.iteration == 7
    assert signal.getsignal(number) is before
    again = golden_trainer("sgd_step", tmp_path / "run")
    snapshot = read_snapshot(tmp_path / "run_iter_7.solverstate")
    again.net.load_weights(snapshot.weights)
    again.restore(snapshot)
    assert again.solve()
    whole = golden_trainer("sgd_step", tmp_path / "whole")
    whole.solve()
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name])


def test_sighup_takes_a_snapshot_and_goes_on(tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "run", max_iter=5)
    inner = trainer.source.next_batch

    def interrupted() -> Mapping[str, np.ndarray]:
        if trainer.iteration == 2:
            os.kill(os.getpid(), signal.SIGHUP)
        return inner()

    trainer.source.next_batch = interrupted  # type: ignore[method-assign]
    assert trainer.solve()
    assert latest_snapshot(tmp_path / "run") == tmp_path / "run_iter_3.solverstate"
    assert trainer.iteration == 5


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "run", max_iter=2)
    thread = threading.Thread(target=trainer.solve)
    thread.start()
    thread.join()
    assert trainer.iteration == 2


def test_a_snapshot_of_another_recipe_is_refused(tmp_path: Path) -> None:
    golden_trainer("sgd_step", tmp_path / "run", max_iter=1, snapshot=1).solve()
    other = golden_trainer("nesterov_step", tmp_path / "other")
    with pytest.raises(TrainingError, match="a run with SGD, this one uses Nesterov"):
        other.restore(read_snapshot(tmp_path / "run_iter_1.solverstate"))


def test_the_best_validation_is_kept_in_the_snapshot(tmp_path: Path) -> None:
    trainer = _fit("base_lr: 0.1 max_iter: 3 snapshot: 1", tmp_path)
    scores = iter([40.0, 60.0, 50.0])
    trainer.evaluations = [
        PeriodicMeasure("validation", 1, True, lambda _: ({"pck": next(scores, 0.0)}, "fine"), score="pck")
    ]
    trainer.solve()
    run = read_snapshot(tmp_path / "run_iter_3.solverstate").run
    assert run is not None
    assert run.best == {"score": 60.0, "iteration": 1.0}


def test_dropout_after_a_resume_is_that_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    text = _LINE.replace('bottom: "x" top: "p"', 'bottom: "d" top: "p"').replace(
        'layer { name: "fit"', 'layer { name: "d" type: "Dropout" bottom: "x" top: "d" }\nlayer { name: "fit"'
    )

    def trainer(name: str) -> Trainer:
        net = load_net(parse_net(text, phase="TRAIN"))
        with torch.no_grad():
            net.params["fit"][0].fill_(1.0)
        arrays = {"x": np.ones((6, 1), np.float32), "y": np.ones((6, 1), np.float32)}
        return make_trainer(
            parse_solver('lr_policy: "fixed" base_lr: 0.1 max_iter: 8'), net, tmp_path / name, arrays=arrays
        )

    whole, first, second = trainer("whole"), trainer("first"), trainer("second")
    whole.solve()
    for _ in range(3):
        first.step()
    first.snapshot()
    assert first.last_snapshot is not None
    snapshot = read_snapshot(first.last_snapshot)
    second.net.load_weights(snapshot.weights)
    second.restore(snapshot)
    torch.rand(100)  # whatever else drew from torch's generator in between
    second.solve()
    assert torch.equal(whole.net.params["fit"][0], second.net.params["fit"][0])
    other = trainer("other")
    other.seed = 1
    other.solve()
    assert not torch.equal(whole.net.params["fit"][0], other.net.params["fit"][0])


def test_tensorboard_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"cpm_port\[tensorboard\]"):
        Progress(tensorboard=tmp_path / "board")


def test_tensorboard_gets_the_records_as_scalars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra cpm_port[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Progress(tensorboard=tmp_path / "board") as progress:
        _fit("base_lr: 0.1 max_iter: 3 display: 1", tmp_path, progress=progress).solve()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert {"train/loss", "train/losses/loss_a", "train/lr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2]
    assert events.Scalars("train/loss")[0].value == pytest.approx(6.75)
