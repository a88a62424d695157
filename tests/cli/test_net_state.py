"""`--phase`, `--level` and `--stage` choose a prototxt's layers alike in every verb that reads one.

Oracle: worked by hand, on a net written as DIGITS writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port import load_net
from cpm_port.caffe import NetState
from cpm_port.cli import main
from cpm_port.inference.model import ready_net
from cpm_port.models import architecture
from cpm_port.models.prototxt import deploy_text
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
