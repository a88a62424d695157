"""Scores by viewpoint: everybody is counted once, where MPII's labels say they face.

Oracles: angles worked by hand, a literal count over made people, and the validation people themselves: labelled
shoulders, wrists and spines must lie as people stand who face so.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.cli import main
from cpm_port.errors import DataError
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.truth import read_truth
from cpm_port.evaluation.viewpoints import VIEWS, by_view, views_of
from cpm_port.parts import MPII16
from cpm_port.predictions.files import read_predictions
from tests.annotations.test_mpii import point, rect, struct
from tests.evaluation.support import drawn_case, drawn_people
from tests.support import ROOT

OFFICIAL = protocol_named("mpii-official")


@pytest.mark.parametrize(
    ("degrees", "view"),
    [
        (0, "camera"), (-22.5, "camera"), (22.4, "camera"), (22.5, "camera, right"), (90, "right"), (180, "away"),
        (-180, "away"), (157.4, "away, right"), (-135, "away, left"), (-90, "left"), (315, "camera, left"),
        (-22.50000001, "camera, left"),
    ],
)  # fmt: skip
def test_a_direction_belongs_to_the_sector_around_it(degrees: float, view: str) -> None:
    assert VIEWS[views_of(np.array([degrees]))[0]] == view


def test_everybody_whose_direction_is_known_is_counted_once() -> None:
    predictions, truth = drawn_case("mpii-official", 60, sigma=20)
    facing = np.random.default_rng(0).choice([0.0, 44, 91, -170, np.nan], 60)
    truth = dataclasses.replace(truth, facing=facing)
    measurement = measure(OFFICIAL, predictions, truth)
    views = by_view(measurement, truth)
    assert list(views) == ["camera", "camera, right", "right", "away"]
    for view, degrees in zip(views, (0.0, 44, 91, -170), strict=True):
        errors = [error for row, at in zip(measurement.errors, facing, strict=True) if at == degrees for error in row]
        assert views[view].total.hits == sum(error <= 0.5 for error in errors)
        assert views[view].total.count == sum(error >= 0 for error in errors)
    assert by_view(measurement, truth.first(len(truth)), 0.2)["away"].threshold == 0.2


def test_labels_without_directions_are_refused() -> None:
    predictions, truth = drawn_case("mpii-official", 5)
    with pytest.raises(DataError, match="drawn labels: says of nobody which way they face"):
        by_view(measure(OFFICIAL, predictions, truth), truth)


def test_the_command_prints_and_draws_the_viewpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three made people, as the validation struct has them: one faces the camera, one the left, one is unsaid."""
    people = drawn_people(MPII16, 3, 1) + 1
    turned: list[dict[str, Any]] = [
        {"torso_r11": "1", "torso_r13": "0.00"},
        {"torso_r11": "-0.01", "torso_r13": "-0.99"},
        {},
    ]
    rows = [
        struct([rect([point(k, tuple(xy)) for k, xy in enumerate(joints)], **more)])
        for joints, more in zip(people, turned, strict=True)
    ]
    for other in ("curves", "cases"):
        monkeypatch.setattr(f"cpm_port.report.pictures.{other}", lambda *_: b"")
    indices = np.arange(1.0, 4)
    labels = {"RELEASE_img_index": indices, "RELEASE_person_index": indices}
    savemat(tmp_path / "truth.mat", {"annolist": struct([{"annorect": row} for row in rows]), **labels})
    savemat(tmp_path / "mine.mat", {"preds": people})
    files = ["--predictions", str(tmp_path / "mine.mat"), "--ground-truth", str(tmp_path / "truth.mat")]
    asked = ["--by-view", "--plots", str(tmp_path), "--json", str(tmp_path / "all.json")]
    assert main(["evaluate", "--protocol", "mpii-official", *files, *asked]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[:2] for line in printed.splitlines() if line.startswith(VIEWS)] == [
        ["camera", "14"],
        ["left", "14"],
    ]
    assert '"views": {\n  "camera"' in (tmp_path / "all.json").read_text()
    assert (tmp_path / "views.svg").stat().st_size > 1000


def test_the_validation_people_stand_as_they_are_said_to_face(shared: Path) -> None:
    """The meaning of MPII's rotation, by the labelled joints; and the table of the paper's page."""
    folder = shared / "datasets/mpii_val"
    truth = read_truth(OFFICIAL.dataset, folder / "tompson_valid_detections.mat")
    facing = truth.facing
    assert facing is not None
    known = np.isfinite(facing)
    assert known.sum() == 878
    joints = dict(zip(MPII16.parts, truth.joints.xy[known].transpose(1, 0, 2), strict=True))
    spine = np.linalg.norm(joints["thorax"] - joints["pelvis"], axis=1)
    shoulders = (joints["left_shoulder"] - joints["right_shoulder"])[:, 0] / spine
    wrists = (joints["left_wrist"] + joints["right_wrist"] - 2 * joints["thorax"])[:, 0] / spine
    radians = np.radians(facing[known])
    assert _correlation(np.cos(radians), shoulders) > 0.7  # who faces the camera has the left on the image's right
    assert _correlation(np.sin(radians), wrists) > 0.5  # and who faces the right has the hands there
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    assert f"| people | {' | '.join(str((views_of(facing) == place).sum()) for place in range(8))} |" in page
    for file, name in {"bearpaw-hg_s2_b1.mat": "hourglass", "tompson.h5": "Tompson et al."}.items():
        views = by_view(measure(OFFICIAL, read_predictions(folder / file, centric="person"), truth), truth)
        assert f"| {name} | {' | '.join(f'{view.total.percent:.1f}' for view in views.values())} |" in page


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    both = np.isfinite(a + b)
    return float(np.corrcoef(a[both], b[both])[0, 1])
