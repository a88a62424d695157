"""A run's log in Caffe's format is read by the scripts that read Caffe's logs.

Oracle: a reader by the rules of Caffe's `parse_log.py` and `parse_log.sh` (the line that starts the clock, the words'
places), written here; the numbers themselves are real Caffe's, as it logged them (`tests/golden`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpm_port.caffe import parse_net
from cpm_port.training import caffe_log
from cpm_port.training.progress import read_metrics
from cpm_port.training.run import RunOptions, open_run
from tests.training.support import CPU, SOLVERS

HEAD = re.compile(r"^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ")
OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = ([.\deE+-]+)")


def parsed(log: str) -> tuple[list[dict[str, float]], list[dict[str, float]], datetime]:
    """Return the train rows, the test rows and when the run started, as parse_log.py finds them."""
    start: datetime | None = None
    iteration = rate = -1.0
    rows: dict[str, list[dict[str, float]]] = {"Train": [], "Test": []}
    for line in log.splitlines():
        date, time = line.split()[:2]
        moment = datetime.strptime(f"2000{date[1:]} {time}", "%Y%m%d %H:%M:%S.%f")
        if "Solving" in line and start is None:
            start = moment
        if found := re.search(r"Iteration (\d+)", line):
            iteration = float(found[1])
        if found := re.search(r"lr = (\S+)", line):
            rate = float(found[1])
        if found := OUTPUT.search(line):
            kind = rows[found[1]]
            if not kind or kind[-1]["NumIters"] != iteration:
                kind.append({"NumIters": iteration, "LearningRate": rate})
            kind[-1][found[3]] = float(found[4])
    assert start is not None
    return rows["Train"], rows["Test"], start


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight iterations of one of Caffe's own runs, tested every four."""
    monkeypatch.chdir(tmp_path)
    console = io.StringIO()
    changes = "test_iter: 5 test_interval: 4 test_compute_loss: true max_iter: 8 snapshot: 5 debug_info: true"
    options = RunOptions(
        SOLVERS / "sgd_step.solver.prototxt",
        weights=[SOLVERS / "init.caffemodel"],
        changes=changes,
        log_format="caffe",
    )
    with open_run(options, CPU, console=console) as trainer:
        trainer.solve()
    return console.getvalue()


def test_every_line_has_glogs_head(log: str) -> None:
    lines = log.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not HEAD.match(line)] == []
    assert lines[-1].endswith("] Optimization Done.")


def test_parse_log_finds_the_losses_rates_and_tests_that_caffe_logged(
    log: str, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    expected = golden("caffe/solver/sgd_step.npz")
    train, tests, _ = parsed(log)
    assert [row["NumIters"] for row in train] == list(range(8))
    assert [row["loss"] for row in train] == pytest.approx(expected["loss_logged"][:8].tolist(), rel=5.5e-6)
    rates = [float(found) for found in re.findall(r"Iteration \d+, lr = (\S+)", log)]
    assert rates == pytest.approx(expected["lr_logged"][:8].tolist(), rel=5.5e-6)
    assert [row["NumIters"] for row in tests] == [0, 4, 8]
    records = [record["loss"] for record in read_metrics("sgd_step.metrics.jsonl") if record["kind"] == "test"]
    assert [row["loss"] for row in tests] == pytest.approx(records, rel=5e-6)
    assert [float(found) for found in re.findall(r"\] Test loss: (\S+)", log)] == pytest.approx(records, rel=5e-6)


def test_the_shell_script_finds_its_words_in_their_places(log: str) -> None:
    """It takes the ninth word of lines with `, loss =` and `, lr =`, the eleventh of `Test net output`.

    It counts every line that says "Iteration " and neither loss nor lr as a test.
    """
    lines = log.splitlines()
    losses = [line.split()[8] for line in lines if ", loss = " in line]
    rates = [line.split()[8] for line in lines if ", lr = " in line]
    tests = [line.split()[10] for line in lines if "Test net output #0" in line]
    assert [len(list(map(float, column))) for column in (losses, rates, tests)] == [8, 8, 3]
    others = [line for line in lines if "Iteration " in line and not re.search("Iteration .* (loss|lr) =", line)]
    assert len(others) == 3
    assert all("Testing net (#0)" in line for line in others)
    assert sum("] Solving " in line for line in lines) == 1


def test_lines_are_caffes_words() -> None:
    outputs = {"accuracy": [0.5, 0.25], "loss": 2.0}
    assert caffe_log.train_lines(7, 1.23456789, outputs, {"loss": 0.5}, 0.001) == [
        "Iteration 7, loss = 1.23457",
        "    Train net output #0: accuracy = 0.5",
        "    Train net output #1: accuracy = 0.25",
        "    Train net output #2: loss = 2 (* 0.5 = 1 loss)",
        "Iteration 7, lr = 0.001",
    ]
    assert caffe_log.test_lines(500, 1, {"accuracy": 0.98}, {}) == [
        "Iteration 500, Testing net (#1)",
        "    Test net output #0: accuracy = 0.98",
    ]
    assert caffe_log.snapshot_lines("a.solverstate/b_iter_5.solverstate.h5") == [
        "Snapshotting to HDF5 file a.solverstate/b_iter_5.caffemodel.h5",
        "Snapshotting solver state to HDF5 file a.solverstate/b_iter_5.solverstate.h5",
    ]


MEASURED = """
layer { name: "in" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" loss_weight: 0.25 }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "y" top: "accuracy" top: "each" }
"""


def test_a_train_nets_other_outputs_are_logged_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Accuracy in phase TRAIN, per class too: Caffe logs it beside the loss. The loss is told before its weight."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(MEASURED)
    Path("solver.prototxt").write_text('net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 2 display: 1')
    console = io.StringIO()
    with open_run(RunOptions("solver.prototxt", log_format="caffe"), CPU, console=console) as trainer:
        trainer.solve()
        weights = dict(trainer.net.params)
    rows = parsed(console.getvalue())[0]
    records: list[dict[str, Any]] = [r for r in read_metrics("solver.metrics.jsonl") if r["kind"] == "train"]
    assert len(rows) == len(records) == 2
    for row, record in zip(rows, records, strict=True):
        assert row["accuracy"] == pytest.approx(record["outputs"]["accuracy"], rel=1e-5)
        assert len(record["outputs"]["each"]) == 2
        assert 0.25 * row["loss"] == pytest.approx(record["losses"]["loss"], rel=1e-5)
        assert 0 <= row["accuracy"] <= 1
    assert weights["ip"][0].shape == (2, 3)
    assert parse_net(MEASURED).outputs == ("accuracy", "each", "loss")
