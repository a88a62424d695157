"""Claim: `cpm-port predict` tells of several people, where they were said to be, in the formats that are asked for.

Oracles: the net whose joints are known (tests/inference/nets.py); the same person predicted alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.cli import main
from cpm_port.imaging.reading import read_image
from cpm_port.parts import PartOrder
from cpm_port.predictions.image_results import ImageResult
from cpm_port.predictions.results import read_result
from cpm_port.zoo import OwnModel, write_own_model
from tests.inference.nets import BOX, colour_net, colour_net_text

BOXES = ((30.0, 20.0, 140.0, 120.0), (20.0, 40.0, 60.0, 60.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(folder / "colours.caffemodel")
    return ["--net", str(folder / "colours.prototxt"), "--weights", str(folder / "colours.caffemodel")]


def named(folder: Path, *parts: str) -> list[str]:
    """Return the options of the same net as a model whose parts have names."""
    folder.mkdir()
    own = OwnModel(folder, PartOrder("own", parts, ()), BOX, center_sigma=4.0, title="colours")
    (folder / own.net).write_text(colour_net_text())
    colour_net().save(folder / own.weights)
    write_own_model(own)
    return ["--model", str(folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two images."""
    image = np.zeros((160, 200, 3), np.uint8)
    for channel, (x, y) in enumerate(((40, 60), (140, 50), (90, 120))):
        image[y - 12 : y + 13, x - 12 : x + 13, channel] = 250
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), image)
    cv2.imwrite(str(folder / "2.png"), image[:, ::-1])
    return folder


def people(path: Path) -> list[list[tuple[float, float]]]:
    found = read_result(path)
    assert isinstance(found, ImageResult)
    assert found.people is not None
    return [[(joint.x, joint.y) for joint in person.joints] for person in found.people]


def test_every_box_is_a_person(model: list[str], folder: Path, tmp_path: Path) -> None:
    options = [word for box in BOXES for word in ("--box", *map(str, box))]
    assert main(["predict", str(folder / "1.png"), *model, *options, "--out", str(tmp_path / "both")]) == 0
    found = people(tmp_path / "both" / "1.json")
    assert len(found) == 2
    for box, joints in zip(BOXES, found, strict=True):
        out = tmp_path / f"alone{box[0]}"
        assert main(["predict", str(folder / "1.png"), *model, "--box", *map(str, box), "--out", str(out)]) == 0
        alone = json.loads((out / "1.json").read_text())
        assert "people" not in alone
        assert [(joint["x"], joint["y"]) for joint in alone["joints"]] == joints


def test_a_file_of_boxes_says_who_is_in_which_image(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = named(tmp_path / "model", "neck", "left_hip", "tail")
    rows = [f"1.png,{','.join(map(str, box))}" for box in BOXES]
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\n" + "\n".join(rows))
    out = tmp_path / "out"
    formats = ["--format", "json", "coco", "openpose", "csv", "mpii", "--sheet"]
    assert (
        main(["predict", str(folder), *model, "--boxes", str(tmp_path / "boxes.csv"), *formats, "--out", str(out)]) == 0
    )
    assert [len(people(out / name)) for name in ("1.json", "2.json")] == [2, 0]
    assert {path.name for path in out.iterdir()} == {
        "1.json", "2.json", "1_joints.png", "2_joints.png", "1_keypoints.json", "2_keypoints.json", "people_coco.json",
        "people.csv", "people_mpii.mat", "contact_sheet.png",
    }  # fmt: skip
    assert len(json.loads((out / "people_coco.json").read_text())) == 2
    assert read_image(out / "contact_sheet.png").shape[2] == 3
    said = capsys.readouterr()
    assert f"2 of 2 files predicted into {out}" in said.out
    assert "nobody is there, most likely, in 1: no person scores 0.25" in said.out
    assert "2 people in 2 images, " in said.out
    assert said.err.count("--format mpii: tail left out: the format has no such part") == 1


def test_a_format_without_a_place_for_any_part_is_refused_before_the_net_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = named(tmp_path / "model", "nose", "paw", "tail"), tmp_path / "out"
    assert main(["predict", str(folder), *model, "--format", "json", "mpii", "--out", str(out)]) == 2
    assert "mpii: none of the net's parts has a place in it: nose, paw, tail; expected" in capsys.readouterr().err
    assert not out.exists()


def test_a_format_that_the_people_found_do_not_fit_leaves_the_others_written(
    model: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, out = [word for box in BOXES for word in ("--box", *map(str, box))], tmp_path / "out"
    formats = ["--format", "release-mat", "csv", "--no-pictures", "--no-maps", "--sheet"]
    assert main(["predict", str(folder / "1.png"), *model, *boxes, *formats, "--out", str(out)]) == 2
    assert "1.png: 2 people; the release's file holds one per picture" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"people.csv", "contact_sheet.png"}


def test_pictures_maps_and_json_are_written_where_they_are_asked_for(
    model: list[str], folder: Path, tmp_path: Path
) -> None:
    one = str(folder / "1.png")
    names = {"1.json", "1_joints.png", "1_maps.png"}
    out = tmp_path / "a"
    assert main(["predict", one, *model, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == names
    for number, (source, options, expected) in enumerate(
        (
            (one, ["--no-maps"], {"1.json", "1_joints.png"}),
            (one, ["--no-maps", "--no-pictures"], {"1.json"}),
            (one, ["--no-maps", "--no-pictures", "--format", "release-mat"], {"people_release.mat"}),
            (str(folder), ["--no-pictures", "--maps"], {"1.json", "2.json", "1_maps.png", "2_maps.png"}),
        )
    ):
        out = tmp_path / f"out{number}"
        assert main(["predict", source, *model, "--out", str(out), *options]) == 0
        assert {path.name for path in out.iterdir()} == expected


def test_joints_below_the_score_are_not_drawn(model: list[str], folder: Path, tmp_path: Path) -> None:
    one = ["predict", str(folder / "1.png"), *model, "--no-maps"]
    assert main([*one, "--out", str(tmp_path / "all")]) == 0
    assert main([*one, "--min-score", "1", "--out", str(tmp_path / "sure")]) == 0
    drawn, bare = (read_image(tmp_path / name / "1_joints.png") for name in ("all", "sure"))
    assert (drawn != bare).any()
    assert (tmp_path / "all" / "1.json").read_bytes() == (tmp_path / "sure" / "1.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--boxes", "b.csv", "--box", "1", "1", "5", "5"], "not several of these"),
        (["--boxes", "b.csv", "--people", "all"], "boxes say who is there"),
        (["--people", "all", "--box", "1", "1", "5", "5"], "no --box"),
        (["--boxes", "absent.csv"], "no such file of boxes"),
    ],
)
def test_contradictions_are_refused(
    options: list[str], words: str, model: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(folder), *model, *options, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err


def test_a_camera_without_a_display_is_refused(
    model: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["predict", "0", *model]) == 2
    assert "camera 0: its pictures are shown in a window, and there is no display here" in capsys.readouterr().err
    assert main(["predict", "0", *model, "--people", "one"]) == 2
    assert "everybody in its pictures is followed" in capsys.readouterr().err
