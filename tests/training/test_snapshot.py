"""Snapshots: what is written is what is read, Caffe's form, and whole whenever the writer is killed.

Oracles: Caffe's own snapshots in tests/golden/caffe/solver; an uninterrupted run of our own for resuming.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_solver, read_solverstate, read_weights, write_solverstate
from cpm_port.errors import CaffeFormatError, MissingFileError, TrainingError
from cpm_port.training.snapshot import (
    RunState,
    latest_snapshot,
    read_latest_snapshot,
    read_snapshot,
    snapshot_path,
    snapshot_prefix,
)
from tests.support import ROOT
from tests.training.support import SOLVERS, golden_trainer

pytestmark = pytest.mark.usefixtures("one_thread")
HDF5 = pytest.mark.parametrize("snapshot_format", ["BINARYPROTO", "HDF5"])


def _suffix(snapshot_format: str) -> str:
    return ".h5" if snapshot_format == "HDF5" else ""


@HDF5
@pytest.mark.parametrize("variant", ["sgd_step", "adam_fixed", "sgd_multistep"])
def test_a_snapshot_says_what_caffes_says(variant: str, snapshot_format: str, tmp_path: Path) -> None:
    trainer = golden_trainer(variant, tmp_path / variant, max_iter=10, snapshot=10, snapshot_format=snapshot_format)
    trainer.solve()
    path = tmp_path / f"{variant}_iter_10.solverstate{_suffix(snapshot_format)}"
    ours, caffes = read_solverstate(path), read_solverstate(SOLVERS / f"{variant}_iter_10.solverstate")
    assert (ours.iter, ours.current_step) == (caffes.iter, caffes.current_step)
    assert Path(ours.learned_net) == tmp_path / f"{variant}_iter_10.caffemodel{_suffix(snapshot_format)}"
    assert [h.shape for h in ours.history] == [h.shape for h in caffes.history]
    for mine, theirs in zip(ours.history, caffes.history, strict=True):
        assert np.abs(mine - theirs).max() <= 1e-6 * np.abs(theirs).max()
    weights, theirs = read_weights(ours.learned_net), read_weights(SOLVERS / f"{variant}_iter_10.caffemodel")
    assert list(weights) == list(theirs)


@HDF5
@pytest.mark.parametrize("variant", ["sgd_clip", "nesterov_step", "adadelta_fixed", "adam_fixed", "sgd_multistep"])
def test_resuming_equals_never_stopping_to_the_bit(variant: str, snapshot_format: str, tmp_path: Path) -> None:
    whole = golden_trainer(variant, tmp_path / "whole")
    whole.solve()
    first = golden_trainer(variant, tmp_path / "first", max_iter=7, snapshot=7, snapshot_format=snapshot_format)
    first.solve()
    second = golden_trainer(variant, tmp_path / "second")
    snapshot = read_snapshot(snapshot_path(tmp_path / "first", 7, hdf5=snapshot_format == "HDF5"))
    second.net.load_weights(snapshot.weights)
    second.restore(snapshot)
    second.solve()
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, second.net.state_dict()[name]), name
    assert whole.last_losses == second.last_losses


def test_a_folder_of_snapshots_may_move(tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "before" / "run", max_iter=2, snapshot=2)
    trainer.solve()
    (tmp_path / "before").rename(tmp_path / "after")
    path = latest_snapshot(tmp_path / "after" / "run")
    assert path is not None
    assert read_snapshot(path).weights == tmp_path / "after" / "run_iter_2.caffemodel"


def test_the_latest_snapshot_is_that_of_the_highest_iteration(tmp_path: Path) -> None:
    assert latest_snapshot(tmp_path / "run") is None
    assert latest_snapshot(tmp_path / "absent" / "run") is None
    for name in (
        "run_iter_9.solverstate",
        "run_iter_10.solverstate",
        "run_iter_11.caffemodel",
        "other_iter_20.solverstate",
    ):
        (tmp_path / name).touch()
    assert latest_snapshot(tmp_path / "run") == tmp_path / "run_iter_10.solverstate"


@pytest.mark.parametrize("cut", ["solverstate", "solverstate.json", "caffemodel", "ema.caffemodel"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_cut_newest_snapshot_says_what_to_delete_and_what_the_run_goes_on_from(
    cut: str, earlier: bool, tmp_path: Path
) -> None:
    golden_trainer("sgd_step", tmp_path / "run", max_iter=2, snapshot=1 if earlier else 2).solve()
    shutil.copy(tmp_path / "run_iter_2.caffemodel", tmp_path / "run_iter_2.ema.caffemodel")
    file = tmp_path / f"run_iter_2.{cut}"
    file.write_bytes(file.read_bytes()[:-20])
    then = r"goes on from run_iter_1\.solverstate" if earlier else "begins anew"
    said = rf"the newest snapshot .*run_iter_2\.{cut}.*; delete .*run_iter_2\.solverstate and the same command {then}"
    with pytest.raises(CaffeFormatError, match=said):
        read_latest_snapshot(tmp_path / "run")
    (tmp_path / "run_iter_2.solverstate").unlink()
    found = read_latest_snapshot(tmp_path / "run")
    assert (found and found.iteration) == (1 if earlier else None)


def test_a_model_that_is_not_the_snapshots_is_refused(tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "run", max_iter=2, snapshot=1)
    trainer.solve()
    (tmp_path / "run_iter_1.caffemodel").replace(tmp_path / "run_iter_2.caffemodel")
    with pytest.raises(TrainingError, match="the snapshot was written with"):
        read_snapshot(tmp_path / "run_iter_2.solverstate")
    with pytest.raises(MissingFileError, match="its model"):
        read_snapshot(tmp_path / "run_iter_1.solverstate")
    with pytest.raises(MissingFileError, match="no such snapshot"):
        read_snapshot(tmp_path / "run_iter_3.solverstate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"iteration": 5}, "of iteration 5"),
        ({"losses": None}, "not the run state"),
        ({"surprise": 1}, "not the run state"),
        ({"weights_sha256": ["a"]}, "not the run state.*weights_sha256"),
        ({"weights_sha256": None}, "not the run state.*weights_sha256"),
        ({"seed": "1"}, "not the run state.*seed"),
        ({"recipe": None}, "not the run state.*recipe"),
        ({"data": [1]}, "not the run state.*data"),
        ({"best": [1]}, "not the run state"),
        ({"best": {"pck": "high"}}, "not the run state.*best"),
        ({"losses": ["low"]}, "not the run state.*losses"),
        ({"reference_loss": {}}, "not the run state.*reference_loss"),
        ({"best": None}, "not the run state"),
    ],
)
def test_a_damaged_run_state_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    golden_trainer("sgd_step", tmp_path / "run", max_iter=1, snapshot=1).solve()
    path = tmp_path / "run_iter_1.solverstate"
    side = path.with_name(path.name + ".json")
    side.write_text(json.dumps({**json.loads(side.read_text()), **change}))
    with pytest.raises(TrainingError, match=message):
        read_snapshot(path)


def test_a_history_of_another_solver_is_refused(tmp_path: Path) -> None:
    trainer = golden_trainer("adam_fixed", tmp_path / "run")
    snapshot = read_snapshot(SOLVERS / "sgd_step_iter_10.solverstate")
    with pytest.raises(TrainingError, match="4 history blobs, Adam needs 8"):
        trainer.restore(snapshot)


def test_a_run_state_survives_its_file(tmp_path: Path) -> None:
    trainer = golden_trainer("sgd_step", tmp_path / "run", max_iter=3, snapshot=3, average_loss=5)
    trainer.seed, trainer.best = 17, {"score": 50.0, "iteration": 2.0}
    trainer.solve()
    run = read_snapshot(tmp_path / "run_iter_3.solverstate").run
    assert isinstance(run, RunState)
    assert (run.recipe, run.seed, run.data, run.best) == ("SGD", 17, {"position": 6}, {"score": 50.0, "iteration": 2.0})
    assert len(run.losses) == 3


class _Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_writer_that_dies_between_two_files_leaves_no_mixed_snapshot(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iteration 2 is written again, from other weights, and the writer dies after so many of its three files."""
    golden_trainer("sgd_step", tmp_path / "run", max_iter=2, snapshot=1).solve()
    again = golden_trainer("sgd_step", tmp_path / "run", base_lr=0.01)
    again.step()
    again.step()
    replace, done = os.replace, []

    def dying_replace(source: str, target: str) -> None:
        if len(done) == renames:
            raise _Killed
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying_replace)
    with pytest.raises(_Killed):
        again.snapshot()
    monkeypatch.undo()
    path = latest_snapshot(tmp_path / "run")
    assert path is not None
    assert read_snapshot(path).iteration == 1


# One process imports once and then forks a training run per line that it reads; the run says when it begins to write a
# snapshot and when it has done so, and kill -9 hits it in between.
_BREEDER = """
import os, sys
from pathlib import Path
import torch
from tests.training.support import golden_trainer
from cpm_port.training import loop
from cpm_port.training.snapshot import latest_snapshot, read_snapshot
prefix, last = Path(sys.argv[1]), int(sys.argv[2])
write_snapshot = loop.write_snapshot

def announced(*args, **kwargs):
    print("begin", flush=True)
    path = write_snapshot(*args, **kwargs)
    print("end", flush=True)
    return path

loop.write_snapshot = announced
golden_trainer("adam_fixed", prefix).step()
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        trainer = golden_trainer("adam_fixed", prefix, max_iter=last, snapshot=1)
        path = latest_snapshot(prefix)
        if path is not None:
            snapshot = read_snapshot(path)
            trainer.net.load_weights(snapshot.weights)
            trainer.restore(snapshot)
        print(os.getpid(), flush=True)
        trainer.solve()
        os._exit(0)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def test_kill_9_at_ten_random_moments_of_snapshots_always_leaves_a_whole_one(tmp_path: Path) -> None:
    """A snapshot after every iteration; only kills within the writing of one count. The run ends as if left alone."""
    last, chance = 100, random.Random(9)
    prefix = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _BREEDER, str(prefix), str(last)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment, "cwd": ROOT}
    reached, interrupted, took = [], 0, 0.003
    with subprocess.Popen(command, **pipes) as breeder:  # type: ignore[call-overload]

        def said() -> str:
            return str(breeder.stdout.readline().strip())

        def start() -> int:
            print("run", file=breeder.stdin, flush=True)
            return int(said())

        assert said() == "ready"
        for _ in range(30):
            child = start()
            for _ in range(chance.randrange(3)):  # whole snapshots first
                assert said() == "begin"
                began = time.perf_counter()
                assert said() == "end"
                took = time.perf_counter() - began
            word = said()
            time.sleep(chance.uniform(0.0, took))
            os.kill(child, signal.SIGKILL)
            words = [word, *iter(said, "gone")]
            if words[-1] == "begin":
                interrupted += 1
            path = latest_snapshot(prefix)
            if path is not None:
                snapshot = read_snapshot(path)  # refuses one whose files do not belong together
                assert snapshot.run is not None
                assert snapshot.run.data == {"position": 2 * snapshot.iteration}
                reached.append(snapshot.iteration)
            if interrupted == 10:
                break
        assert interrupted == 10
        assert reached == sorted(reached)
        assert reached[-1] < last, "the run was over before its last kill"
        start()
        assert "end" in list(iter(said, "gone"))
        breeder.stdin.close()
    assert breeder.returncode == 0
    alone = golden_trainer("adam_fixed", tmp_path / "alone", max_iter=last)
    alone.solve()
    final = read_weights(read_snapshot(snapshot_path(prefix, last)).weights)
    for layer, blobs in alone.net.params.items():
        for mine, stored in zip(blobs, final[layer], strict=True):
            assert np.array_equal(mine.detach().numpy(), stored)


def test_side_json_nested_beyond_all_depth_is_refused(tmp_path: Path) -> None:
    golden_trainer("sgd_step", tmp_path / "run", max_iter=1, snapshot=1).solve()
    path = tmp_path / "run_iter_1.solverstate"
    path.with_name(path.name + ".json").write_text("[" * 100_000)
    with pytest.raises(TrainingError, match="not the run state"):
        read_snapshot(path)


@pytest.mark.parametrize("folder", ["C:|caffe|snap|", "snap|", "/a/", ""])
def test_the_model_beside_a_state_is_taken_wherever_it_was_written(folder: str, tmp_path: Path) -> None:
    """Snapshots of Caffe on Windows name their model with backslashes."""
    golden_trainer("sgd_step", tmp_path / "run", max_iter=1, snapshot=1).solve()
    path = tmp_path / "run_iter_1.solverstate"
    write_solverstate(
        path, replace(read_solverstate(path), learned_net=folder.replace("|", "\\") + "run_iter_1.caffemodel")
    )
    assert read_snapshot(path).weights == tmp_path / "run_iter_1.caffemodel"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", "nets/my.solver"),
        ('snapshot_prefix: "models"', "models/my.solver"),
        ('snapshot_prefix: "models/"', "models/my.solver"),
        ('snapshot_prefix: "new/"', "new/my.solver"),
        ('snapshot_prefix: "models/run"', "models/run"),
        ('snapshot_prefix: "new"', "new"),
    ],
)
def test_a_prefix_that_is_a_folder_gets_the_solvers_stem(
    field: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: Caffe's UpgradeSnapshotPrefixProperty, worked by hand; of `new/`, which is not there, it stops."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    assert snapshot_prefix(parse_solver(field, source="nets/my.solver.prototxt")) == Path(expected)
