"""The extended Leeds set made usable: labels outside the image go, a box gives center and scale, doubtful people go.

Oracle: hand-worked people in small images that the tests write; the real set where it is at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from cpm_port.annotations import lspet
from cpm_port.annotations.lsp import read_lspet
from cpm_port.annotations.lspet import HELD_OUT, contradicts_itself, read_held_out, read_training, with_label_box
from cpm_port.annotations.samples import Person
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.parts import LSP14
from cpm_port.records.genjson import write_genjson
from cpm_port.training.sources import is_path, open_records

# A person who stands upright and faces the viewer, 0-based px, in the order of LSP.
FACING = np.array(
    [
        [40, 110], [42, 85], [44, 60], [56, 60], [58, 85], [60, 110],
        [30, 62], [32, 46], [38, 30], [62, 30], [68, 46], [70, 62],
        [50, 26], [50, 10],
    ],
    dtype=np.float64,
)  # fmt: skip


def write_set(folder: Path, people: list[np.ndarray], labelled: np.ndarray | None = None) -> tuple[Path, Path]:
    """Write a `joints.mat` of the set's layout and grey images of 100 x 120 px."""
    joints = np.zeros((14, 3, len(people)))
    for i, person in enumerate(people):
        joints[:, :2, i] = person + 1
        joints[:, 2, i] = 1
    if labelled is not None:
        joints[:, 2, 0] = labelled
    savemat(folder / "joints.mat", {"joints": joints})
    (folder / "images").mkdir()
    for i in range(len(people)):
        Image.new("RGB", (100, 120), "grey").save(folder / "images" / f"im{i + 1:05d}.jpg")
    return folder / "joints.mat", folder / "images"


def test_center_and_scale_are_the_label_boxs_middle_and_longer_side(tmp_path: Path) -> None:
    sample = with_label_box(read_lspet(*write_set(tmp_path, [FACING]))[0])
    assert sample.person.center == (50.0, 60.0)
    assert sample.person.scale == 100 / 200
    assert sample.image_size == (100, 120)


@pytest.mark.parametrize("outside", [(-1.0, 50.0), (50.0, 119.5), (100.0, 50.0)])
def test_a_label_outside_the_image_counts_as_absent(tmp_path: Path, outside: tuple[float, float]) -> None:
    moved = FACING.copy()
    moved[LSP14.index("left_wrist")] = outside
    person = with_label_box(read_lspet(*write_set(tmp_path, [moved]))[0]).person
    absent = np.isnan(person.joints[:, 0])
    assert absent.tolist() == [part == "left_wrist" for part in LSP14.parts]
    assert not person.visible[LSP14.index("left_wrist")]


def test_people_with_few_labels_or_contradicting_ones_are_not_trained_on(tmp_path: Path) -> None:
    twisted = FACING.copy()
    twisted[[2, 3]] = twisted[[3, 2]]
    few = np.zeros(14)
    few[:5] = 1
    kept = read_training(*write_set(tmp_path, [FACING, FACING, twisted], few))
    assert [sample.name for sample in kept] == ["im00002"]


@pytest.mark.parametrize(
    ("swapped", "expected"),
    [((), False), (("hip",), True), (("shoulder",), True), (("hip", "shoulder"), False), (("knee", "ankle"), False)],
)
def test_shoulders_and_hips_contradict_each_other_only_where_one_pair_is_swapped(
    swapped: tuple[str, ...], expected: bool
) -> None:
    joints = FACING.copy()
    for name in swapped:
        pair = [LSP14.index(f"left_{name}"), LSP14.index(f"right_{name}")]
        joints[pair] = joints[pair[::-1]]
    person = Person(joints, np.ones(14, dtype=bool))
    assert contradicts_itself(person) is expected


def test_a_side_view_or_an_absent_hip_is_no_contradiction() -> None:
    side = FACING.copy()
    side[[2, 3]] = [[51.0, 60.0], [49.0, 60.0]]
    assert not contradicts_itself(Person(side, np.ones(14, dtype=bool)))
    absent = FACING.copy()
    absent[2] = np.nan
    assert not contradicts_itself(Person(absent, np.isfinite(absent[:, 0])))


def test_a_missing_image_and_a_set_without_held_out_people_are_errors(tmp_path: Path) -> None:
    labels, images = write_set(tmp_path, [FACING, FACING])
    with pytest.raises(DataError, match="expected at least 9000 people"):
        read_held_out(labels, images)
    (images / "im00002.jpg").unlink()
    with pytest.raises(MissingFileError, match="im00002"):
        read_training(labels, images)
    (images / "im00002.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"im00002\.jpg: not an image of a known kind"):
        read_training(labels, images)


def test_a_source_line_opens_the_training_people(tmp_path: Path) -> None:
    write_set(tmp_path, [FACING, FACING])
    assert not is_path(f"lspet:{tmp_path}")
    assert is_path(str(tmp_path))
    records = open_records(f"lspet:{tmp_path}")
    assert len(records) == 2
    np.testing.assert_array_equal(records[0].person.objpos, np.float32([50, 60]))


def test_the_real_set_splits_into_8236_and_500(shared: Path) -> None:
    folder = shared / "datasets" / "lspet_dataset"
    training = read_training(folder / "joints.mat", folder / "images")
    held_out = read_held_out(folder / "joints.mat", folder / "images")
    assert (len(training), len(held_out)) == (8236, 500)
    assert held_out[0].name == "im08501"
    assert not {sample.name for sample in training} & {sample.name for sample in held_out}


def test_images_8501_to_9000_are_held_out_of_a_set_of_any_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The full set has 10000 images; numbers stand for it here, as its images are not needed for a split."""
    labels, images = write_set(tmp_path, [FACING] * 7)
    monkeypatch.setattr(lspet, "HELD_OUT", range(4, 6))
    assert [sample.name for sample in read_held_out(labels, images)] == ["im00004", "im00005"]
    trained = [sample.annolist_index for sample in read_training(labels, images)]
    assert trained == [1, 2, 3, 6, 7]
    assert range(8501, 9001) == HELD_OUT


def test_a_source_is_taken_as_often_as_it_says(tmp_path: Path) -> None:
    write_set(tmp_path, [FACING, FACING])
    records = open_records(f"3 * lspet:{tmp_path} + drawn:count=3,size=64")
    assert len(records) == 9
    with pytest.raises(UsageError, match="expected a source taken 1 time or more"):
        open_records("0 * drawn:count=3,size=64")


def test_joined_paths_are_looked_for_one_by_one(tmp_path: Path) -> None:
    write_set(tmp_path, [FACING])
    samples = read_training(tmp_path / "joints.mat", tmp_path / "images")
    for name in ("a.json", "b.json"):
        write_genjson(tmp_path / name, samples)
    asked: list[str] = []

    def locate(path: str) -> Path:
        asked.append(path)
        return tmp_path / path

    assert len(open_records("2 * a.json + b.json", locate=locate)) == 3
    assert asked == ["a.json", "b.json"]
    assert not is_path("2 * a.json + b.json")
    assert not is_path("2 * a.json")


def test_sources_join_in_their_order(tmp_path: Path) -> None:
    write_set(tmp_path, [FACING, FACING])
    records = open_records(f"lspet:{tmp_path} + drawn:count=3,size=64")
    assert len(records) == 5
    assert [records[i].dataset == "LSPET" for i in range(5)] == [True, True, False, False, False]
    alone = open_records("drawn:count=3,size=64")
    np.testing.assert_array_equal(records[4].planes, alone[2].planes)
