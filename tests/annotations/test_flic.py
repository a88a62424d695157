"""FLIC labels: which of the 29 coordinates count, centricity, center and scale, clear refusals.

Oracles: files that the tests write in the documented layout of `examples.mat` and of the hourglass h5 (neither was at
hand), and the real observer-centric and raw files where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.annotations.flic import read_flic, read_flic_h5, read_flic_raw_test
from cpm_port.annotations.samples import stack_joints
from cpm_port.errors import DataError, MissingFileError
from cpm_port.parts import FLIC9, Convention, to_observer_centric
from tests.evaluation.support import drawn_people

COLUMNS = [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]  # the labelled ones of 29, as in flic-joints-oc.mat
FIELDS = ("poselet_hit_idx", "moviename", "coords", "filepath", "imgdims", "currframe", "torsobox", "istrain", "istest")


def _examples(people: np.ndarray, **changes: Any) -> np.ndarray:
    """Return the struct array that MATLAB would save; eyes are put beside the head, and must not matter."""
    records = np.empty((1, len(people)), dtype=[(name, object) for name in FIELDS])
    for i, joints in enumerate(people):
        eleven = np.concatenate([joints[:8], joints[8:] - 5, joints[8:] + 5, joints[8:]]) + 1
        coords = np.full((2, 29), np.nan)
        coords[:, COLUMNS] = eleven.T
        values = {
            "poselet_hit_idx": np.zeros((2, 1)), "moviename": "film", "coords": coords, "filepath": f"film-{i}.jpg",
            "imgdims": np.array([[480.0, 720.0, 3.0]]), "currframe": 1.0, "torsobox": np.array([[11.0, 21, 31, 121]]),
            "istrain": i % 3 == 0, "istest": i % 3 == 1, **changes,
        }  # fmt: skip
        for name in FIELDS:
            records[0, i][name] = values[name]
    return records


def test_examples_are_read_and_eyes_dropped(tmp_path: Path) -> None:
    people = drawn_people(FLIC9, 9, 0)
    savemat(tmp_path / "examples.mat", {"examples": _examples(people)})
    samples = read_flic(tmp_path / "examples.mat", tmp_path)
    assert np.allclose(stack_joints(samples).xy, people)
    assert [s.split for s in samples[:3]] == ["train", "test", "validation"]
    sample = samples[1]
    assert (sample.centric, sample.image, sample.image_size) == ("person", tmp_path / "film-1.jpg", (720, 480))
    assert sample.person.torso_box == (10, 20, 30, 120)
    assert sample.person.center == pytest.approx((20, 0.7 * 20 + 0.3 * 120))
    assert sample.person.scale == pytest.approx(0.0110 * 100)


def test_the_variable_says_the_centricity_and_the_labels_must_agree(tmp_path: Path) -> None:
    people = drawn_people(FLIC9, 240, 0)
    observer = to_observer_centric(people, FLIC9)
    savemat(tmp_path / "oc.mat", {"flic_anno": _examples(observer)})
    assert read_flic(tmp_path / "oc.mat")[0].centric == "observer"
    savemat(tmp_path / "wrong.mat", {"flic_anno": _examples(people)})
    with pytest.raises(DataError, match=r"expected observer-centric labels, these are person-centric: 33\.3 % of 240"):
        read_flic(tmp_path / "wrong.mat")
    savemat(tmp_path / "wrong.mat", {"examples": _examples(observer)})
    with pytest.raises(DataError, match="these are observer-centric"):
        read_flic(tmp_path / "wrong.mat")


def _without(name: str) -> np.ndarray:
    records = _examples(drawn_people(FLIC9, 2, 0))
    kept = [field for field in FIELDS if field != name]
    fewer = np.empty(records.shape, dtype=[(field, object) for field in kept])
    for field in kept:
        fewer[field] = records[field]
    return fewer


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"joints": np.zeros((2, 2))}, "no variable 'examples' or 'flic_anno'; found joints"),
        ({"examples": np.zeros((1, 3))}, "expected a struct with field 'coords'"),
        ({"examples": _without("torsobox")}, r"examples\(1\): field 'torsobox' is missing; found .*istest"),
        ({"examples": _without("coords")}, "field 'coords' is missing"),
        ({"examples": _examples(drawn_people(FLIC9, 2, 0), coords=np.zeros((2, 11)))}, r"'coords' is \(2, 11\)"),
        (
            {"examples": _examples(drawn_people(FLIC9, 2, 0), coords=np.zeros((2, 29)))},
            "29 joints are labelled, expected 11",
        ),
        ({"examples": _examples(drawn_people(FLIC9, 2, 0), torsobox=np.zeros((1, 3)))}, "'torsobox' is not four"),
        ({"examples": _examples(drawn_people(FLIC9, 2, 0), istest=np.zeros((0, 0)))}, "istest: expected one number"),
        ({"examples": _examples(drawn_people(FLIC9, 2, 0), filepath=3.0)}, "filepath: expected one string"),
        ({"examples": _examples(drawn_people(FLIC9, 2, 0), imgdims=1.0)}, "'imgdims' has 1 numbers"),
    ],
)
def test_a_struct_of_another_layout_is_refused(tmp_path: Path, variables: dict[str, Any], match: str) -> None:
    savemat(tmp_path / "examples.mat", variables)
    with pytest.raises(DataError, match=match):
        read_flic(tmp_path / "examples.mat")


def test_the_raw_test_joints_and_the_h5(tmp_path: Path) -> None:
    people = drawn_people(FLIC9, 5, 0)
    twelve = np.concatenate([people[:, :8], people[:, 8:], people[:, 8:], people[:, 8:], people[:, :1]], axis=1) + 1
    savemat(tmp_path / "raw.mat", {"joints": twelve.transpose(2, 1, 0)})
    assert np.allclose(stack_joints(read_flic_raw_test(tmp_path / "raw.mat")).xy, people)
    with h5py.File(tmp_path / "test.h5", "w") as file:
        file["part"] = twelve[:, :11]
        file["imgname"] = [f"film-{i}.jpg".encode() for i in range(5)]
        file["center"] = np.full((5, 2), 51.0)
        file["scale"] = np.full(5, 1.5)
        file["torsobox"] = np.tile([11.0, 21, 31, 121], (5, 1))
    (sample, *_) = read_flic_h5(tmp_path / "test.h5", tmp_path)
    assert np.allclose(sample.person.joints, people[0])
    assert (sample.person.center, sample.person.scale) == ((50, 50), 1.5)
    assert (sample.image, sample.person.torso_box) == (tmp_path / "film-0.jpg", (10, 20, 30, 120))
    with h5py.File(tmp_path / "test.h5", "a") as file:
        del file["torsobox"]
    with pytest.raises(DataError, match="no data set 'torsobox'; found center, imgname"):
        read_flic_h5(tmp_path / "test.h5")
    with pytest.raises(MissingFileError, match="get it from the FLIC"):
        read_flic(tmp_path / "none.mat")


def test_the_real_files_agree(shared: Path) -> None:
    observer = [s for s in read_flic(shared / "datasets/flic/flic-joints-oc.mat") if s.split == "test"]
    raw = read_flic_raw_test(shared / "datasets/flic/FLIC-joints-raw-test.mat")
    assert len(observer) == len(raw) == 1016
    converted = stack_joints(raw).to(Convention(FLIC9, 0, "observer")).xy
    assert np.array_equal(converted, stack_joints(observer).xy)
    assert (stack_joints(raw).xy != converted).any(axis=(1, 2)).sum() == 48
