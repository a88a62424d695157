"""Claim: boxes are read as COCO, OpenPose, YOLO and plain tables have them, by the images' names.

Oracle: cases worked by hand, from the formats' own descriptions.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpm_port.annotations.boxes import read_boxes
from cpm_port.errors import DataError, MissingFileError

SIZE = (100, 200)
KEYPOINTS = [10, 20, 2, 0, 0, 0, 30, 60, 1]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def boxes(path: Path, image: str) -> list[tuple[float, ...]]:
    return [named.box for named in read_boxes(path).of(image, SIZE)]


def test_coco_annotations_know_images_by_their_files(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "folder/a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"image_id": 8, "category_id": 1, "keypoints": KEYPOINTS},
            {"image_id": 7, "category_id": 3, "bbox": [5, 5, 5, 5]},
        ],
    }
    path = write(tmp_path / "coco.json", content)
    assert boxes(path, "photos/a.jpg") == [(1, 2, 3, 4)]
    assert boxes(path, "b.jpg") == [(10, 20, 20, 40)]
    assert boxes(path, "c.jpg") == []


def test_coco_results_know_images_by_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "results.json", [{"image_id": 42, "bbox": [1, 2, 3, 4], "score": 0.5}])
    assert boxes(path, "000000000042.jpg") == [(1, 2, 3, 4)]
    assert read_boxes(path).of("42.png", SIZE)[0].score == 0.5


def test_openpose_people_have_the_boxes_of_their_known_keypoints(tmp_path: Path) -> None:
    nobody = {"pose_keypoints_2d": [0] * 9}
    write(tmp_path / "a_keypoints.json", {"version": 1.3, "people": [{"pose_keypoints_2d": KEYPOINTS}, nobody]})
    assert boxes(tmp_path, "a.png") == [(10, 20, 20, 40)]
    assert boxes(tmp_path / "a_keypoints.json", "a.png") == [(10, 20, 20, 40)]


def test_yolos_shares_become_px(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "0 0.5 0.5 0.25 0.5 0.9\n2 0.1 0.1 0.1 0.1\n")
    assert boxes(tmp_path / "a.txt", "a.jpg") == [(75.0, 25.0, 50.0, 50.0)]


def test_a_table_names_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", "score,image,x,y,width,height\n0.25,a.jpg,1,2,3,4\n,a.jpg,5,6,7,8\n")
    assert boxes(path, "a.jpg") == [(1, 2, 3, 4), (5, 6, 7, 8)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "not readable JSON"),
        ("a.json", {"images": 3, "annotations": []}, "'images': a list"),
        ("a.json", {"a": 1}, "'annotations', expected"),
        ("a.json", [{"image_id": 1}], "entry 0: 'image_id', and 'bbox' or 'keypoints'"),
        ("a.json", [{"image_id": 1, "bbox": [1, 2, 0, 4]}], "a box of 0 x 4"),
        ("a.json", [{"image_id": 1, "bbox": [1, 2, "x", 4]}], "'x', expected a number"),
        ("a.json", [{"image_id": 1, "keypoints": [1, 2]}], "a list of x, y, score"),
        ("a.txt", "0 0.5 0.5\n", "line 1: '0 0.5 0.5'"),
        ("a.csv", "image,x,y\n", "lacks width, height"),
        ("a.csv", "image,x,y,width,height\na,1,2,3,nan\n", "line 2: 'nan'"),
        ("a.xml", "", r"expected \.json"),
    ],
)
def test_what_is_none_of_these_is_refused(name: str, content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_boxes(write(tmp_path / name, content))


def test_an_absent_file_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file of boxes"):
        read_boxes(tmp_path / "absent.json")
    with pytest.raises(DataError, match="neither"):
        read_boxes(tmp_path)
