"""MPII's four sources give the same people; quirks of each are undone; other layouts are refused by name.

Oracles: structs that the tests write in the documented layout of `mpii_human_pose_v1_u12_1.mat` (which was not at
hand), and the real validation files where they are, held against each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.annotations.mpii import read_mpii, read_mpii_detections, read_mpii_hourglass, read_mpii_validation
from cpm_port.annotations.samples import stack_joints
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import MPII16
from tests.evaluation.support import drawn_people

EMPTY = np.zeros((0, 0))


def struct(rows: list[dict[str, Any]]) -> np.ndarray:
    """Return a 1 x N struct array with the fields of the first row."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[0, i][name] = value
    return array


def point(i: int, xy: tuple[float, float], visible: Any = 1.0) -> dict[str, Any]:
    return {"x": xy[0], "y": xy[1], "id": float(i), "is_visible": visible}


def rect(points: list[dict[str, Any]] | None, **changes: Any) -> dict[str, Any]:
    return {
        "x1": 11.0, "y1": 21.0, "x2": 41.0, "y2": 61.0,
        "annopoints": EMPTY if points is None else struct([{"point": struct(points)}]),
        "scale": 2.5, "objpos": struct([{"x": 101.0, "y": 201.0}]), **changes,
    }  # fmt: skip


def release(images: list[list[dict[str, Any]]], train: list[int], **fields: Any) -> dict[str, Any]:
    annolist = struct(
        [
            {"image": struct([{"name": f"{i + 1:09d}.jpg"}]), "annorect": struct(people) if people else EMPTY}
            for i, people in enumerate(images)
        ]
    )
    return {"RELEASE": struct([{"annolist": annolist, "img_train": np.array([train], dtype=float), **fields}])}


def _save(path: Path, variables: dict[str, Any]) -> Path:
    savemat(path, variables)
    return path


def test_people_of_training_images_with_their_neighbours(tmp_path: Path) -> None:
    first = rect([point(0, (31, 41)), point(9, (51, 61), EMPTY), point(8, (52, 71), "1"), point(3, (1, 1), "0")])
    second = rect([point(2, (300, 400), 0.0)], objpos=EMPTY, scale=EMPTY)
    third = rect(None)
    path = _save(tmp_path / "mpii.mat", release([[first, second, third], [], [rect(None)]], [1, 1, 0]))
    one, two = read_mpii(path, tmp_path)
    person = one.person
    assert person.joints[0].tolist() == [30, 40]
    assert person.joints[3].tolist() == [0, 0]  # a joint at MATLAB's first pixel is annotated
    assert person.annotated.sum() == 4
    assert [bool(person.visible[i]) for i in (0, 9, 8, 3)] == [True, True, True, False]
    assert (person.center, person.scale, person.head_size) == ((100, 200), 2.5, 0.6 * 50)
    assert (one.image, one.annolist_index, one.people_index) == (tmp_path / "000000001.jpg", 1, 1)
    assert len(one.others) == 1  # the third has no joints
    assert two.person.center is None
    assert two.person.scale is None
    (tested,) = read_mpii(path, split="test")
    assert (tested.annolist_index, tested.people_index, tested.split) == (3, 1, "test")
    assert not tested.person.annotated.any()


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"annolist": EMPTY}, "no variable 'RELEASE'"),
        ({"RELEASE": struct([{"img_train": 1.0}])}, "field 'annolist' is missing; found img_train"),
        (release([[rect(None)]], [1, 1]), "annolist has 1 images, img_train 2"),
        (release([[rect([point(16, (1, 1))])]], [1]), r"annolist\(1\)\.annorect\(1\).*id is 16, expected 0\.\.15"),
        (release([[rect([point(1, (1, 1)), point(1, (2, 2))])]], [1]), "id 1 is listed twice"),
        (release([[rect([{"x": 1.0, "id": 1.0}])]], [1]), "field 'y' is missing"),
        (release([[rect([point(1, (np.nan, 1))])]], [1]), "a coordinate is not finite"),
        (release([[rect([point(1, (1, 1), "yes")])]], [1]), "is_visible is 'yes'"),
        (release([[rect(None, objpos=struct([{"x": 1.0}]))]], [1]), "field 'y' is missing"),
        (release([[rect(None, scale=np.array([[1.0, 2.0]]))]], [1]), "scale: expected one number"),
        (
            release([[rect(None, torso_r11="1", torso_r13="x")]], [1]),
            r"torso_r13: expected one finite number, found \['x'\]",
        ),
    ],
)
def test_another_layout_is_refused_with_its_place(tmp_path: Path, variables: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_mpii(_save(tmp_path / "mpii.mat", variables))


@pytest.mark.parametrize(
    ("toward", "right", "facing"),
    [
        ("1", "0", 0),
        (1.0, -1.0, -45),
        ("-0.5", "0.00", 180),
        ("1e-3", "0.2", 89.7135),
        (0.0, 0.0, None),
        (EMPTY, "1", None),
    ],
)
def test_where_the_torso_faces_is_read_from_its_rotation(
    toward: Any, right: Any, facing: float | None, tmp_path: Path
) -> None:
    person = rect([point(0, (1, 1))], torso_r11=toward, torso_r13=right)
    (sample,) = read_mpii(_save(tmp_path / "mpii.mat", release([[person]], [1])))
    assert sample.person.facing == (None if facing is None else pytest.approx(facing, abs=1e-4))


def _arrays(people: np.ndarray, missing: np.ndarray) -> dict[str, np.ndarray]:
    xy = np.where(missing[..., None], 0, people + 1)
    boxes = np.tile(np.array([[10.0, 20], [40, 60]])[..., None], len(people))
    return {"pos_gt_src": xy.transpose(1, 2, 0), "headboxes_src": boxes, "jnt_missing": missing.T.astype(np.uint8)}


def test_the_arrays_of_pytorch_pose(tmp_path: Path) -> None:
    people = drawn_people(MPII16, 6, 0)
    missing = np.random.default_rng(0).random((6, 16)) < 0.2
    samples = read_mpii_detections(_save(tmp_path / "d.mat", _arrays(people, missing)))
    expected = np.where(missing[..., None], np.nan, people)
    assert np.allclose(stack_joints(samples).xy, expected, equal_nan=True)
    assert samples[0].person.head_size == pytest.approx(30)
    broken = _arrays(people, missing)
    broken["jnt_missing"] = broken["jnt_missing"][:, :5]
    with pytest.raises(DataError, match="'jnt_missing' is 16 x 5, expected 16 x 6"):
        read_mpii_detections(_save(tmp_path / "d.mat", broken))
    with pytest.raises(DataError, match="no variable 'headboxes_src'"):
        read_mpii_detections(_save(tmp_path / "d.mat", {"pos_gt_src": broken["pos_gt_src"]}))


def test_the_hourglass_file_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "valid.h5"
    with h5py.File(path, "w") as file:
        part = np.full((2, 16, 2), 50.0)
        part[0, 3] = 0
        file["part"], file["visible"] = part, np.ones((2, 16))
        file["center"], file["scale"] = np.array([[101.0, 230], [101, 230]]), np.full(2, 2.5)
        file["normalize"], file["index"], file["person"] = np.full(2, 30.0), np.array([6.0, 7]), np.array([0.0, 1])
        file["imgname"] = np.array([list(b"1.jpg\0"), list(b"22.jpg")], dtype=float)  # codes, as older files have it
    one, two = read_mpii_hourglass(path, tmp_path)
    assert (one.image, two.image) == (tmp_path / "1.jpg", tmp_path / "22.jpg")
    assert np.isnan(one.person.joints[3]).all()
    assert not one.person.visible[3]
    assert (one.person.center, one.person.scale, one.person.head_size) == ((100, 199), 2.0, 30)  # 230 - 15 * 2 - 1
    assert (one.annolist_index, two.people_index) == (7, 2)
    with h5py.File(path, "a") as file:
        del file["scale"]
    with pytest.raises(DataError, match="no data set 'scale'"):
        read_mpii_hourglass(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        read_mpii_hourglass(path)
    with pytest.raises(MissingFileError, match="Tompson"):
        read_mpii_hourglass(tmp_path / "none.h5")


def test_the_real_files_hold_the_same_people(shared: Path) -> None:
    folder = shared / "datasets/mpii_val"
    exact = read_mpii_validation(folder / "tompson_valid_detections.mat")
    arrays = read_mpii_detections(folder / "detections_our_format.mat")
    hourglass = read_mpii_hourglass(folder / "valid.h5")
    assert len(exact) == len(arrays) == len(hourglass) == 2958
    a, b, c = (stack_joints(samples).xy for samples in (exact, arrays, hourglass))
    assert np.array_equal(np.isnan(a), np.isnan(b))
    assert np.array_equal(np.isnan(a), np.isnan(c))
    corrupt = (np.abs(a - b) > 0.01).any(axis=2)
    assert corrupt.sum() == 13
    cut_to_integers = np.trunc(np.round(a + 1, 6)) - 1  # as head top and upper neck are
    assert np.nanmax(np.abs(cut_to_integers - c)[:, [8, 9]]) == 0
    assert np.nanmax(np.abs(a - c)[:, :8]) < 1e-6
    for one, other in zip(exact, hourglass, strict=True):
        assert (one.annolist_index, one.people_index) == (other.annolist_index, other.people_index)
        assert np.array_equal(one.person.visible, other.person.visible)
        assert one.person.center == pytest.approx(other.person.center, abs=1e-6)
        assert one.person.scale == pytest.approx(other.person.scale, abs=1e-6)
        assert one.person.head_size == pytest.approx(other.person.head_size, abs=1e-4)
