"""The genJSON layout with its quirks. Oracles: records that the tests write, and the real sample where it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpm_port.annotations.genjson import read_genjson
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError, MissingFileError, ShapeError
from cpm_port.parts import FLIC9, MPII16

EMPTY = {"_ArrayType_": "double", "_ArraySize_": [0, 0], "_ArrayData_": None}
JOINTS = [[float(10 + i), float(20 + i), float(i % 2)] for i in range(16)]


def record(others: int = 0, **changes: Any) -> dict[str, Any]:
    """Return one record as JSONLab writes it for that many other people."""
    around = [[[x + 100 * (k + 1), y, v] for x, y, v in JOINTS] for k in range(others)]
    return {
        "dataset": "MPI", "isValidation": 0.0, "img_paths": "015601864.jpg", "img_width": 1280.0, "img_height": 720.0,
        "objpos": [595.0, 258.0], "joint_self": copy.deepcopy(JOINTS), "scale_provided": 3.021,
        "joint_others": EMPTY if others == 0 else around[0] if others == 1 else around,
        "scale_provided_other": EMPTY if others == 0 else 2.0 if others == 1 else [2.0] * others,
        "objpos_other": EMPTY if others == 0 else [5.0, 6.0] if others == 1 else [[5.0, 6.0]] * others,
        "annolist_index": 5.0, "people_index": 1.0, "numOtherPeople": float(others), **changes,
    }  # fmt: skip


def _read(tmp_path: Path, content: Any) -> list[Sample]:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    return read_genjson(path, tmp_path)


@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_collapsed_lists_are_restored(tmp_path: Path, others: int) -> None:
    (sample,) = _read(tmp_path, [record(others)])
    assert len(sample.others) == others
    for k, person in enumerate(sample.others):
        assert person.joints[0].tolist() == [10 + 100 * (k + 1) - 1, 19]
        assert (person.center, person.scale) == ((4, 5), 2.0)
    assert (sample.image, sample.image_size, sample.split) == (tmp_path / "015601864.jpg", (1280, 720), "train")
    assert (sample.person.center, sample.person.scale) == ((594, 257), 3.021)
    assert sample.person.visible.tolist() == [bool(i % 2) for i in range(16)]


def test_empty_brackets_the_root_key_and_missing_joints(tmp_path: Path) -> None:
    content = record(joint_others=[], scale_provided_other=[], objpos_other=[], isValidation=1.0)
    content["joint_self"][4] = [0.0, 0.0, 0.0]
    (sample,) = _read(tmp_path, {"root": [content]})
    assert sample.split == "validation"
    assert np.isnan(sample.person.joints[4]).all()
    assert sample.person.annotated.sum() == 15


def test_data_of_ones_own_says_its_parts(tmp_path: Path) -> None:
    names = ["head", "left_hand", "right_hand"]
    content = record(1, dataset="FLIC", joint_self=JOINTS[:3], joint_others=JOINTS[:3])
    (sample,) = _read(tmp_path, {"parts": names, "root": [content]})
    assert (sample.order.parts, sample.centric) == (tuple(names), "person")
    assert sample.order.mirrored() == (0, 2, 1)
    assert (len(sample.person.joints), len(sample.others[0].joints)) == (3, 3)


def test_data_of_ones_own_says_what_a_flip_exchanges_and_a_drawing_joins(tmp_path: Path) -> None:
    names = ["head", "paw", "other_paw"]
    told = {"parts": names, "flip_pairs": [["paw", "other_paw"]], "skeleton": [["head", "paw"]]}
    (sample,) = _read(tmp_path, {**told, "root": [record(joint_self=JOINTS[:3])]})
    assert sample.order.mirrored() == (0, 2, 1)
    assert sample.order.limbs == (("head", "paw"),)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"flip_pairs": "paw"}, "flip_pairs: expected a list of pairs of parts"),
        ({"flip_pairs": [["head", "tail"]]}, "flip_pairs: expected two of the parts, found .'head', 'tail'"),
        ({"flip_pairs": [["head", "paw"], ["paw", "foot"]]}, "flip_pairs: the same part twice"),
        ({"skeleton": [["head", "head"]]}, "skeleton: expected two of the parts"),
        ({"skeleton": [["head"]]}, "skeleton: expected two of the parts"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, told: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _read(tmp_path, {"parts": ["head", "paw", "foot"], **told, "root": [record(joint_self=JOINTS[:3])]})


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ("head", "parts: expected a list of names, found 'head'"),
        ([], "expected a list of names"),
        (["head", ""], "expected a list of names"),
        (["head", "head", "hand"], "parts: the same name twice in head, head, hand"),
        (["head", "background"], "a part is called 'background', which is the map of no part; give it another name"),
        (["head", "left, upper"], "a part is called 'left, upper'; expected a name without commas"),
        (["head", " hand"], "a part is called ' hand'; expected a name without"),
        (["head", "ha\nnd"], "expected a name without"),
        (["head", "hand"], r"joint_self: shape \(16, 3\), expected \(2, 3\)"),
    ],
)
def test_parts_names_that_are_none_are_refused(tmp_path: Path, parts: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _read(tmp_path, {"parts": parts, "root": [record()]})


def test_flic_has_nine_observer_centric_joints(tmp_path: Path) -> None:
    (sample,) = _read(tmp_path, [record(dataset="FLIC", joint_self=JOINTS[:9])])
    assert (sample.order, sample.centric) == (FLIC9, "observer")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "expected a list of records, or an object with one under 'root', found an empty list"),
        ([1], "record 1: expected an object, found int"),
        ([record(), {}], "record 2: lacks dataset, isValidation"),
        ([record(dataset="COCO")], "data set 'COCO'; expected one of MPI, LEEDS.*its parts' names beside the records"),
        ([record(dataset={})], "record 1: dataset {}, img_paths '015601864.jpg'; expected two names"),
        ([record(img_paths=7)], "img_paths 7; expected two names"),
        ([record(numOtherPeople=0.5)], "numOtherPeople is 0.5; expected 0, 1, 2"),
        ([record(numOtherPeople=-1)], "numOtherPeople is -1; expected 0, 1, 2"),
        ([record(numOtherPeople=2.0)], r"joint_others: shape .*expected \(2, 16, 3\)"),
        ([record(2, numOtherPeople=1.0)], r"joint_others: shape \(2, 16, 3\), expected \(1, 16, 3\)"),
        ([record(joint_self=JOINTS[:14])], r"joint_self: shape \(14, 3\), expected \(16, 3\)"),
        ([record(joint_self=[*JOINTS[:15], ["_NaN_", 1.0, 1.0]])], "joint_self: a value is not finite"),
        ([record(joint_self=[*JOINTS[:15], [0.0, 0.0, 1.0]])], r"a joint at \(0, 0\) is marked visible"),
        ([record(objpos="here")], "objpos: not an array of numbers"),
    ],
)
def test_contradictions_are_refused_with_their_record(tmp_path: Path, content: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _read(tmp_path, content)


def test_a_file_that_is_no_json_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(DataError, match="not readable JSON"):
        read_genjson(tmp_path / "a.json")
    with pytest.raises(MissingFileError, match="cpm-port records json"):
        read_genjson(tmp_path / "b.json")


def test_the_real_sample(shared: Path) -> None:
    samples = read_genjson(shared / "datasets/mpii_genjson_sample.json")
    assert len(samples) == 168
    assert sum(s.split == "validation" for s in samples) == 16
    assert sum(len(s.others) for s in samples) == 43 + 2 * 11 + 3 * 23 + 4 * 7 + 6 * 20 + 7 * 9
    # the first two records are two people of one image, each the other's neighbour
    first, second = samples[:2]
    assert np.array_equal(first.person.joints, second.others[0].joints, equal_nan=True)
    assert np.array_equal(second.person.visible, first.others[0].visible)


def test_a_person_whose_fields_contradict_each_other_is_refused() -> None:
    joints = np.zeros((16, 2))
    with pytest.raises(ShapeError, match=r"\(16, 2\) and visible \(3,\)"):
        Person(joints, np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="infinite"):
        Person(joints + np.inf, np.ones(16, dtype=bool))
    with pytest.raises(DataError, match="marked visible and has no coordinate"):
        Person(joints * np.nan, np.ones(16, dtype=bool))
    with pytest.raises(ShapeError, match="MPI x: 16 joints, order 'flic9' has 9"):
        Sample("MPI", "x", None, "train", FLIC9, "person", Person(joints, np.ones(16, dtype=bool)))
    assert len(MPII16) == 16
