"""`cpm-port evaluate` on prediction files: numbers, JSON shape, pictures; wrong input ends with a message and code 2.

Oracles: files drawn by the tests with scores counted by a loop; the note's numbers on the reference material.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from cpm_port.cli import main
from cpm_port.parts import LSP14, MPII16, to_observer_centric
from tests.evaluation.support import drawn_people


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Write a drawn LSP ground truth of 300 people and whole-pixel predictions; return paths and arrays."""
    people = np.round(drawn_people(LSP14, 300, 3))
    guesses = people + np.random.default_rng(1).integers(-12, 13, people.shape)
    savemat(
        tmp_path / "joints.mat",
        {"joints": np.concatenate([people + 1, 0 * people[..., :1]], axis=2).transpose(2, 1, 0)},
    )
    savemat(tmp_path / "pred.mat", {"prediction_all": (guesses + 1).transpose(1, 2, 0)})
    return {"folder": tmp_path, "people": people, "guesses": guesses}


def _evaluate(files: dict[str, Any], *options: str, protocol: str = "lsp-pc") -> int:
    folder = files["folder"]
    return main(
        [
            "evaluate", "--protocol", protocol, "--predictions", str(folder / "pred.mat"),
            "--ground-truth", str(folder / "joints.mat"), *options,
        ]
    )  # fmt: skip


def test_the_json_holds_what_a_loop_counts(files: dict[str, Any]) -> None:
    out = files["folder"] / "out.json"
    assert _evaluate(files, "--json", str(out), "--threshold", "0.1") == 0
    content = json.loads(out.read_text())
    people, guesses = files["people"], files["guesses"]
    wrists = [LSP14.index("right_wrist"), LSP14.index("left_wrist")]
    hits = total = 0
    for person, guess in zip(people, guesses, strict=True):
        length = np.hypot(*(person[9] - person[2]))
        found = [np.hypot(*(guess[j] - person[j])) / length <= 0.1 for j in range(14)]
        hits += sum(found[j] for j in wrists)
        total += sum(found)
    assert content["parts"]["Wri"] == {"hits": hits, "count": 600, "percent": pytest.approx(hits / 6)}
    assert content["total"] == {"hits": total, "count": 4200, "percent": pytest.approx(total / 42)}
    assert (content["protocol"], content["threshold"]) == ("lsp-pc", 0.1)
    assert content["auc"] == pytest.approx(
        np.trapezoid(content["curve"]["total"], content["curve"]["thresholds"]) / 0.2
    )
    assert content["diagnoses"] == []


def test_a_column_that_nobody_is_annotated_in_is_null(tmp_path: Path) -> None:
    people = drawn_people(MPII16, 20, 4) + 1
    missing = np.zeros((16, 20))
    missing[[MPII16.index("left_ankle"), MPII16.index("right_ankle")]] = 1
    boxes = np.stack([np.zeros((2, 20)), np.full((2, 20), 30.0)])
    labels = {"pos_gt_src": people.transpose(1, 2, 0), "jnt_missing": missing, "headboxes_src": boxes}
    savemat(tmp_path / "truth.mat", labels)
    savemat(tmp_path / "pred.mat", {"preds": people})
    out = tmp_path / "out.json"
    files = ["--predictions", str(tmp_path / "pred.mat"), "--ground-truth", str(tmp_path / "truth.mat")]
    assert main(["evaluate", "--protocol", "mpii-official", *files, "--json", str(out)]) == 0
    content = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert content["parts"]["Ank"] == {"hits": 0, "count": 0, "percent": None}
    assert content["total"] == {"hits": 240, "count": 240, "percent": 100}


def test_pictures_and_intervals_on_request(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = files["folder"]
    assert _evaluate(files, "--plots", str(folder / "plots"), "--bootstrap", "0", "--limit", "40") == 0
    assert "95 % intervals" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "plots").iterdir()) == ["bars.svg", "cases.png", "curves.svg"]
    with Image.open(folder / "plots/cases.png") as picture:
        assert picture.width > 500


def test_a_slip_is_named_on_the_way(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, guesses = files["folder"], files["people"]
    savemat(folder / "pred.mat", {"prediction_all": guesses.transpose(1, 2, 0)})  # written without MATLAB's 1
    assert _evaluate(files) == 0
    assert "note: off by one pixel: the predictions lie one pixel up and left" in capsys.readouterr().out


def test_labels_of_the_other_centricity_are_refused(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    people = to_observer_centric(files["people"], LSP14)
    joints = np.concatenate([people + 1, 0 * people[..., :1]], axis=2).transpose(2, 1, 0)
    savemat(files["folder"] / "joints.mat", {"joints": joints})
    assert _evaluate(files) == 2
    assert "these are observer-centric" in capsys.readouterr().err
    assert _evaluate(files, protocol="lsp-oc") == 0
    assert "note: observer-centric labels: the predictions are person-centric" in capsys.readouterr().out
    assert _evaluate(files, "--centric", "person", protocol="lsp-oc") == 0
    assert "note" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("prediction", "options", "message"),
    [
        (np.zeros((14, 2, 299)), (), "holds 299 people"),
        (np.zeros((13, 2, 300)), (), "13 parts"),
        (np.zeros((9, 2, 300)), (), "lack head_top, neck"),
        (np.full((14, 2, 300), np.nan), (), "not one joint that lsp-pc counts is predicted"),
        (np.zeros((14, 2, 300)) + 1j, (), "complex numbers"),
        (np.clip(np.arange(8400), 0, 255).astype(np.uint8).reshape(14, 2, 300), (), "reaches its last value, 255"),
        (np.zeros((300, 14, 2)), (), "'prediction_all' is 300 x 14 x 2"),
        (np.zeros((14, 2, 300)), ("--order", "mpii16"), "14 parts, order 'mpii16' has 16"),
        (np.zeros((14, 2, 300)), ("--limit", "0"), "--limit 0"),
        (np.zeros((14, 2, 300)), ("--threshold", "-1"), "threshold -1"),
        (np.zeros((14, 2, 300)), ("--protocol", "pck"), "no protocol 'pck'; known: lsp-pc"),
        (np.zeros((14, 2, 300)), ("--net", "x.prototxt"), "give --predictions, or a model and --data, not both"),
        (np.zeros((14, 2, 300)), ("--model", "lsp-6s"), "give --predictions, or a model and --data, not both"),
    ],
)
def test_wrong_input_ends_with_a_message_and_code_two(
    files: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    prediction: np.ndarray,
    options: tuple[str, ...],
    message: str,
) -> None:
    savemat(files["folder"] / "pred.mat", {"prediction_all": prediction})
    assert _evaluate(files, *options) == 2
    assert message in capsys.readouterr().err


def test_labels_of_one_byte_each_are_refused(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    path = files["folder"] / "joints.mat"
    savemat(path, {"joints": loadmat(path)["joints"].clip(0, 250).astype(np.uint8)})
    assert _evaluate(files) == 2
    assert "'joints' is of class uint8, which loses fractions" in capsys.readouterr().err


def test_whole_coordinates_of_an_integer_class_score_as_doubles(files: dict[str, Any]) -> None:
    path, out = files["folder"] / "pred.mat", files["folder"] / "out.json"
    totals = []
    for kind in (np.float64, np.int16, np.uint16):
        savemat(path, {"prediction_all": np.abs(files["guesses"]).transpose(1, 2, 0).astype(kind)})
        assert _evaluate(files, "--json", str(out)) == 0
        totals.append(json.loads(out.read_text())["total"])
    assert totals[0] == totals[1] == totals[2]


@pytest.mark.parametrize("option", ["--json", "--plots"])
def test_a_place_that_cannot_be_written_ends_with_a_message_and_code_two(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (files["folder"] / "file").touch()
    assert _evaluate(files, option, str(files["folder"] / "file" / "below")) == 2
    assert "cpm-port evaluate: " in capsys.readouterr().err


def test_predictions_without_ground_truth_are_bad_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate", "--protocol", "lsp-pc", "--predictions", str(tmp_path)]) == 2
    assert "belong together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("protocol", "predictions", "truth", "expected"),
    [
        ("lsp-pc", "release/predictions/LSP_prediction_model_MPII_LSP_6s.mat", "lsp/lsp-joints-PC.mat", (12670, 14000)),
        ("lsp-pc", "release/predictions/LSP_prediction_model_LSP_6s.mat", "lsp/lsp-joints-PC.mat", (11805, 14000)),
        (
            "flic-gt-torso",
            "release/predictions/FLIC_prediction_model_FLIC_4s.mat",
            "flic/flic-joints-oc.mat",
            (3914, 4064),
        ),
        (
            "mpii-official",
            "datasets/mpii_val/bearpaw-hg_s2_b1.mat",
            "mpii_val/detections_our_format.mat",
            (33549, 38430),
        ),
    ],
)
def test_the_published_numbers_come_out(
    shared: Path, tmp_path: Path, protocol: str, predictions: str, truth: str, expected: tuple[int, int]
) -> None:
    out = tmp_path / "out.json"
    arguments = ["--predictions", str(shared / predictions), "--ground-truth", str(shared / "datasets" / truth)]
    assert main(["evaluate", "--protocol", protocol, *arguments, "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    assert (content["total"]["hits"], content["total"]["count"]) == expected
    assert content["references"]
