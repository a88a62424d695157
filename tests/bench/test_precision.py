"""The precision bench measures what rounding does. Oracles: float32 against itself; results spoiled on purpose."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from cpm_port import load_net
from cpm_port.bench import precision
from cpm_port.bench._text import missed_targets
from cpm_port.bench.precision import _compare, _Found
from cpm_port.cli import main
from cpm_port.errors import UsageError
from cpm_port.models import architecture, deploy_text
from cpm_port.parts import CPM14, FLIC9
from cpm_port.training.presets import fill_like_he
from tests.inference.nets import colour_net, colour_net_text


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision._peers, "matrix_rate", partial(precision._peers.matrix_rate, seconds=0.05))


SMALL = ["--width", "4", "--box-size", "64", "--repeats", "1", "--threads", "1"]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    precision.configure(parser)
    return parser.parse_args(words)


def test_a_small_run_measures_every_precision_of_a_cpu() -> None:
    result = precision.run(arguments(*SMALL, "--people", "1"))
    assert set(result["precisions"]) == {"float32", "bf16"}
    assert set(result["medians"]) == {"float32", "bf16", "plain port, one scale at a time"}
    assert result["missed"] == []  # what is promised is promised of GPUs
    exact, coarse = result["precisions"]["float32"], result["precisions"]["bf16"]
    assert exact["belief_error"] < 1e-5 < 1e-3 < coarse["belief_error"] < 0.5
    assert exact["pck_difference"] == 0
    assert exact["joints"] == 14
    assert list(result["times_faster_than_float32"]) == ["bf16"]
    for name, found in result["precisions"].items():
        assert found["persons_per_second"] == 1 / result["medians"][name]
        assert 0 < found["matrix_rate_percent"] < 1e4


def test_promises_that_a_gpu_does_not_keep_are_named() -> None:
    def bf16(times: float, percent: float) -> dict[str, dict[str, float]]:
        return {"bf16": {"times_faster_than_plain_port": times, "matrix_rate_percent": percent}}

    assert precision._missed(bf16(2.0, 50.0)) == []
    assert precision._missed(bf16(1.9, 50.0)) == ["bf16: 1.9 times faster than the plain port, expected at least 2.0"]
    assert precision._missed(bf16(2.0, 49.0)) == ["bf16: 49 % of the matrix rate, expected at least 50"]


def test_images_and_a_model_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(tmp_path / "colours.caffemodel")
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8))
    model = ["--net", str(tmp_path / "colours.prototxt"), "--weights", str(tmp_path / "colours.caffemodel")]
    result = precision.run(arguments(*SMALL, *model, "--images", str(tmp_path / "a.png")))
    assert result["people"] == "1 images"
    assert result["model"] == "colours.caffemodel"
    assert "pck_percent" not in result["precisions"]["bf16"]  # nameless parts have no torso
    assert result["precisions"]["bf16"]["joints"] == 3


def test_a_float32_that_is_none_is_told_beside_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_net = precision.fast_net
    monkeypatch.setattr(precision, "fast_net", lambda net, name: fast_net(net, "bf16"))
    result = precision.run(arguments(*SMALL, "--people", "1"))
    assert [text.partition(" by ")[0] for text in missed_targets(result)] == ["float32 differs from the plain net"]
    assert result["medians"]["float32"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--people", "0"), "--people 0"),
        (("--data", "x", "--limit", "0"), "--limit 0"),
        (("--data", "x", "--images", "y"), "give --data or --images"),
    ],
)
def test_people_that_are_not_there_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        precision.run(arguments(*SMALL, *words))


def test_a_data_set_is_scored_as_evaluate_scores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    savemat(tmp_path / "joints.mat", {"joints": draw.uniform(1, 60, (3, 14, 6))})
    (tmp_path / "images").mkdir()
    for number in range(1, 7):
        image = draw.integers(0, 256, (60, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"images/im{number:04d}.jpg"), image)
    torch.manual_seed(0)
    text = deploy_text(architecture("mpi", width=4, stages=1, box=(64, 64)))
    (tmp_path / "net.prototxt").write_text(text)
    net = load_net(tmp_path / "net.prototxt")
    fill_like_he(net, list(net.params))
    net.save(tmp_path / "net.caffemodel")
    model = ["--net", str(tmp_path / "net.prototxt"), "--weights", str(tmp_path / "net.caffemodel")]
    data = ["--data", str(tmp_path), "--protocol", "lsp-pc", "--limit", "4"]
    result = precision.run(arguments("--repeats", "1", "--threads", "1", *model, *data))
    scores = {}
    for name in ("float32", "bf16"):
        out = ["--precision", name, "--save", str(tmp_path / f"{name}.h5"), "--json", str(tmp_path / f"{name}.json")]
        assert main(["evaluate", *data, *model, *out]) == 0
        total = json.loads((tmp_path / f"{name}.json").read_text())["total"]
        found = result["precisions"][name]
        assert (found["joints_found"], found["joints_counted"]) == (total["hits"], total["count"])
        assert found["pck_percent"] == pytest.approx(total["percent"])
        scores[name] = total["percent"]
    capsys.readouterr()
    found = result["precisions"]["bf16"]
    assert found["pck_difference"] == pytest.approx(scores["bf16"] - scores["float32"])
    assert result["plain_float32"]["pck_percent"] == pytest.approx(scores["float32"])
    assert found["joints_moved_far"] <= found["joints_moved"] <= found["joints"] == 14 * 4
    assert result["people"] == "4 of lsp-pc"


def test_errors_shifts_and_scores_are_those_worked_out_by_hand() -> None:
    truth = np.tile(np.arange(14.0)[:, None] * 10, (1, 2))  # left shoulder to right hip: 3 parts apart, 42.4 px
    torso = np.linalg.norm(truth[CPM14.index("left_shoulder")] - truth[CPM14.index("right_hip")])
    plain = _Found([truth.copy()])
    moved = truth.copy()
    moved[0] += [3.0, 4.0]  # 5 px: still a hit
    moved[1] += [0.0, 0.21 * torso]  # a miss
    moved[2] += [0.0, 3.0]  # not far
    found = _Found([moved], 0.025)
    result = _compare(found, plain, [truth], CPM14)
    assert result["belief_error"] == 0.025
    assert result["largest_joint_shift_px"] == pytest.approx(0.21 * torso)
    assert (result["joints_moved"], result["joints_moved_far"], result["joints"]) == (3, 2, 14)
    assert result["pck_percent"] == pytest.approx(100 * 13 / 14)
    assert result["pck_difference"] == pytest.approx(-100 / 14)
    assert "pck_percent" not in _compare(found, plain, [truth], FLIC9)
