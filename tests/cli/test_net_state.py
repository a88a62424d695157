"""`--phase`, `--level` and `--stage` choose a prototxt's layers alike in every verb that reads one.

Oracle: worked by hand, on a net written as DIGITS writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port import load_net
from cpm_port.caffe import NetState, parse_solver, read_weights
from cpm_port.cli import main
from cpm_port.inference.model import ready_net
from cpm_port.models import architecture
from cpm_port.models.prototxt import deploy_text
from cpm_port.training import solver_nets
from cpm_port.zoo import resolve

DIGITS = """
layer { name: "val" type: "DummyData" top: "data" top: "label" include { stage: "val" }
  dummy_data_param { shape { dim: 4 dim: 3 } data_filler { value: 2 } } }
layer { name: "in" type: "Input" top: "data" include { stage: "deploy" } input_param { shape { dim: 1 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" exclude { stage: "deploy" } }
layer { name: "twice" type: "Power" bottom: "ip" top: "twice" power_param { scale: 2 } include { min_level: 3 } }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the net, its weights and an input."""
    monkeypatch.chdir(tmp_path)
    Path("n.prototxt").write_text(DIGITS)
    net = load_net("n.prototxt", stages=["deploy"])
    net.save("m.caffemodel")
    data = np.ones((1, 3), np.float32)
    np.savez("in.npz", data=data)
    np.savez("all.npz", data=data, ip=net(data)["ip"].detach())
    return tmp_path


WEIGHED = ["--net", "n.prototxt", "--weights", "m.caffemodel"]
READERS = {
    "inspect": ["inspect", "n.prototxt"],
    "forward": [
        "forward",
        "--net",
        "n.prototxt",
        "--weights",
        "m.caffemodel",
        "--input",
        "in.npz",
        "--output",
        "o.npz",
    ],
    "compare": ["compare", *WEIGHED, "--reference", "all.npz"],
    "convert": ["convert", "m.caffemodel", "o.h5", "--net", "n.prototxt"],
    "batches": ["batches", "--net", "n.prototxt", "--out", "o.npz"],
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("verb", READERS)
def test_every_verb_that_reads_a_net_takes_stages(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = "val" if verb == "batches" else "deploy"
    assert main([*READERS[verb], "--stage", stage]) == 0
    capsys.readouterr()
    assert main(READERS[verb]) == 2
    told = capsys.readouterr().err
    assert "unknown bottom blob 'data'" in told
    assert "is left out in phase" in told


@pytest.mark.usefixtures("folder")
def test_levels_and_several_stages_reach_the_net(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*READERS["forward"], "--stage", "deploy,small", "--stage", "night", "--level", "3"]) == 0
    assert "twice: 1x2" in capsys.readouterr().out


SOLVER = """net: "t.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "run"
test_initialization: false"""
TRAINED = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { value: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "a" type: "InnerProduct" bottom: "ip" top: "a" inner_product_param { num_output: 2 }
  include { stage: "a" } }
layer { name: "b" type: "InnerProduct" bottom: "ip" top: "b" inner_product_param { num_output: 2 }
  include { stage: "b" } }
layer { name: "deep" type: "InnerProduct" bottom: "ip" top: "deep" inner_product_param { num_output: 2 }
  include { min_level: 2 } }
"""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("own", "options", "layers"),
    [
        ("", [], ["ip"]),
        ("", ["--stage", "a"], ["ip", "a"]),
        ('train_state { stage: "b" }', ["--stage", "a"], ["ip", "a", "b"]),
        ('train_state { stage: "b" level: 2 }', [], ["ip", "b", "deep"]),
        ('train_state { stage: "b" level: 1 }', ["--level", "2"], ["ip", "b", "deep"]),
    ],
)
def test_train_adds_stages_to_the_solvers_own(own: str, options: list[str], layers: list[str]) -> None:
    Path("t.prototxt").write_text(TRAINED)
    Path("s.prototxt").write_text(f"{SOLVER} {own}")
    assert main(["train", "--solver", "s.prototxt", *options]) == 0
    assert list(read_weights("run_iter_1.caffemodel")) == layers


@pytest.mark.usefixtures("folder")
def test_the_train_nets_stages_do_not_reach_the_test_nets() -> None:
    """As in Caffe: solver.cpp, InitTestNets, merges a net's `test_state` alone."""
    Path("t.prototxt").write_text(TRAINED)
    solver = parse_solver(SOLVER + ' train_state { stage: "a" } test_iter: 1 test_interval: 1')
    ((spec, batches),) = solver_nets.testing_nets(solver)
    assert (batches, "a" in {layer.name for layer in spec.layers}) == (1, False)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("verb", READERS)
def test_a_net_without_a_layer_in_its_phase_is_an_error(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    phase = "TEST" if verb == "batches" else "TRAIN"
    Path("n.prototxt").write_text(
        f'layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" exclude {{ phase: {phase} }} }}'
    )
    assert main([*READERS[verb], "--phase", phase]) == 2
    assert (
        f"no layer is left in phase {phase}, level 0, stages none; the file has 1 for others" in capsys.readouterr().err
    )


def test_a_model_for_prediction_takes_stages(tmp_path: Path) -> None:
    text = deploy_text(architecture("flic", stages=1, width=4, box=(64, 64)))
    (tmp_path / "plain.prototxt").write_text(text)
    staged = text.replace("layer {\n", 'layer {\n  include { stage: "deploy" }\n')
    assert staged != text
    (tmp_path / "staged.prototxt").write_text(staged)
    load_net(tmp_path / "plain.prototxt").save(tmp_path / "m.caffemodel")
    chosen = resolve(None, tmp_path / "staged.prototxt", tmp_path / "m.caffemodel", NetState(stages=("deploy",)))
    plain = resolve(None, tmp_path / "plain.prototxt", tmp_path / "m.caffemodel")
    assert ready_net(chosen).interface == ready_net(plain).interface


@pytest.mark.parametrize("verb", [["forward", "--input", "x", "--output", "y"], ["predict", "x.jpg"]])
def test_a_model_of_the_zoo_has_no_such_rules(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").write_bytes(b"")
    assert main([*verb, "--stage", "deploy"]) == 2
    assert "choose layers of your own --net" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_convert_asks_for_the_net_whose_layers_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "m.caffemodel", "o.h5", "--stage", "deploy"]) == 2
    assert "give it by --net" in capsys.readouterr().err
