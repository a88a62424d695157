"""Claim: `cpm-port models` lists, adds and fetches models, and every verb with `--model` runs them by name.

Oracle: small nets under the official names (tests/zoo/support.py), and what lies in the folder of models afterwards.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.cli import main
from cpm_port.imaging.gaussians import centered_map
from cpm_port.inference import predict
from cpm_port.zoo import ModelEntry
from tests.zoo.support import small_zoo, use_zoo, write_model


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelEntry]:
    return small_zoo(tmp_path_factory.mktemp("nets"))


@pytest.fixture(autouse=True)
def models(zoo: dict[str, ModelEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("cpm_port.zoo.choice.default_record", lambda: None)
    monkeypatch.setattr("cpm_port.zoo.entries.default_record", lambda: None)
    use_zoo(monkeypatch, zoo, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.fixture
def official(zoo: dict[str, ModelEntry], tmp_path: Path) -> Path:
    return write_model(tmp_path / "pose_iter_630000.caffemodel", zoo["mpii-6s"].net)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    return path


def test_the_list_names_scores_with_protocols_and_places(
    models: Path, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(official)]) == 0
    added = capsys.readouterr().out
    assert f"mpii-6s: installed: {models / 'mpii-6s' / 'mpii-6s.caffemodel'}" in added
    assert "non-commercial research only" in added
    assert main(["models"]) == 0
    blocks = dict(block.split(": ", 1) for block in capsys.readouterr().out.split("\n\n"))
    assert list(blocks) == ["default", "mpii-lsp-6s", "mpii-6s", "lsp-6s", "flic-4s", "mpii-vgg", "person"]
    assert "absent: default.caffemodel is expected as " in blocks["default"]
    assert "published: total 90.5 %, lsp-pc @0.2 on LSP test (images 1001 to 2000)" in blocks["mpii-lsp-6s"]
    assert f"present: {models / 'mpii-6s' / 'mpii-6s.caffemodel'}, SHA-256 " in blocks["mpii-6s"]
    assert "9 parts (flic9), box 64 x 64" in blocks["flic-4s"]
    assert "published: Elb 97.59, Wri 95.03 %, flic-gt-torso @0.2" in blocks["flic-4s"]
    assert f"pose_iter_395000.caffemodel is expected as {models / 'lsp-6s' / 'lsp-6s.caffemodel'}" in blocks["lsp-6s"]
    assert "1 part (person1)" in blocks["person"]
    (models / "mpii-6s" / "mpii-6s.caffemodel").write_bytes(b"x")
    assert main(["models"]) == 0
    assert "DAMAGED: " in capsys.readouterr().out


def test_the_list_as_json(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "parts", "weight_bytes", "scores", "path", "present", "sha256"} <= rows[1].keys()
    assert rows[1]["scores"][0]["protocol"] == "lsp-pc"


def test_a_model_is_added_under_the_name_that_the_user_says(
    models: Path, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = official.rename(official.with_name("weights.caffemodel"))
    assert main(["models", "add", str(copy)]) == 2
    assert "say which it is with --as NAME" in capsys.readouterr().err
    assert main(["models", "add", str(copy), "--as", "lsp-6s"]) == 0
    assert "from weights.caffemodel, recognised by the user; SHA-256 " in capsys.readouterr().out
    assert main(["models", "add", str(copy), "--as", "lsp-6s"]) == 0
    assert "lsp-6s: is installed already" in capsys.readouterr().out
    assert [path.name for path in models.iterdir()] == ["lsp-6s"]


def test_of_several_files_the_good_ones_are_added(
    models: Path, official: Path, zoo: dict[str, ModelEntry], capsys: pytest.CaptureFixture[str]
) -> None:
    flic = write_model(official.with_name("f.caffemodel"), zoo["flic-4s"].net)
    broken = official.with_name("b.caffemodel")
    broken.write_bytes(official.read_bytes()[:-5])
    assert main(["models", "add", str(official), str(broken), str(flic)]) == 2
    said = capsys.readouterr()
    assert "b.caffemodel" in said.err
    assert sorted(path.name for path in models.iterdir()) == ["flic-4s", "mpii-6s"]
    assert main(["models", "add", str(official), str(flic), "--as", "mpii-6s"]) == 2


def test_a_download_without_an_address_says_what_to_do(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "mpii-lsp-6s"]) == 2
    said = capsys.readouterr()
    assert "non-commercial research only" in said.out
    assert "cpm-port models add pose_iter_985000_addLEEDS.caffemodel" in said.err
    assert main(["models", "download", "somebody"]) == 2


def shown_maps(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Return a list that will hold the center maps that nets are shown."""
    maps: list[np.ndarray] = []
    original = predict.net_input

    def noted(*arguments: object, **options: object) -> object:
        blob = original(*arguments, **options)  # type: ignore[arg-type]
        maps.append(blob[0, 3].cpu().numpy())
        return blob

    monkeypatch.setattr(predict, "net_input", noted)
    return maps


def test_a_photograph_alone_goes_to_the_default_model_with_its_own_preprocessing(
    zoo: dict[str, ModelEntry], photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(photo)]) == 2
    assert "lacks its default model" in capsys.readouterr().err
    entry = zoo["default"]
    weights = write_model(entry.net.with_name(entry.file_name), entry.net)
    maps = shown_maps(monkeypatch)
    try:
        assert main(["predict", str(photo)]) == 0
    finally:
        weights.unlink()
    found = json.loads(Path("results/photo.json").read_text())
    assert found["model"]["name"] == "default"
    assert found["model"]["weights"]["file"] == "default.caffemodel"
    assert found["place"] == "looked for in the whole picture"
    assert np.array_equal(maps[0], centered_map(64, 5.0))


def test_an_installed_model_is_run_by_name(models: Path, official: Path, photo: Path) -> None:
    main(["models", "add", str(official)])
    assert main(["predict", str(photo), "--model", "mpii-6s", "--out", "out"]) == 0
    assert json.loads(Path("out/photo.json").read_text())["model"]["name"] == "mpii-6s"


def test_names_and_files_do_not_mix(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(photo), "--model", "mpii-6s", "--net", "a", "--weights", "b"]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["predict", str(photo), "--model", "mpii-6s"]) == 2
    assert "is not installed" in capsys.readouterr().err


def test_a_data_set_is_evaluated_with_a_model_by_name(
    models: Path, official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    savemat(tmp_path / "joints.mat", {"joints": draw.uniform(1, 40, (3, 14, 2))})
    (tmp_path / "images").mkdir()
    for name in ("im0001.jpg", "im0002.jpg"):
        cv2.imwrite(str(tmp_path / "images" / name), draw.integers(0, 256, (50, 40, 3), dtype=np.uint8))
    main(["models", "add", str(official)])
    evaluate = ["evaluate", "--protocol", "lsp-pc", "--data", str(tmp_path)]
    assert main([*evaluate, "--model", "mpii-6s", "--save", "p.h5"]) == 0
    assert "hits: total" in capsys.readouterr().out
    assert main([*evaluate, "--save", "q.h5"]) == 2
    assert "lacks its default model" in capsys.readouterr().err
    assert main(["evaluate", "--protocol", "lsp-pc", "--model", "mpii-6s"]) == 2
    assert "a model needs --data ROOT" in capsys.readouterr().err


def test_a_net_is_run_on_arrays_by_name(models: Path, official: Path) -> None:
    main(["models", "add", str(official)])
    np.savez("in.npz", data=np.zeros((1, 4, 64, 64), np.float32))
    arguments = ["--model", "mpii-6s", "--input", "in.npz", "--output", "out.npz"]
    assert main(["forward", *arguments]) == 0
    assert main(["compare", "--model", "mpii-6s", "--reference", "out.npz", "--input", "in.npz"]) == 0
