"""Several processes train as one, stop as one, and leave a whole snapshot when one of them dies.

Oracles: the run of one process; the process table.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch import Tensor

from cpm_port.caffe import read_weights
from cpm_port.cli import main, train
from cpm_port.compute import processes
from cpm_port.compute.devices import LostProcessError, World
from cpm_port.errors import TrainingError
from cpm_port.graph import whole_batch
from cpm_port.training import distributed, loop
from cpm_port.training.batches import open_data_layers
from cpm_port.training.run import RunOptions, open_run
from cpm_port.training.snapshot import latest_snapshot, read_snapshot
from tests.support import ROOT
from tests.training.support import CPU, start_node

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
TRAIN = [sys.executable, "-m", "cpm_port", "train", "-solver", "s.prototxt", "--device", "cpu"]

NET = """
layer { name: "data" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { source: "list.txt" batch_size: 8 } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3
  bias_term: false weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "ip" inner_product_param { num_output: 3
  weight_filler { type: "gaussian" std: 0.2 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" loss_param { ignore_label: 9 } }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small net with a BatchNorm, and a loss that leaves out labels; rows differ in size and in what they lack."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    with h5py.File("d.h5", "w") as file:
        file["x"] = generator.standard_normal((24, 2, 6, 6)) * np.arange(1, 25).reshape(24, 1, 1, 1)
        file["y"] = np.where(np.arange(24) % 8 < 3, 9, np.arange(24) % 3)
    Path("list.txt").write_text("d.h5")
    Path("net.prototxt").write_text(NET)
    Path("s.prototxt").write_text('net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" display: 1')
    return tmp_path


AT_EXIT = """
import atexit, os, pathlib

def tell():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    pathlib.Path(__file__).with_name(f"{os.environ.get('RANK', 'launcher')}.threads").write_text(" ".join(names))

atexit.register(tell)
"""


def test_processes_share_the_statistics_of_batches_and_the_count_of_labels(here: Path) -> None:
    """BatchNorm and a loss over counted labels depend on the whole batch: two processes give one's weights.

    Nor does a process end while threads of the group run: they can abort it (the process table is the oracle).
    """
    changes = 'max_iter: 6 snapshot_prefix: "{}"'
    assert main([*TRAIN[3:], "--set", changes.format("one")]) == 0
    Path("sitecustomize.py").write_text(AT_EXIT)
    command = [*TRAIN, "--processes", "2", "--set", changes.format("two")]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), str(here)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done at iteration 6: two_iter_6.solverstate\n"
    for rank in range(2):
        assert "gloo" not in Path(f"{rank}.threads").read_text()
    theirs = read_weights("one_iter_6.caffemodel")
    for layer, blobs in read_weights("two_iter_6.caffemodel").items():
        for a, b in zip(blobs, theirs[layer], strict=True):
            assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), layer
    assert np.abs(theirs["n"][0]).max() > 0.1


@pytest.fixture
def long_run(here: Path) -> Iterator[subprocess.Popen[str]]:
    """Two processes that would train for a very long time, once they have begun."""
    command = [*TRAIN, "--processes", "2", "--set", 'max_iter: 10000000 display: 1 snapshot_prefix: "run"']
    run = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(here / "run.metrics.jsonl", run)
    yield run
    run.kill()
    run.wait()


def wait_for(metrics: Path, run: subprocess.Popen[str]) -> None:
    """Return when a run has told some iterations, or has ended."""
    ends = time.monotonic() + 200
    while not (metrics.exists() and metrics.stat().st_size > 1000) and run.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    """Return the processes that one has started, in that order."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return sorted(found)


def test_ctrl_c_ends_all_processes_with_a_snapshot_and_exit_code_3(long_run: subprocess.Popen[str]) -> None:
    long_run.send_signal(signal.SIGINT)
    out, err = long_run.communicate(timeout=100)
    assert long_run.returncode == 3, err
    assert re.fullmatch(r"stopped at iteration \d+: run_iter_\d+\.solverstate\n", out)
    assert "Traceback" not in err


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_run_with_a_whole_snapshot_of_its_last_iteration(
    rank: int, long_run: subprocess.Popen[str]
) -> None:
    """Whichever it is, the other one writes the snapshot."""
    os.kill(children(long_run.pid)[rank], signal.SIGKILL)
    _, err = long_run.communicate(timeout=100)
    assert long_run.returncode == 2
    assert f"process {rank} of 2 was ended by SIGKILL" in err
    told = re.search(r"iteration (\d+): one of the 2 processes has gone \(.* snapshot of the (\d+) that are done", err)
    assert told is not None, err
    assert told[1] == told[2]
    assert "Traceback" not in err
    assert latest_snapshot("run") == Path(f"run_iter_{told[1]}.solverstate")
    snapshot = read_snapshot(f"run_iter_{told[1]}.solverstate")
    assert snapshot.run is not None
    assert snapshot.run.data == {"batches": snapshot.iteration, "seed": 0, "srand": None}


def test_a_machine_that_dies_ends_the_run_of_the_others_with_a_whole_snapshot(here: Path) -> None:
    """Under torchrun: of two nodes of one process each, the second one goes, its launcher and its process at once."""
    arguments = [*TRAIN[4:], "--set", 'max_iter: 10000000 display: 1 snapshot_prefix: "run"']
    runs = [start_node(node, 2, 1, arguments) for node in range(2)]
    try:
        wait_for(here / "run.metrics.jsonl", runs[0])
        (worker,) = children(runs[1].pid)
        for process in (runs[1].pid, worker):
            os.kill(process, signal.SIGKILL)
        _, err = runs[0].communicate(timeout=200)
    finally:
        for run in runs:
            run.kill()
            run.communicate()
    told = re.search(r"iteration (\d+): one of the 2 processes has gone \(.* snapshot of the (\d+) that are done", err)
    assert told is not None, err
    assert latest_snapshot("run") == Path(f"run_iter_{told[1]}.solverstate")
    assert read_snapshot(f"run_iter_{told[1]}.solverstate").iteration == int(told[1])


def test_what_is_left_when_a_process_goes_is_the_moment_before_the_iteration(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, the BatchNorm's sums included, which the forward pass has moved already.

    The other process is one that finds the same gradients, so that their mean is what one process finds.
    """

    def summed(tensor: Tensor) -> Tensor:
        if trainer.iteration == 4:
            raise LostProcessError("Connection closed by peer")
        return tensor.mul_(2)

    monkeypatch.setattr(whole_batch, "add_up", lambda tensor: tensor.mul_(2))
    monkeypatch.setattr(distributed, "add_up", summed)
    monkeypatch.setattr(loop, "first_to_claim", lambda world, what: True)
    monkeypatch.setattr("cpm_port.training.run.open_data_layers", lambda *args, **given: open_data_layers(
        *args, **{**given, "shard": (0, 1)}))  # fmt: skip
    changes = 'max_iter: 4 lr_policy: "multistep" stepvalue: 4 gamma: 0.5 snapshot_prefix: "{}"'
    with open_run(RunOptions("s.prototxt", changes=changes.format("whole")), CPU) as trainer:
        trainer.solve()
    world = World(0, 2, CPU.device)
    lost = changes.format("lost").replace("max_iter: 4", "max_iter: 9")
    with (
        open_run(RunOptions("s.prototxt", changes=lost), world) as trainer,
        pytest.raises(
            TrainingError,
            match=r"iteration 4: one of the 2 .*\(Connection closed by peer\).* that are done is lost_iter_4",
        ),
    ):
        trainer.solve()
    whole, found = (read_snapshot(f"{name}_iter_4.solverstate") for name in ("whole", "lost"))
    assert found.current_step == whole.current_step
    assert found.run == whole.run
    expected = read_weights(whole.weights)
    for layer, blobs in read_weights(found.weights).items():
        for a, b in zip(blobs, expected[layer], strict=True):
            if layer != "n":  # its variance counts the values of both processes
                np.testing.assert_array_equal(a, b)
    assert read_weights(found.weights)["n"][2] == expected["n"][2]


def test_several_gpus_start_a_process_each_and_multiply_the_batch(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Caffe's -gpu 0,1 does; told, since torchrun and --processes share one batch instead."""
    started: list[tuple[list[str], int, list[int]]] = []
    monkeypatch.setattr(train, "chosen_gpus", lambda text: [int(word) for word in text.split(",")])
    monkeypatch.setattr(
        processes, "run_processes", lambda command, count, gpus, machines: started.append((command, count, gpus)) or 0
    )
    arguments = ["train", "-solver", "s.prototxt", "-gpu", "2,3"]
    assert main(arguments) == 0
    assert started == [([sys.executable, "-m", "cpm_port", *arguments], 2, [2, 3])]
    assert "GPUs 2,3: batches are 2 times batch_size, as in Caffe (--processes 2 shares one)" in capsys.readouterr().err
    parser = ArgumentParser()
    train.configure(parser)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train._processes(parser.parse_args(arguments[1:])) == 2
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1")
    assert processes._visible([2, 3]) == "3,1"
    assert main([*arguments, "--processes", "2"]) == 2
    assert "--gpu and --processes: one of them expected" in capsys.readouterr().err


def test_processes_of_two_machines_find_each_other_and_each_machine_has_its_exit_code() -> None:
    """Two calls as on two machines, of two processes and of the same command; the largest code of each one's own."""
    code = (
        "import os, sys, torch; from cpm_port.compute.devices import add_up, joined_world\n"
        "with joined_world('cpu') as world: found = add_up(torch.tensor([10.0 ** world.rank])).item()\n"
        "sys.exit((0, 0, 0, 3)[world.rank] if (world.size, found) == (4, 1111.0) else 2)"
    )
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = (
        "import sys; from cpm_port.compute.processes import *\n"
        f"sys.exit(run_processes([sys.executable, '-c', {code!r}], 2, "
        f"machines=Machines(2, int(sys.argv[1]), '127.0.0.1', {port})))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", start, str(number)], env=ENVIRONMENT) for number in range(2)]
    assert [run.wait(200) for run in runs] == [0, 3]


@pytest.mark.parametrize("text", ["2/2@h:29500", "0/2@h", "0/2@h:0", "a/b@h:1"])
def test_machines_that_cannot_be_are_refused(text: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*TRAIN[3:], "--machines", text])
    assert "expected K/N@HOST:PORT with K from 0 below N" in capsys.readouterr().err


def test_the_last_process_that_hangs_is_ended_after_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    """One process fails, the other never ends by itself."""
    code = "import os, sys, time; time.sleep(0 if os.environ['RANK'] == '1' else 1000); sys.exit(2)"
    began = time.monotonic()
    assert processes.run_processes([sys.executable, "-c", code], 2, grace=0.5) == 2
    assert time.monotonic() - began < 100
    assert "process 0 of 2 was ended by SIGKILL" in capfd.readouterr().err
