"""LSP and LSPET labels: shapes, index base, the two meanings of the third row, centricity, clear refusals.

Oracles: files that the tests write with scipy in the documented layout, and the real files where they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.annotations.lsp import read_lsp, read_lspet
from cpm_port.annotations.samples import stack_joints
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import LSP14, to_observer_centric
from tests.evaluation.support import drawn_people


def _write_lsp(path: Path, xy: np.ndarray, hidden: np.ndarray | None = None) -> Path:
    third = np.zeros(xy.shape[:2]) if hidden is None else hidden
    joints = np.concatenate([xy + 1, third[..., None]], axis=2)
    savemat(path, {"joints": joints.transpose(2, 1, 0)})
    return path


def test_coordinates_shift_and_a_hidden_joint_keeps_its_own(tmp_path: Path) -> None:
    people = drawn_people(LSP14, 4, 0)
    hidden = np.zeros((4, 14))
    hidden[2, 5] = 1
    samples = read_lsp(_write_lsp(tmp_path / "joints.mat", people, hidden), tmp_path)
    assert np.allclose(stack_joints(samples).xy, people)
    assert np.array_equal([sample.person.visible for sample in samples], hidden == 0)
    assert samples[2].person.annotated.all()
    assert [sample.split for sample in samples] == ["test"] * 4
    assert samples[3].image == tmp_path / "im0004.jpg"
    with pytest.raises(MissingFileError, match=r"im0004\.jpg is not there"):
        samples[3].require_image()
    with pytest.raises(MissingFileError, match="name no image"):
        read_lsp(tmp_path / "joints.mat")[0].require_image()


def test_small_integers_are_cast_before_anything_is_subtracted(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).integers(0, 200, (3, 14, 5)).astype(np.uint16)
    joints[0, 0, 0] = 0  # 0 - 1 must be -1, not 65535
    savemat(tmp_path / "joints.mat", {"joints": joints})
    assert read_lsp(tmp_path / "joints.mat")[0].person.joints[0, 0] == -1
    savemat(tmp_path / "joints.mat", {"joints": joints.astype(np.uint8)})
    with pytest.raises(DataError, match="'joints' is of class uint8, which loses fractions and all beyond 255"):
        read_lsp(tmp_path / "joints.mat")


def test_lspet_drops_joints_that_are_not_labelled(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).normal(80, 30, (14, 3, 6))
    joints[:, 2] = 1
    joints[0, :, 0] = (0, -26.1, 0)
    savemat(tmp_path / "joints.mat", {"joints": joints})
    samples = read_lspet(tmp_path / "joints.mat", tmp_path)
    assert np.isnan(samples[0].person.joints[0]).all()
    assert not samples[0].person.visible[0]
    assert np.allclose(samples[1].person.joints, joints[:, :2, 1] - 1)
    assert (samples[1].split, samples[1].image) == ("train", tmp_path / "im00002.jpg")


def test_labels_of_the_other_centricity_are_refused(tmp_path: Path) -> None:
    people = drawn_people(LSP14, 300, 1)
    person = _write_lsp(tmp_path / "pc.mat", people)
    observer = _write_lsp(tmp_path / "oc.mat", to_observer_centric(people, LSP14))
    assert len(read_lsp(person)) == len(read_lsp(observer, centric="observer")) == 300
    with pytest.raises(
        DataError, match=r"expected person-centric labels, these are observer-centric: 0\.0 % of 300 people"
    ):
        read_lsp(observer)
    with pytest.raises(DataError, match="these are person-centric"):
        read_lsp(person, centric="observer")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"points": np.zeros((3, 14, 4))}, "no variable 'joints'; found points"),
        ({"joints": np.zeros((3, 13, 4))}, "'joints' is 3 x 13 x 4, expected 3 x 14 x N"),
        ({"joints": np.zeros((14, 3, 4))}, "14 x 3 x 4"),
        ({"joints": np.array(["a"])}, "not an array of numbers"),
        ({"joints": np.full((3, 14, 4), np.nan)}, "image 1, right_ankle: coordinate is not finite"),
    ],
)
def test_another_content_is_refused(tmp_path: Path, content: dict[str, np.ndarray], match: str) -> None:
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(DataError, match=match):
        read_lsp(tmp_path / "joints.mat")


def test_files_that_are_missing_broken_or_of_version_7_3_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="get it from the LSP data set"):
        read_lsp(tmp_path / "joints.mat")
    whole = _write_lsp(tmp_path / "joints.mat", drawn_people(LSP14, 4, 0)).read_bytes()
    for broken in (b"", b"MATLAB", whole[: len(whole) // 2], bytes(128) + whole[128:]):
        (tmp_path / "joints.mat").write_bytes(broken)
        with pytest.raises(DataError, match=r"joints\.mat"):
            read_lsp(tmp_path / "joints.mat")
    (tmp_path / "joints.mat").write_bytes(whole[:124] + b"\x00\x02IM" + whole[128:])
    with pytest.raises(DataError, match=r"saved with -v7\.3"):
        read_lsp(tmp_path / "joints.mat")


def test_the_real_files(shared: Path) -> None:
    folder = shared / "datasets/lsp"
    person = read_lsp(folder / "lsp-joints-PC.mat", shared / "datasets/lsp_test_images")
    assert [sum(s.split == split for s in person) for split in ("train", "test")] == [1000, 1000]
    assert sum(s.image.is_file() for s in person) == 6
    observer = read_lsp(folder / "lsp-joints-OC.mat", centric="observer")
    differ = sum(not np.array_equal(a.person.joints, b.person.joints) for a, b in zip(person, observer, strict=True))
    assert differ == 756  # 376 for training, 380 for testing
    with pytest.raises(DataError, match=r"7\.4 %"):
        read_lsp(folder / "lsp-joints-OC.mat")
    extended = read_lspet(shared / "datasets/lspet_dataset/joints.mat", shared / "datasets/lspet_dataset/images")
    assert len(extended) == 9000
    assert extended[8999].image.is_file()
