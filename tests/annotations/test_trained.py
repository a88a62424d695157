"""Claim: people to train on come with center, scale and image size, and without the test's people.

Oracle: drawn labels. How a scale is found where the data set has none is tests/annotations/test_mpi_like_scale.py's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cpm_port.annotations import trained
from cpm_port.annotations.cleaning import Opinion
from cpm_port.annotations.genjson import read_genjson
from cpm_port.annotations.trained import ScaleRule, TrainedChoices, read_trained
from cpm_port.cli import main
from cpm_port.errors import UsageError
from cpm_port.parts import LSP14
from tests.annotations.test_mpii import EMPTY, point, rect, release
from tests.evaluation.support import drawn_people


def test_lsps_first_thousand_are_trained_on_with_what_records_need(tmp_path: Path) -> None:
    people = drawn_people(LSP14, 2000, 0) * 0.2
    joints = np.concatenate([people + 1, 0 * people[..., :1]], axis=2)
    savemat(tmp_path / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    for i in range(1000):
        Image.new("RGB", (40 + i % 3, 50)).save(tmp_path / f"im{i + 1:04d}.jpg")
    found = read_trained("lsp", tmp_path / "joints.mat", tmp_path).samples
    assert [sample.name for sample in found] == [f"im{i + 1:04d}" for i in range(1000)]
    assert all(sample.person.center is not None and sample.person.scale is not None for sample in found)
    assert [sample.image_size for sample in found[:4]] == [(40, 50), (41, 50), (42, 50), (40, 50)]


def write_extended_set(folder: Path, count: int) -> tuple[Path, Path]:
    """Write so many people of the extended Leeds set, with images."""
    joints = np.concatenate([drawn_people(LSP14, count, 0) * 0.2 + 20, np.ones((count, 14, 1))], axis=2)
    savemat(folder / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    for i in range(count):
        Image.new("RGB", (140, 150)).save(folder / f"im{i + 1:05d}.jpg")
    return folder / "joints.mat", folder


@pytest.mark.parametrize("scale", ["limbs", "box"])
def test_held_out_people_of_the_extended_set_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: ScaleRule
) -> None:
    """Its images 8501 to 9000 are held out; 4 and 5 stand for them here."""
    monkeypatch.setattr(trained, "HELD_OUT", range(4, 6))
    found = read_trained("lspet", *write_extended_set(tmp_path, 7), TrainedChoices(scale=scale))
    numbers = [sample.annolist_index for sample in found.samples]
    assert set(numbers) & {4, 5} == set()
    assert len(numbers) >= 3


def test_people_are_left_out_by_name_and_every_so_many_th_is_for_validation(tmp_path: Path) -> None:
    files = write_extended_set(tmp_path, 9)
    found = read_trained("lspet", *files, TrainedChoices(without=["im00002", "im00006"], validate_every=3))
    assert [s.annolist_index for s in found.samples] == [1, 3, 4, 5, 7, 8, 9]
    assert [s.annolist_index for s in found.samples if s.split == "validation"] == [3, 9]
    with pytest.raises(UsageError, match="expected names of people to train on, got im00010"):
        read_trained("lspet", *files, TrainedChoices(without=["im00010"]))
    with pytest.raises(UsageError, match="expected 2 or more"):
        read_trained("lspet", *files, TrainedChoices(validate_every=1))


def test_labels_are_cleaned_by_a_second_opinion(tmp_path: Path) -> None:
    files = write_extended_set(tmp_path, 3)
    plain = read_trained("lspet", *files).samples
    said = np.stack([sample.person.joints for sample in plain])
    said[1] = said[1][list(LSP14.mirrored())]
    opinion = Opinion(said, np.ones((3, 14)), np.ones(3))
    found = read_trained("lspet", *files, TrainedChoices(opinion=opinion))
    assert [change.name for change in found.changes] == ["im00002"]
    np.testing.assert_array_equal(found.before[1].person.joints, plain[1].person.joints)


def _mpii(folder: Path, images: list[list[dict[str, Any]]]) -> None:
    savemat(folder / "mpii.mat", release(images, [1] * len(images)))
    (folder / "images").mkdir()
    for i in range(len(images)):
        Image.new("RGB", (300, 200)).save(folder / f"images/{i + 1:09d}.jpg")


def _person(shift: float, **changes: Any) -> dict[str, Any]:
    return rect([point(i, (50.0 + 5 * i + shift, 30.0 + 8 * i)) for i in range(16)], **changes)


def _json(folder: Path) -> int:
    labels, images = str(folder / "mpii.mat"), str(folder / "images")
    return main(["records", "json", str(folder / "out.json"), "--set", "mpii", "--labels", labels, "--images", images])


@pytest.mark.parametrize("lacking", ["scale", "objpos"])
def test_one_person_without_scale_or_center_is_left_out_and_changes_nobodys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    _mpii(tmp_path, [[_person(0, scale=0.8)], [_person(3, scale=1.7)], [_person(6, **{lacking: EMPTY})]])
    assert _json(tmp_path) == 0
    assert "2 people\nleft out: 1 people to whom the labels give no center or no scale" in capsys.readouterr().out
    found = read_genjson(tmp_path / "out.json")
    assert [(s.name, s.person.scale, s.person.center) for s in found] == [
        ("000000001_1", 0.8, (100, 200)), ("000000002_1", 1.7, (100, 200)),
    ]  # fmt: skip


def test_a_neighbour_without_scale_and_center_stands_where_its_joints_are(tmp_path: Path) -> None:
    _mpii(tmp_path, [[_person(0, scale=0.8), _person(30, scale=EMPTY, objpos=EMPTY)]])
    assert _json(tmp_path) == 0
    (found,) = read_genjson(tmp_path / "out.json")
    (other,) = found.others
    assert (found.person.scale, found.person.center) == (0.8, (100, 200))
    assert (other.scale, other.center) == (0.8, (79 + 37.5, 29 + 60))  # the middle of the joints' box, 0-based


def test_a_turned_images_size_is_the_one_that_is_seen(tmp_path: Path) -> None:
    _mpii(tmp_path, [[_person(0)]])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200)).save(tmp_path / "images/000000001.jpg", exif=exif)
    (found,) = read_trained("mpii", tmp_path / "mpii.mat", tmp_path / "images").samples
    assert found.image_size == (200, 300)
