"""Labels and a second opinion. Oracle: cases whose right answer is plain, one rule each; the real set's counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cpm_port.annotations.cleaning import Change, Opinion, clean, read_opinion, summarize, unit_of
from cpm_port.annotations.lspet import read_not_held_out
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import LSP14, MPII16

SIZE = (200, 300)
# somebody who faces us, in LSP's order of parts
UPRIGHT = np.array(
    [[80, 280], [82, 220], [85, 160], [115, 160], [118, 220], [120, 280], [50, 150], [60, 120], [75, 80], [125, 80],
     [140, 120], [150, 150], [100, 70], [100, 30]], float
)  # fmt: skip
MIRRORED = list(LSP14.mirrored())


def sample(joints: NDArray[np.float64], number: int = 1) -> Sample:
    person = Person(joints, np.isfinite(joints[:, 0]), (100.0, 150.0), 1.25)
    return Sample("LSPET", f"im{number:05d}", None, "train", LSP14, "person", person, (), SIZE, number)


def opinion(joints: NDArray[np.float64] = UPRIGHT, visibility: float = 0.95, presence: float = 1.0) -> Opinion:
    return Opinion(joints[None], np.full((1, 14), visibility), np.array([presence]))


def cleaned(joints: NDArray[np.float64], said: Opinion | None = None) -> tuple[Person, Change]:
    kept, changes = clean([sample(joints)], said or opinion())
    assert len(kept) == len(changes) == 1
    return kept[0].person, changes[0]


def without(*parts: int) -> NDArray[np.float64]:
    joints = UPRIGHT.copy()
    joints[list(parts)] = np.nan
    return joints


def test_labels_that_the_opinion_confirms_stay() -> None:
    labels = UPRIGHT + np.random.default_rng(0).normal(0, 3, UPRIGHT.shape)
    kept, changes = clean([sample(labels)], opinion())
    np.testing.assert_array_equal(kept[0].person.joints, labels)
    assert changes == []


def test_exchanged_sides_are_exchanged_back() -> None:
    person, change = cleaned(UPRIGHT[MIRRORED])
    np.testing.assert_array_equal(person.joints, UPRIGHT)
    assert change == Change("im00001", swapped=True)


def test_a_flag_goes_with_its_joint_when_sides_are_exchanged() -> None:
    labels = UPRIGHT[MIRRORED]
    person = Person(labels, np.arange(14) != 0, (100.0, 150.0), 1.25)  # the label called right ankle is hidden
    kept, _ = clean([replace(sample(labels), person=person)], opinion())
    assert np.flatnonzero(~kept[0].person.visible).tolist() == [LSP14.index("left_ankle")]


def test_upside_down_people_need_more_joints_for_an_exchange() -> None:
    """Of the pairs, hips and knees alone are sure, so four joints gain: enough upright, not upside down."""
    inverted = UPRIGHT * [1, -1] + [0, 300]
    visibility = np.full((1, 14), 0.95)
    visibility[0, 5:12] = 0.1
    visibility[0, 0] = 0.1
    for joints, is_swapped in ((UPRIGHT, True), (inverted, False)):
        said = Opinion(joints[None], visibility, np.ones(1))
        _, changes = clean([sample(joints[MIRRORED])], said)
        assert any(change.swapped for change in changes) == is_swapped


def test_a_joint_elsewhere_loses_its_label() -> None:
    labels = UPRIGHT.copy()
    labels[0] = [20, 40]
    person, change = cleaned(labels)
    assert np.isnan(person.joints[0]).all()
    assert not person.visible[0]
    np.testing.assert_array_equal(person.joints[1:], UPRIGHT[1:])
    assert change == Change("im00001", masked=("right_ankle",))


def test_a_joint_without_a_label_takes_the_opinions_place() -> None:
    person, change = cleaned(without(4, 11))
    np.testing.assert_array_equal(person.joints, UPRIGHT)
    assert person.visible.all()
    assert change == Change("im00001", filled=("left_knee", "left_wrist"))


def test_nothing_is_filled_outside_the_image() -> None:
    said = UPRIGHT.copy()
    said[4] = [118, 320]
    kept, changes = clean([sample(without(4))], opinion(said))
    assert np.isnan(kept[0].person.joints[4]).all()
    assert changes == []


def test_a_person_of_another_pose_is_dropped() -> None:
    labels = UPRIGHT[:, ::-1] * [0.6, 1.4]
    kept, changes = clean([sample(labels)], opinion())
    assert kept == []
    assert changes == [Change("im00001", dropped=True)]


@pytest.mark.parametrize("said", [opinion(visibility=0.8), opinion(presence=0.5), opinion(UPRIGHT * np.nan)])
def test_an_opinion_that_is_not_sure_changes_nothing(said: Opinion) -> None:
    labels = UPRIGHT[MIRRORED]
    kept, changes = clean([sample(labels)], said)
    np.testing.assert_array_equal(kept[0].person.joints, labels)
    assert changes == []


def test_parts_that_the_opinion_lacks_stay() -> None:
    joints = np.full((16, 2), np.nan)
    places = [MPII16.index(part) for part in LSP14.parts]
    joints[places] = UPRIGHT[MIRRORED]
    joints[MPII16.index("pelvis")] = [100, 161]
    person = Person(joints, np.isfinite(joints[:, 0]), (100.0, 150.0), 1.25)
    kept, _ = clean([replace(sample(UPRIGHT), order=MPII16, person=person)], opinion())
    np.testing.assert_array_equal(kept[0].person.joints[places], UPRIGHT)
    assert kept[0].person.joints[MPII16.index("pelvis")].tolist() == [100, 161]


def test_the_unit_is_the_torso_or_a_share_of_the_box() -> None:
    assert unit_of(UPRIGHT, LSP14) == np.hypot(125 - 85, 160 - 80)
    assert unit_of(without(2), LSP14) == 0.4 * 250
    assert unit_of(np.full((14, 2), np.nan), LSP14) == 0


def test_an_image_that_the_opinion_does_not_reach_is_an_error() -> None:
    with pytest.raises(DataError, match="LSPET im00002: image number 2; the second opinion has images 1 to 1"):
        clean([sample(UPRIGHT, 2)], opinion())


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_opinion(tmp_path / "none.npz")
    path = tmp_path / "a.npz"
    np.savez(path, joints=np.zeros((3, 14, 2)), visibility=np.zeros((2, 14)), presence=np.zeros(3))
    with pytest.raises(DataError, match=r"visibility: expected shape \(3, 14\), got \(2, 14\)"):
        read_opinion(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"expected an \.npz file"):
        read_opinion(path)


def test_the_real_sets_labels_are_cleaned_as_the_card_says(shared: Path) -> None:
    """Pinned: what these rules do to the 9000 images at hand, less the held-out ones."""
    folder = shared / "datasets" / "lspet_dataset"
    said = read_opinion(shared / "datasets" / "teacher" / "lspet_00001_10000.npz")
    samples = read_not_held_out(folder / "joints.mat", folder / "images")
    kept, changes = clean(samples, said)
    assert summarize(changes, len(samples)) == (
        "8500 people: 315 swapped, 122 dropped, 2547 joints masked, 6633 filled"
    )
    assert len(kept) == len(samples) - sum(change.dropped for change in changes)
