"""Claim: `cpm-port finetune` makes a model of anybody's data: the loss falls, and people held out are found better.

Oracle: the same measurement before the first iteration. The runs are short; the docs have a long one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpm_port.caffe import read_net, read_weights, write_weights
from cpm_port.cli import main
from cpm_port.errors import DataError, MissingFileError, TrainingError, UsageError
from cpm_port.files.digest import file_sha256
from cpm_port.models import architecture, deploy_text
from cpm_port.training.loop import Trainer
from cpm_port.training.progress import read_metrics
from cpm_port.training.recipe import Recipe, finetune
from cpm_port.zoo import OwnModel, add, read_own_model, resolve, write_own_model
from tests.annotations import labelled_files
from tests.support import ROOT
from tests.training.own_data import FIVE, TWENTY_ONE, write_own_data
from tests.zoo.own_model import ORDER, write_own
from tests.zoo.support import random_blobs, small_zoo, use_zoo, write_model

LEARNING = Recipe(iterations=24, batch_size=4, validate_interval=12, box=64, rotate=5, rate=1e-3)
TINY = Recipe(iterations=6, batch_size=2, validate_interval=2, box=64, rotate=5)
QUICK = ["--iterations", "4", "--batch-size", "2", "--validate-interval", "2", "--device", "cpu", "--no-onnx"]
DATA = {
    "five parts": (FIVE, range(12), range(12, 20)),
    "21 parts": (TWENTY_ONE, range(12), range(12, 20)),
    "one person eight times": (FIVE, [0] * 8, range(12, 20)),
    "forty people": (FIVE, range(40), ()),
}


@pytest.mark.parametrize("kind", DATA)
def test_the_recipe_learns(kind: str, tmp_path: Path) -> None:
    parts, trained, held_out = DATA[kind]
    data = write_own_data(tmp_path / "own", parts, list(trained), list(held_out))
    found = finetune(data, tmp_path / "out", recipe=LEARNING, device="cpu")
    first, last = found.record["loss"]
    assert last < 0.8 * first
    measured = found.record["validation"]
    assert measured["people"] == 8
    assert measured["percent"] > measured["before"] + 5


def test_the_help_gives_the_recipes_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    numbers = {field.name: field.default for field in fields(Recipe) if field.name not in ("box", "flip")}
    for name, default in numbers.items():
        found = re.search(rf"--{name.replace('_', '-')} N [^(]*\(default ([^)]*)\)", told)
        assert found, name
        assert float(found[1]) == default, name


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_own_data(tmp_path / "own", FIVE, range(6))


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A model to start from: two stages of four channels, three parts."""
    write_own(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_the_folder_is_a_model_that_predicts_and_says_what_was_done(
    data: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["finetune", "--data", str(data), "--from", tiny, "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr()
    command = said.out.splitlines()[-1].partition(": ")[2].split()
    assert command == ["cpm-port", "predict", "PHOTO.jpg", "--model", str(out)]
    assert "every 5-th of 6 images" in said.err
    assert "the number to quote is another measure, that of `cpm-port evaluate`" in said.out
    model = read_own_model(out)
    assert (model.order.parts, model.box) == (FIVE, 64)
    record = model.history[-1]
    assert record["data"] == {
        "file": "own.json", "sha256": file_sha256(data), "people": 5, "images": 5,
        "held_out": "every 5-th of 6 images",
    }  # fmt: skip
    assert record["from"]["weights_sha256"] == file_sha256(Path(tiny) / "weights.caffemodel")
    assert (record["recipe"]["batch_size"], record["recipe"]["failed"]) == (2, [])
    assert list(record["validation"]["parts"]) == list(FIVE)
    assert {path.name for path in out.iterdir()} == {
        "model.json", "deploy.prototxt", "weights.caffemodel", "labels.png", "found.png", "curves.svg", "run",
    }  # fmt: skip
    assert "moved" in (out / "run" / "start.txt").read_text()
    photo = data.parent / "images" / "0.png"
    assert main([*command[1:2], str(photo), *command[3:], "--out", str(tmp_path / "found")]) == 0
    found = json.loads((tmp_path / "found" / "0.json").read_text())
    assert [joint["name"] for joint in found["joints"]] == list(FIVE)


def test_the_model_is_written_as_onnx_with_its_parts(data: Path, tiny: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert main(["finetune", "--data", str(data), "--from", tiny, "--out", str(tmp_path / "out"), *QUICK[:-1]]) == 0
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert told["parts"] == ", ".join((*FIVE, "background"))


def test_the_best_weights_are_kept_and_the_run_ends_where_nothing_gets_better(
    data: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([10.0, 30.0, 20.0, 25.0, 29.0])

    def measured(net: Any, held_out: Any) -> tuple[dict[str, Any], str]:
        score = next(scores)
        values = {"pck": score, "stages": {"a": score}, "parts": [score] * 5, "length": "the torso"}
        return {**values, "weight": float(net.params["conv7_stage1"][0].sum())}, ""

    monkeypatch.setattr("cpm_port.training.run.stage_pck", measured)
    recipe = replace(TINY, iterations=20, patience=3)
    record = finetune(data, tmp_path / "out", tiny, recipe, device="cpu").record
    assert (record["best_iteration"], record["validation"]["percent"], record["iterations"]) == (2, 30.0, 8)
    lines = read_metrics(tmp_path / "out" / "run" / "1" / "train.metrics.jsonl")
    (best,) = (line["weight"] for line in lines if line["kind"] == "validation" and line["pck"] == 30.0)
    kept = read_weights(tmp_path / "out" / "weights.caffemodel")["conv7_stage1"][0]
    assert float(kept.sum()) == pytest.approx(best, rel=1e-4)


def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(
    data: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finetune(data, whole, tiny, TINY, device="cpu")
    step = Trainer.step

    def interrupted(self: Trainer, wishes: Any = None) -> None:
        if self.iteration == 3:
            raise KeyboardInterrupt
        step(self, wishes)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune(data, broken, tiny, TINY, device="cpu")
    assert not (broken / "model.json").exists()
    monkeypatch.undo()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(broken, elsewhere)
    shutil.copytree(data.parent, tmp_path / "copy")
    record = finetune(tmp_path / "copy" / "own.json", elsewhere, tiny, TINY, device="cpu").record
    assert (elsewhere / "weights.caffemodel").read_bytes() == (whole / "weights.caffemodel").read_bytes()
    for name in ("loss", "validation", "iterations", "best_iteration"):
        assert record[name] == read_own_model(whole).history[-1][name]


def test_a_signal_stops_the_run_and_the_same_command_goes_on(
    data: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Trainer.step

    def signalled(self: Trainer, wishes: Any = None) -> None:
        if self.iteration == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, wishes)

    command = ["finetune", "--data", str(data), "--from", tiny, "--out", str(tmp_path / "out"), *QUICK]
    monkeypatch.setattr(Trainer, "step", signalled)
    assert main(command) == 3
    assert "the same command goes on" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(command) == 0
    assert "Resuming from" in capsys.readouterr().err


def test_a_rate_that_breaks_the_run_is_quartered(data: Path, tiny: str, tmp_path: Path) -> None:
    recipe = replace(TINY, rate=2.0)
    record = finetune(data, tmp_path / "out", tiny, recipe, device="cpu").record
    print(record["recipe"], record["loss"])
    assert record["recipe"]["rate"] == 2.0 / 4 ** len(record["recipe"]["failed"])
    assert record["recipe"]["failed"]
    assert record["loss"][1] < record["loss"][0]


def test_where_no_rate_works_all_are_said(
    data: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Trainer, wishes: Any = None) -> None:
        raise TrainingError("loss is nan")

    monkeypatch.setattr(Trainer, "step", broken)
    with pytest.raises(TrainingError, match=r"(?s)no rate worked:.*rate 0.0005: loss is nan.*rate 7.8125e-06: loss"):
        finetune(data, tmp_path / "out", tiny, TINY, device="cpu")


def test_more_data_later_adds_to_the_history_and_parts_move_by_name(data: Path, tiny: str, tmp_path: Path) -> None:
    finetune(data, tmp_path / "first", tiny, TINY, device="cpu")
    more = write_own_data(tmp_path / "more", (*FIVE[::-1], "neck"), range(6, 12))
    finetune(more, tmp_path / "second", str(tmp_path / "first"), TINY, device="cpu")
    model = read_own_model(tmp_path / "second")
    assert [record["data"]["people"] for record in model.history[-2:]] == [5, 5]
    assert model.order.parts == (*FIVE[::-1], "neck")
    assert "1 of 7 outputs are new (neck)" in (tmp_path / "second" / "run" / "start.txt").read_text()


def test_a_finished_folder_another_run_and_a_strangers_folder_are_left_alone(
    data: Path, tiny: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finetune(data, out, tiny, TINY, device="cpu")
    with pytest.raises(UsageError, match="a finished model; to train it further: --from"):
        finetune(data, out, tiny, TINY, device="cpu")
    (out / "model.json").unlink()
    with pytest.raises(UsageError, match="an unfinished run of another kind: batch_size was 2, is 3"):
        finetune(data, out, tiny, replace(TINY, batch_size=3), device="cpu")
    with pytest.raises(UsageError, match="not empty, and no run of"):
        finetune(data, data.parent, tiny, TINY, device="cpu")


def relabelled(data: Path, kept: dict[str, set[str]]) -> Path:
    """Write the annotations with other parts' labels removed: by "train" and "held", the parts that stay."""
    content = json.loads(data.read_text())
    for record in content["root"]:
        stay = kept["held" if record["isValidation"] else "train"]
        joints = zip(content["parts"], record["joint_self"], strict=True)
        record["joint_self"] = [joint if part in stay else [0, 0, 0] for part, joint in joints]
    other = data.with_name("other.json")
    other.write_text(json.dumps(content))
    return other


def test_a_part_that_is_labelled_on_nobody_held_out_has_no_score(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = write_own_data(tmp_path / "own", FIVE, range(4), range(4, 6))
    data = relabelled(marked, {"train": set(FIVE), "held": set(FIVE[1:])})
    assert main(["finetune", "--data", str(data), "--from", tiny, "--out", str(tmp_path / "out"), *QUICK]) == 0
    assert f"{FIVE[0]} not labelled, {FIVE[1]} " in capsys.readouterr().out
    parts = read_own_model(tmp_path / "out").history[-1]["validation"]["parts"]
    assert [part for part, score in parts.items() if score is None] == [FIVE[0]]


def test_people_held_out_without_labels_are_no_measure_and_that_is_said(tiny: str, tmp_path: Path) -> None:
    marked = write_own_data(tmp_path / "own", FIVE, range(4), range(4, 6))
    data = relabelled(marked, {"train": set(FIVE), "held": set(FIVE[:1])})
    said = "none of 2 people held out has the labels .* half the labels' box; expected two parts or more"
    with pytest.raises(DataError, match=said):
        finetune(data, tmp_path / "out", tiny, TINY, device="cpu")
    with pytest.raises(UsageError, match=r"of another kind: --data was .* delete the folder or name another --out"):
        finetune(marked, tmp_path / "out", tiny, TINY, device="cpu")


def test_one_part_alone_is_measured_by_the_persons_size(tiny: str, tmp_path: Path) -> None:
    data = write_own_data(tmp_path / "own", FIVE[:1], range(4), range(4, 6))
    measured = finetune(data, tmp_path / "out", tiny, TINY, device="cpu").record["validation"]
    assert (measured["protocol"], measured["people"]) == ("PCK by half the person's size", 2)


def test_a_run_in_which_nothing_got_better_is_said(
    data: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = {"pck": 50.0, "stages": {"last": 50.0}, "parts": [50.0] * 5, "length": "the torso", "people": 1}
    monkeypatch.setattr("cpm_port.training.run.stage_pck", lambda *_: (same, ""))
    assert main(["finetune", "--data", str(data), "--from", tiny, "--out", str(tmp_path / "out"), *QUICK]) == 0
    assert "no measurement was better than the first, so the weights are those" in capsys.readouterr().out


def test_several_processes_are_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="finetune runs in one process"):
        finetune(data, tmp_path / "out")


def test_one_image_alone_is_measured_on_itself_and_said(data: Path, tiny: str, tmp_path: Path) -> None:
    alone = write_own_data(tmp_path / "alone", FIVE, [0])
    record = finetune(alone, tmp_path / "out", tiny, TINY, device="cpu").record
    assert record["data"]["held_out"] == "none: there is one image, so the people trained on are measured"


def test_the_pages_commands_lead_from_a_table_to_a_named_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CPM_PORT_MODELS", str(tmp_path / "models"))
    page = (ROOT / "docs" / "how-to" / "finetune.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    exec(compile(table, "finetune.md", "exec"), {})
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
             for line in block.splitlines()]  # fmt: skip
    assert [line.split()[1] for line in lines] == ["records", "finetune", "predict", "evaluate", "models", "predict"]
    for line in lines:
        words = line.split()[1:]
        words += (
            [*QUICK, "--box", "64"] if words[0] == "finetune" else ["--limit", "2"] if words[0] == "evaluate" else []
        )
        assert main(words) == 0, capsys.readouterr().err
    assert resolve("walkers").part_order.parts == FIVE


@pytest.mark.parametrize("kind", labelled_files.FILES)
def test_labels_of_every_tool_can_be_learned(kind: str, tiny: str, tmp_path: Path) -> None:
    tool, labels, images = labelled_files.write(tmp_path / "labels", kind)
    own = tmp_path / "own.json"
    assert main(["records", "json", str(own), "--from", tool, str(labels), "--images", str(images)]) == 0
    recipe = replace(TINY, iterations=2, batch_size=1)
    record = finetune(own, tmp_path / "out", tiny, recipe, device="cpu").record
    assert (record["iterations"], record["data"]["people"]) == (2, 2)


def test_an_official_model_can_be_started_from(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: None)
    entries = small_zoo(tmp_path)
    use_zoo(monkeypatch, entries, tmp_path / "models")
    add(write_model(tmp_path / "pose_iter_985000_addLEEDS.caffemodel", entries["mpii-lsp-6s"].net), "mpii-lsp-6s")
    record = finetune(data, tmp_path / "out", "mpii-lsp-6s", replace(TINY, iterations=2), device="cpu").record
    assert record["from"]["model"] == "mpii-lsp-6s"
    assert "layers moved whole" in (tmp_path / "out" / "run" / "start.txt").read_text()


@pytest.mark.parametrize("design", ["flic", "mpi-vgg", "residual"])
def test_any_design_can_be_started_from(design: str, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / design
    folder.mkdir()
    net = folder / "deploy.prototxt"
    net.write_text(deploy_text(architecture(design, stages=2, width=4, parts=3, box=(64, 64))))
    write_model(folder / "weights.caffemodel", net)
    write_own_model(OwnModel(folder, ORDER, 64, 3.5, design))
    record = finetune(data, tmp_path / "out", str(folder), replace(TINY, iterations=2), device="cpu").record
    assert record["iterations"] == 2


def test_a_net_with_batch_norm_is_folded_first(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "normed"
    folder.mkdir()
    text = deploy_text(architecture("mpi", stages=2, width=4, parts=3, box=(64, 64)))
    relu = 'layer {\n  name: "relu1_stage1"'
    norm = 'layer { name: "n" type: "BatchNorm" bottom: "conv1_stage1" top: "conv1_stage1" }\n'
    assert text.count(relu) == 1
    (folder / "deploy.prototxt").write_text(text.replace(relu, norm + relu))
    blobs = random_blobs(folder / "deploy.prototxt")
    blobs["n"] = [np.zeros(4, np.float32), np.ones(4, np.float32), np.ones(1, np.float32)]
    write_weights(folder / "weights.caffemodel", blobs, read_net(folder / "deploy.prototxt"))
    write_own_model(OwnModel(folder, ORDER, 64, 3.5, "normed"))
    finetune(data, tmp_path / "out", str(folder), replace(TINY, iterations=2), device="cpu")
    assert "BatchNorm" not in (tmp_path / "out" / "deploy.prototxt").read_text()


def test_annotations_without_names_and_senseless_numbers_are_refused(data: Path, tiny: str, tmp_path: Path) -> None:
    nameless = data.with_name("nameless.json")
    content = json.loads(data.read_text())
    nameless.write_text(
        json.dumps({"root": [{**content["root"][0], "dataset": "MPI", "joint_self": [[1, 1, 1]] * 16}]})
    )
    with pytest.raises(DataError, match="names no parts"):
        finetune(nameless, tmp_path / "out", tiny, TINY, device="cpu")
    with pytest.raises(UsageError, match="iterations 0, rate -1, box 0: too small"):
        Recipe(iterations=0, rate=-1, box=0)
    with pytest.raises(UsageError, match=r"box 60 does not suit .*, a multiple of 16 would: "):
        finetune(data, tmp_path / "out", tiny, replace(TINY, box=60), device="cpu")
    with pytest.raises(MissingFileError, match=r"gone.json is not there; get it from `cpm-port records json`"):
        finetune(data.with_name("gone.json"), tmp_path / "out", tiny, TINY, device="cpu")
