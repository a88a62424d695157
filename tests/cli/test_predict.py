"""Claim: `cpm-port predict` does what its help says. Oracle: a net whose joints are known (tests/inference/nets.py)."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_port.cli import main
from cpm_port.engine import MEMORY_BOUND, AcceleratedNet, accelerate
from cpm_port.graph import CaffeNet
from cpm_port.imaging.pyramid import demo_multipliers
from cpm_port.imaging.reading import read_image
from cpm_port.release import BENCHMARK_MULTIPLIERS, TARGET_DIST
from tests.inference.nets import colour_net, colour_net_text

SPOTS = {"part_0": (40, 60), "part_1": (140, 50), "part_2": (90, 120)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "colours.caffemodel")
    return ["--net", str(folder / "colours.prototxt"), "--weights", str(folder / "colours.caffemodel")]


def picture() -> np.ndarray:
    image = np.zeros((160, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(SPOTS.values()):
        image[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    return image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "person.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), picture())
    return path


def result(out: Path, stem: str = "person") -> dict:
    return json.loads((out / f"{stem}.json").read_text())


def test_the_results_say_where_the_joints_are_and_how_they_were_found(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(image), *model, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["person.json", "person_joints.png", "person_maps.png"]
    found = result(out)
    assert [joint["name"] for joint in found["joints"]] == list(SPOTS)
    for joint in found["joints"]:
        x, y = SPOTS[joint["name"]]
        assert joint["x"] == pytest.approx(x, abs=14)
        assert joint["y"] == pytest.approx(y, abs=14)
        assert 0 < joint["score"] < 2 * 7 * 2
    assert found["frame"].startswith("image pixels, 0-based")
    assert found["center"] == {"x": 99.0, "y": 79.0}
    assert found["base_scale"] == pytest.approx(0.8 / (160 / 64))
    assert found["multipliers"] == list(BENCHMARK_MULTIPLIERS)
    assert found["scales"] == pytest.approx([found["base_scale"] * m for m in BENCHMARK_MULTIPLIERS])
    assert found["image_size"] == {"width": 200, "height": 160}
    assert found["mode"] == "benchmark"
    assert found["place"] == "taken for the image's centre, as tall as the image"
    weights = Path(model[3])
    assert found["model"]["weights"] == {
        "file": "colours.caffemodel",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    assert read_image(out / "person_joints.png").shape == (160, 200, 3)
    assert read_image(out / "person_maps.png").ndim == 3
    said = capsys.readouterr()
    assert "1 of 1 files predicted" in said.out
    assert said.err == ""  # no progress bar for one image


def test_how_the_net_runs_may_be_said(
    image: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def spy(net: CaffeNet, **options: object) -> AcceleratedNet:
        made.append(options)
        return accelerate(net, memory_bound=0)

    monkeypatch.setattr("cpm_port.engine.modes.accelerate", spy)
    run = ["predict", str(image), *model, "--out", str(tmp_path / "out")]
    assert main(run) == main([*run, "--memory-bound", "100", "--plan", "measure"]) == 0
    assert made == [
        {"memory_bound": MEMORY_BOUND, "plan": "model"},
        {"memory_bound": 100 << 20, "plan": "measure"},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory-bound", "-1"], "--memory-bound -1: expected 0 or more"),
        (["--precision", "bf16", "--memory-bound", "5"], "are for float32 on a CPU"),
        (["--precision", "bf16", "--plan", "measure"], "are for float32 on a CPU"),
        (["--precision", "tf32"], "'tf32' is a GPU's"),
    ],
)
def test_ways_to_run_that_are_not_there_are_refused(
    image: Path, model: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(image), *model, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "center", "base_scale", "multipliers"),
    [
        (["--center", "90", "70", "--base-scale", "0.5"], (90, 70), 0.5, BENCHMARK_MULTIPLIERS),
        (["--center", "90", "70", "--base-scale", "0.5", "--multipliers", "1", "2"], (90, 70), 0.5, (1, 2)),
        (["--box", "40", "20", "100", "120"], (90, 80), TARGET_DIST * (64 / 368) / 0.6, BENCHMARK_MULTIPLIERS),
        (["--multipliers", "0.3"], (99, 79), 0.8 / (160 / 64), (0.3,)),
        (["--mode", "demo"], (99, 79), 1.0, demo_multipliers(160, 160, 64)),
        (["--mode", "demo", "--box", "40", "20", "100", "120"], (90, 80), 1.0, demo_multipliers(160, 120, 64)),
        (
            ["--mode", "demo", "--center", "90", "70", "--base-scale", "2.0"],
            (90, 70),
            1.0,
            demo_multipliers(160, 0.8 * 64 / 2, 64),
        ),
        (["--mode", "demo", "--box", "40", "20", "100", "120", "--multipliers", "0.5"], (90, 80), 1.0, (0.5,)),
    ],
)
def test_every_way_to_say_where_the_person_is(
    image: Path,
    model: list[str],
    tmp_path: Path,
    options: list[str],
    center: tuple,
    base_scale: float,
    multipliers: tuple,
) -> None:
    assert main(["predict", str(image), *model, "--out", str(tmp_path / "out"), *options]) == 0
    found = result(tmp_path / "out")
    assert (found["center"]["x"], found["center"]["y"]) == center
    assert found["base_scale"] == pytest.approx(base_scale)
    assert found["multipliers"] == pytest.approx(list(multipliers))


def test_a_folder_with_a_broken_file_gives_all_the_others(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image.parent
    cv2.imwrite(str(folder / "zebra.JPG"), picture())
    (folder / "broken.png").write_bytes(image.read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    assert main(["predict", str(folder), *model, "--out", str(out)]) == 2
    assert sorted(path.name for path in out.glob("*.json")) == ["person.json", "zebra.json"]
    said = capsys.readouterr()
    assert "broken.png: corrupt or cut short" in said.err
    assert "notes.txt: not taken, its suffix is no image's or video's" in said.err
    assert "3/3" not in said.err  # progress bars are for terminals
    assert "2 of 3 files predicted" in said.out


def test_an_absent_file_is_reported_and_the_others_go_on(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "none.png"), str(image), *model, "--out", str(out)]) == 2
    assert (out / "person.json").is_file()
    assert "none.png: no such image" in capsys.readouterr().err


def test_a_center_far_from_one_image_fails_that_image_only(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = image.parent / "tiny.png"
    cv2.imwrite(str(tiny), picture()[:4, :4])
    out = tmp_path / "out"
    options = ["--center", "150", "100", "--base-scale", "1", "--out", str(out)]
    assert main(["predict", str(image), str(tiny), *model, *options]) == 2
    assert [path.name for path in out.glob("*.json")] == ["person.json"]
    assert "tiny.png: center (150, 100) of an image 4 x 4" in capsys.readouterr().err


def test_images_of_one_stem_do_not_overwrite_each_other(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [tmp_path / "b" / "person.jpg", tmp_path / "c" / "Person.png", tmp_path / "c" / "person-2.png"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture())
    out = tmp_path / "out"
    assert main(["predict", str(image), *map(str, others), *model, "--out", str(out)]) == 0
    named = {path.stem: json.loads(path.read_text())["image"] for path in out.glob("*.json")}
    assert named == {
        "person": str(image),
        "person-3": str(others[0]),  # person-2 is an image's own stem
        "Person-4": str(others[1]),
        "person-2": str(others[2]),
    }
    assert f"{image} has its stem; the results are " in capsys.readouterr().err


def test_results_never_overwrite_an_image(image: Path, model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    clash = image.with_name("person_joints.png")
    cv2.imwrite(str(clash), picture())
    before = clash.read_bytes()
    assert main(["predict", str(image), str(clash), *model, "--out", str(image.parent)]) == 2
    assert "would overwrite an input; choose another --out" in capsys.readouterr().err
    assert clash.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--center", "1", "2"], "--center and --base-scale belong together"),
        (["--base-scale", "1"], "--center and --base-scale belong together"),
        (["--center", "1", "2", "--base-scale", "1", "--box", "0", "0", "9", "9"], "not both"),
        (["--device", "quantum"], "--device quantum"),
    ],
)
def test_contradicting_arguments_are_refused(
    image: Path, model: list[str], tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(image), *model, "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--multipliers", "1", "-1"], "--multipliers is -1"),
        (["--center", "1", "2", "--base-scale", "0"], "--base-scale is 0"),
        (["--box", "0", "0", "0", "9"], "--box: width is 0"),
        (["--box", "0", "0", "9", "-9"], "--box: height is -9"),
    ],
)
def test_senseless_numbers_are_refused_before_any_work(
    image: Path, model: list[str], tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["predict", str(image), str(tmp_path / "none.png"), *model, "--out", str(tmp_path / "out"), *options]) == 2
    )
    said = capsys.readouterr()
    assert message in said.err
    assert "none.png" not in said.err
    assert not said.out


def test_numbers_must_be_finite(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("nan", "wide"):
        with pytest.raises(SystemExit):
            main(["predict", str(image), *model, "--out", str(tmp_path / "out"), "--box", "0", number, "1", "1"])
        assert f"'{number}': expected a finite number" in capsys.readouterr().err


def test_results_that_could_not_be_written_are_refused_before_any_work(
    image: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert main(["predict", str(image), *model, "--out", str(out)]) == 2
        said = capsys.readouterr()
        assert f"{out}: {file} is a file; expected a folder for the results" in said.err
        assert not said.out
    assert file.read_text() == "mine"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["predict", str(image), *model, "--out", str(tmp_path / "a" / "b")]) == 2
    assert f"{tmp_path} may not be written to" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_one_file_of_a_model_is_not_enough(
    image: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(image), *model[:2], "--out", str(tmp_path / "out")]) == 2
    assert "--net PROTOTXT and --weights MODEL belong together" in capsys.readouterr().err


def test_a_folder_without_images_is_refused(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(tmp_path), *model, "--out", str(tmp_path / "out")]) == 2
    assert "no image or video in this folder" in capsys.readouterr().err


def test_a_flat_picture_is_said_to_show_nobody(
    tmp_path: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 80, 3), 128, np.uint8))
    arguments = ["predict", str(tmp_path / "grey.png"), *model, "--out", str(tmp_path / "out")]
    assert main([*arguments, "--person-score", "1"]) == 0
    said = capsys.readouterr()
    assert "grey.png: nobody is there, most likely: the best score is" in said.err
    assert "nobody is there, most likely, in 1" in said.out
    assert "0 people in 1 image, " in said.out  # whom the sentence above denies is not counted
    assert str(tmp_path / "out/grey.json") in said.out
    joints = json.loads((tmp_path / "out/grey.json").read_text())["joints"]
    assert all(0 <= joint["confidence"] <= 1 for joint in joints)
    assert main([*arguments, "--person-score", "0"]) == 0
    said = capsys.readouterr()
    assert "nobody" not in said.err + said.out
    assert "1 person in 1 image, " in said.out


@pytest.mark.parametrize("address", ["https://example.com/a.jpg", "rtsp://10.0.0.1/stream"])
def test_addresses_are_refused_with_their_reason(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", address, "--out", str(tmp_path / "out")]) == 2
    assert f"{address}: addresses are not opened" in capsys.readouterr().err


def test_a_folder_of_folders_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in/one").mkdir(parents=True)
    assert main(["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 2
    assert f"the folder in it is not entered: give {tmp_path / 'in'}/*/ too" in capsys.readouterr().err


def test_folders_beside_the_images_of_a_folder_are_counted(
    image: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image.parent
    for name in ("one", "two", ".hidden", "results"):
        (folder / name).mkdir()
    assert main(["predict", str(folder), *model, "--out", str(folder / "results")]) == 0
    told = capsys.readouterr().err
    assert f"{folder}: the 2 folders in it are not entered: give {folder}/*/ too" in told
    assert "hidden" not in told


def test_of_an_animation_the_first_picture_is_taken_and_it_is_said(
    tmp_path: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("RGB", (80, 60), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert main(["predict", str(tmp_path / "a.gif"), *model, "--out", str(tmp_path / "out")]) == 0
    assert "a.gif: holds 2 pictures, an animation's or pages; the first one is taken" in capsys.readouterr().err
