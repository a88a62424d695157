"""Claim: a folder of somebody's own is a model like the others: found by path or name, whole, and with its parts.

Oracle: the folder that the test wrote.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import cpm_port
from cpm_port.cli import main
from cpm_port.errors import ModelFileError, UsageError
from cpm_port.zoo import read_own_model, resolve
from cpm_port.zoo.choice import describe_all
from tests.zoo.own_model import HISTORY, ORDER, write_own


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CPM_PORT_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_folder_says_its_parts_its_box_and_how_it_came_about(tmp_path: Path) -> None:
    written = write_own(tmp_path / "horses")
    found = read_own_model(tmp_path / "horses")
    assert (found.order, found.box, found.center_sigma) == (ORDER, 64, 3.5)
    assert (found.title, found.history) == (written.title, HISTORY)
    assert set(found.sha256) == {"deploy.prototxt", "weights.caffemodel"}


def test_a_model_is_found_by_its_path_and_by_its_name(tmp_path: Path, models: Path) -> None:
    folder = tmp_path / "own"
    write_own(folder)
    choice = resolve(str(folder))
    assert choice[:2] == (folder / "deploy.prototxt", folder / "weights.caffemodel")
    assert choice.part_order == ORDER
    (folder / "model.onnx").write_bytes(b"onnx")
    assert main(["models", "add", str(folder), "--as", "horses"]) == 0
    installed = resolve("horses")
    assert installed.net == models / "horses" / "deploy.prototxt"
    assert (models / "horses" / "model.onnx").is_file()
    assert installed.weights.read_bytes() == choice.weights.read_bytes()


def test_the_list_shows_it_with_its_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_own(tmp_path / "own")
    main(["models", "add", str(tmp_path / "own"), "--as", "horses"])
    found = describe_all()[-1]
    assert (found["name"], found["parts"], found["present"]) == ("horses", 3, True)
    assert found["scores"][0]["values"] == {"total": 61.5}
    capsys.readouterr()
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "horses: three parts" in listed
    assert "total 61.5 %, p @0.2 on own.json 4 people held out" in listed


def test_its_results_name_its_parts_and_draw_its_skeleton(tmp_path: Path) -> None:
    write_own(tmp_path / "own")
    image = np.random.default_rng(0).integers(0, 256, (80, 70, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    words = ["--model", str(tmp_path / "own"), "--box", "10", "10", "40", "60", "--out", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "a.png"), *words]) == 0
    people = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [joint["name"] for joint in people["joints"]] == list(ORDER.parts)
    model = cpm_port.load_model(str(tmp_path / "own"))
    assert (model.parts, model.interface.part_order.limbs) == (ORDER.parts, ORDER.limbs)
    assert model.interface.center_sigma == 3.5
    assert model.licence == "not known"


def test_a_flip_looks_at_its_own_sides(tmp_path: Path) -> None:
    write_own(tmp_path / "own")
    model = cpm_port.load_model(str(tmp_path / "own"))
    assert model.interface.part_order.mirrored() == (0, 2, 1)


def test_changed_files_and_names_that_are_taken_are_refused(tmp_path: Path, models: Path) -> None:
    folder, other = tmp_path / "own", tmp_path / "other"
    write_own(folder)
    write_own(other, seed=1)
    assert main(["models", "add", str(folder), "--as", "horses"]) == 0
    assert main(["models", "add", str(folder), "--as", "horses"]) == 0
    for name in ("default", "a/b", "horses"):
        assert main(["models", "add", str(other), "--as", name]) == 2
    assert main(["models", "add", str(other)]) == 2
    (folder / "weights.caffemodel").write_bytes(b"changed")
    with pytest.raises(ModelFileError, match=r"weights.caffemodel: its SHA-256 is .*model.json says"):
        resolve(str(folder))
    (models / "horses" / "deploy.prototxt").unlink()
    with pytest.raises(ModelFileError, match=r"names .deploy\.prototxt., which is not beside it"):
        resolve("horses")
    assert [found["problem"] is None for found in describe_all() if found["name"] == "horses"] == [False]
    with pytest.raises(UsageError, match="model 'cows' is unknown"):
        resolve("cows")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 2}, "not the description of a model of ours; this package reads format 1"),
        ({"parts": None}, "names no parts"),
        ({"parts": 3}, "expected a list of names"),
        ({"box": "x"}, "not the description of a model"),
        ({"weights": "../own/weights.caffemodel"}, "which is not beside it"),
        ({"history": 3}, "not the description of a model"),
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, changes: dict[str, object], match: str) -> None:
    write_own(tmp_path / "own")
    path = tmp_path / "own" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelFileError, match=match):
        read_own_model(tmp_path / "own")
