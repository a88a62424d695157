"""Claim: people are written as COCO, OpenPose, MPII, the release and a table have them, and read back the same.

Oracles: this package's own readers of those files, which published files hold to (tests/predictions/test_files.py); and
pycocotools, where it is installed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_port.annotations.boxes import read_boxes
from cpm_port.errors import UsageError
from cpm_port.parts import COCO17, CPM14, LSP14, MPII16, PartOrder, reorder
from cpm_port.predictions.files import read_predictions
from cpm_port.predictions.people_files import (
    PersonRow,
    mpii_record,
    openpose_content,
    parts_left_out,
    read_people_csv,
    write_people,
)


def person(image: str, seed: int) -> PersonRow:
    random = np.random.default_rng(seed)
    joints = random.uniform(0, 100, (14, 2)).round(2)
    return PersonRow(image, CPM14, joints, random.uniform(0.1, 1, 14), (50.0, 60.0), 0.5)


A, B, C = person("photos/1.jpg", 1), person("photos/1.jpg", 2), person("photos/22.jpg", 3)
SEVERAL = {"photos/1.jpg": [A, B], "photos/3.jpg": [], "photos/22.jpg": [C]}
ONE_EACH = {"photos/1.jpg": [A], "photos/22.jpg": [C]}


def test_coco_results_hold_cocos_keypoints(tmp_path: Path) -> None:
    (path,) = write_people("coco", tmp_path, SEVERAL)
    rows = json.loads(path.read_text())
    assert [row["image_id"] for row in rows] == [1, 1, 22]
    assert all(len(row["keypoints"]) == 51 and row["category_id"] == 1 for row in rows)
    nose, shoulder = (np.array(rows[0]["keypoints"]).reshape(17, 3)[COCO17.index(p)] for p in ("nose", "left_shoulder"))
    np.testing.assert_array_equal(nose, 0)
    np.testing.assert_array_equal(shoulder[:2], A.joints[CPM14.index("left_shoulder")])
    low, high = A.joints.min(axis=0), A.joints.max(axis=0)
    assert read_boxes(path).of("1.jpg", (100, 100))[0].box == pytest.approx((*low, *(high - low)))


def test_coco_results_of_own_parts_hold_these(tmp_path: Path) -> None:
    order = PartOrder("own", ("a/b", 'the "tail"', "Pfote"), ())
    horse = PersonRow("1.jpg", order, A.joints[:3], A.scores[:3], A.center, A.scale)
    (path,) = write_people("coco", tmp_path, {"1.jpg": [horse]})
    (row,) = json.loads(path.read_text())
    np.testing.assert_array_equal(np.reshape(row["keypoints"], (3, 3)), np.c_[A.joints[:3], A.scores[:3]])


def test_coco_results_are_read_back(tmp_path: Path) -> None:
    (path,) = write_people("coco", tmp_path, ONE_EACH)
    read = read_predictions(path, order=COCO17)
    np.testing.assert_array_equal(read.joints.xy, reorder(np.stack([A.joints, C.joints]), CPM14, COCO17))


def test_coco_results_load_in_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed (pip install 'cpm_port[coco]')")
    from pycocotools.cocoeval import COCOeval

    (path,) = write_people("coco", tmp_path, SEVERAL)
    rows = json.loads(path.read_text())
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": number} for number in (1, 3, 22)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.parts)}],
        "annotations": [
            {**row, "id": i, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], "num_keypoints": 12}
            for i, row in enumerate(rows, 1)
        ],
    }
    truth.createIndex()
    score = COCOeval(truth, truth.loadRes(str(path)), "keypoints")
    score.evaluate()
    score.accumulate()
    score.summarize()
    assert score.stats[0] == pytest.approx(1.0)


def test_openpose_has_a_file_per_picture_with_the_fields_of_version_1_3(tmp_path: Path) -> None:
    written = write_people("openpose", tmp_path, SEVERAL)
    assert [path.name for path in written] == ["1_keypoints.json", "3_keypoints.json", "22_keypoints.json"]
    content = json.loads(written[0].read_text())
    assert content["version"] == 1.3
    assert set(content["people"][0]) == {
        "person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d",
        "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d",
    }  # fmt: skip
    triples = np.array([p["pose_keypoints_2d"] for p in content["people"]]).reshape(2, 15, 3)
    np.testing.assert_array_equal(triples[:, :14, :2], np.stack([A.joints, B.joints]))
    np.testing.assert_array_equal(triples[:, 14], 0)
    assert json.loads(written[1].read_text())["people"] == []
    assert openpose_content([]) == {"version": 1.3, "people": []}


def test_mpiis_submission_is_read_back(tmp_path: Path) -> None:
    (path,) = write_people("mpii", tmp_path, SEVERAL)
    read = read_predictions(path)
    assert read.names == ("annolist1_1", "annolist1_2", "annolist3_1")
    expected = reorder(np.stack([A.joints, B.joints, C.joints]), CPM14, MPII16)
    np.testing.assert_allclose(read.joints.xy, expected, rtol=0, atol=1e-12)


def test_mpii_has_the_parts_that_it_knows_and_refuses_who_has_none() -> None:
    order = PartOrder("own", ("tail", "neck", "paw"), ())
    horse = PersonRow("1.jpg", order, A.joints[:3], A.scores[:3], A.center, A.scale)
    (rect,) = mpii_record("1.jpg", [horse])["annorect"]
    assert [point["id"] for point in rect["annopoints"]["point"]] == [MPII16.index("neck")]
    assert parts_left_out("mpii", order) == ("tail", "paw")
    assert parts_left_out("coco", order) == parts_left_out("csv", order) == ()
    stranger = replace(horse, order=PartOrder("own", ("tail", "nose", "paw"), ()))
    with pytest.raises(UsageError, match="none of the net's parts has a place in it: tail, nose, paw; expected some"):
        mpii_record("1.jpg", [stranger])


def test_the_releases_file_is_read_back_and_holds_one_person_per_picture(tmp_path: Path) -> None:
    (path,) = write_people("release-mat", tmp_path, ONE_EACH)
    read = read_predictions(path)
    assert read.joints.convention.order == LSP14
    np.testing.assert_allclose(read.joints.xy, reorder(np.stack([A.joints, C.joints]), CPM14, LSP14), atol=1e-12)
    with pytest.raises(UsageError, match=r"photos/1\.jpg: 2 people"):
        write_people("release-mat", tmp_path, SEVERAL)


def test_a_table_is_read_back(tmp_path: Path) -> None:
    (path,) = write_people("csv", tmp_path, SEVERAL)
    read = read_people_csv(path, CPM14)
    assert [row.image for row in read] == ["photos/1.jpg", "photos/1.jpg", "photos/22.jpg"]
    for found, expected in zip(read, (A, B, C), strict=True):
        np.testing.assert_array_equal(found.joints, expected.joints)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected openpose, coco, mpii, release-mat, csv"):
        write_people("xml", tmp_path, SEVERAL)
