"""Caffe's own verbs and flags do what they do there. Oracle: real Caffe's numbers (`tests/golden/caffe/solver`)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import read_weights
from cpm_port.cli import main
from cpm_port.training import loop
from tests.training.support import SOLVERS

SOLVER, INIT = str(SOLVERS / "sgd_step.solver.prototxt"), str(SOLVERS / "init.caffemodel")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder: snapshots go there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "flags",
    [
        ["-solver", SOLVER, "-weights", INIT],
        [f"-solver={SOLVER}", f"-weights={INIT}", "-sigint_effect=none", "-sighup_effect", "stop", "-iterations", "9"],
        [f"--solver={SOLVER}", "--weights", INIT, "--sigint_effect", "snapshot", "--level=0", "--stage=a,b"],
    ],
)
def test_caffes_command_line_trains_to_caffes_weights(
    flags: list[str], here: Path, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    assert main(["train", *flags, "--device", "cpu"]) == 0
    expected = golden("caffe/solver/sgd_step.npz")
    for layer, blobs in read_weights(here / "sgd_step_iter_20.caffemodel").items():
        for index, blob in enumerate(blobs):
            reference = expected[f"w/{layer}/{index}"][20]
            assert np.abs(blob - reference).max() <= 1e-6 * np.abs(reference).max()


def test_a_single_dash_resumes_from_a_snapshot(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = str(SOLVERS / "sgd_step_iter_10.solverstate")
    assert (
        main(["train", "-solver", SOLVER, "-snapshot", state, "--device", "cpu", "--set", "max_iter: 12 snapshot: 12"])
        == 0
    )
    assert capsys.readouterr().out == "done at iteration 12: sgd_step_iter_12.solverstate\n"


@pytest.mark.parametrize(("effect", "code", "snapshots"), [("stop", 3, [4]), ("snapshot", 0, [4, 6]), ("none", 0, [6])])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_has_the_effect_that_its_flag_says(
    number: signal.Signals, effect: str, code: int, snapshots: list[int], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = loop.Trainer.step

    def step(trainer: loop.Trainer, *args: object) -> None:
        if trainer.iteration == 3:
            os.kill(os.getpid(), number)
        inner(trainer, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.Trainer, "step", step)
    flag = {signal.SIGINT: "-sigint_effect", signal.SIGHUP: "-sighup_effect"}[number]
    changes = "max_iter: 6 snapshot: 6"
    assert main(["train", "-solver", SOLVER, flag, effect, "--device", "cpu", "--set", changes]) == code
    assert sorted(here.glob("*.solverstate")) == [here / f"sgd_step_iter_{n}.solverstate" for n in snapshots]


def test_iterations_mean_nothing_to_training_as_in_caffe_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-solver", SOLVER, "-iterations", "3", "--device", "cpu", "--set", "max_iter: 1"]) == 0
    assert "--iterations has no effect on training, as in Caffe; --set 'max_iter: 3'" in capsys.readouterr().err


def test_a_gpu_that_is_not_here_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = str(SOLVERS / "train.prototxt")
    verbs = (["train", "-solver", SOLVER], ["test", "-model", net, "-weights", INIT], ["time", "-model", net])
    for gpu, told in (("0,97", "GPUs are here; without --gpu the CPU computes"), ("x", "expected numbers with commas")):
        for verb in verbs:
            assert main([*verb, "-gpu", gpu]) == 2
            assert told in capsys.readouterr().err


STATES = """
layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 } data_filler { value: 3 } } }
layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } include { stage: "wide" stage: "deep" } }
layer { name: "b" type: "Power" bottom: "x" top: "b" power_param { scale: 4 } include { min_level: 2 } }
layer { name: "c" type: "Power" bottom: "x" top: "c" include { phase: TRAIN } }
"""


@pytest.mark.parametrize(("flags", "layers"), [([], ""), (["-stage", "wide,deep"], "a"), (["-level", "2"], "b")])
def test_the_state_flags_choose_the_layers_that_are_scored_and_timed(
    flags: list[str], layers: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.prototxt").write_text(STATES)
    assert main(["test", "-model", "net.prototxt", "-weights", INIT, "-iterations", "1", *flags]) == 0
    found = set(re.findall(r"^(\w+) = ", capsys.readouterr().out, flags=re.MULTILINE))
    assert found == (set(layers) or {"x"})
    assert main(["time", "-model", "net.prototxt", "-iterations", "1", *flags]) == 0
    timed = re.findall(r"(\w+)\tforward", capsys.readouterr().out)
    assert timed == sorted([*layers, "c", "d"], key="dabc".index)


def test_the_stage_flag_chooses_layers_of_the_train_net_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: the layer of stage `wide` has two outputs; a test net does not take that stage."""
    data = 'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }'
    layers = [
        f'layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{ num_output: {outputs} }} '
        f'{rule} {{ phase: TRAIN stage: "wide" }} }}'
        for outputs, rule in ((2, "include"), (1, "exclude"))
    ]
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" include { phase: TRAIN } }'
    Path("net.prototxt").write_text("\n".join([data, *layers, loss]))
    Path("s.prototxt").write_text('net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1')
    for stage, outputs in (("wide,other", 2), ("", 1)):
        assert main(["train", "-solver", "s.prototxt", "-stage", stage, "--device", "cpu"]) == 0
        assert read_weights("s_iter_1.caffemodel")["a"][0].shape == (outputs, 3)


@pytest.mark.parametrize("head", ["", "caffe"])
def test_test_scores_a_model_as_caffe_does(
    head: str, here: Path, golden: Callable[[str], dict[str, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the initial weights the first batch's loss is that of Caffe's first iteration; later ones cycle by fives."""
    net = str(SOLVERS / "train.prototxt")
    form = ["--log-format", "caffe"] if head else []
    assert main(["test", "-model", net, "-weights", INIT, "-iterations", "10", *form]) == 0
    lines = capsys.readouterr().out.splitlines()
    if head:
        assert all(re.match(r"I\d{4} [\d:.]{15} +\d+ \S+\] ", line) for line in lines)
        lines = [line.split("] ", 1)[1] for line in lines]
    losses = [float(line.rpartition(" = ")[2]) for line in lines if line.startswith("Batch ")]
    assert losses[0] == pytest.approx(golden("caffe/solver/sgd_step.npz")["loss_last_subiter"][0], rel=5.5e-6)
    assert losses[5:] == losses[:5]
    assert lines[0] == "Running for 10 iterations."
    assert lines[-2].startswith("Loss: ")
    assert float(lines[-2].split()[1]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert re.fullmatch(r"loss = (\S+) \(\* 1 = \1 loss\)", lines[-1])


def test_time_tells_what_every_layer_takes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["time", "-model", str(SOLVERS / "train.prototxt"), "-iterations", "2", "-phase", "TRAIN"]) == 0
    text = capsys.readouterr().out
    names = ["data", "conv1", "relu1", "pool1", "conv2", "loss"]
    for way in ("forward", "backward"):
        told = re.findall(rf"^ *(\w+)\t{way}: (\S+) ms\.$", text, flags=re.MULTILINE)
        assert [name for name, _ in told] == names
        whole = re.search(rf"Average {way.capitalize()} pass: (\S+) ms", text)
        assert whole is not None
        assert sum(float(taken) for _, taken in told) == pytest.approx(float(whole[1]), rel=1e-4)
        assert sum(float(taken) > 0 for _, taken in told) >= len(names) - 1
    assert "*** Benchmark ends ***" in text
    assert main(["time", "-model", str(SOLVERS / "train.prototxt"), "-iterations", "0"]) == 2
    assert "--iterations 0: expected 1 or more" in capsys.readouterr().err
