"""Prediction files: every kind is read for what it is, what is written is read back, what does not fit is refused.

Oracles: files that the tests write with scipy, h5py and json in the documented layouts; the real files where they are.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from cpm_port.annotations.mpii import read_mpii
from cpm_port.errors import DataError, MissingFileError, ShapeError, UsageError
from cpm_port.parts import (
    BODY25,
    COCO17,
    COCO18,
    CPM14,
    FLIC9,
    LSP14,
    MPI15,
    MPII16,
    Convention,
    Joints,
    PartOrder,
    reorder,
)
from cpm_port.predictions.files import read_predictions, write_predictions
from cpm_port.predictions.image_results import ImageResult
from cpm_port.predictions.mat_files import write_mpii_submission
from cpm_port.predictions.result_parts import PLACES, FileRecord, JointRecord, ModelRecord, SearchRecord
from cpm_port.predictions.values import Predictions
from tests.annotations.test_mpii import point, rect, release

NAMES = ("1001", "im2", "im3")


def _drawn(order: PartOrder, *, scores: bool = True, names: bool = True) -> Predictions:
    draw = np.random.default_rng(len(order))
    return Predictions(
        Joints(draw.normal(100, 30, (3, len(order), 2)), Convention(order)),
        draw.random((3, len(order))) if scores else None,
        NAMES if names else None,
    )


def _same(a: Predictions, b: Predictions) -> None:
    assert a.joints.convention == b.joints.convention
    assert np.array_equal(a.joints.xy, b.joints.xy, equal_nan=True)
    assert (a.scores is None) == (b.scores is None)
    assert a.scores is None or np.array_equal(a.scores, b.scores, equal_nan=True)
    assert a.names == b.names


@pytest.mark.parametrize("order", [CPM14, MPII16, FLIC9], ids=lambda order: order.name)
@pytest.mark.parametrize("scores", [False, True])
def test_an_h5_keeps_everything_and_says_what_it_holds(tmp_path: Path, order: PartOrder, scores: bool) -> None:
    made = _drawn(order, scores=scores, names=scores)
    write_predictions(tmp_path / "p.h5", made)
    _same(read_predictions(tmp_path / "p.h5"), made)
    _same(read_predictions(tmp_path / "p.h5", order=order, base=0, centric="person"), made)
    with pytest.raises(DataError, match="its own centric is 'person', expected 'observer'"):
        read_predictions(tmp_path / "p.h5", centric="observer")
    with pytest.raises(DataError, match="its own base is 0"):
        read_predictions(tmp_path / "p.h5", base=1)


def test_an_h5_of_another_base_is_brought_to_ours(tmp_path: Path) -> None:
    made = _drawn(LSP14)
    write_predictions(tmp_path / "p.h5", made.to(Convention(LSP14, 1)))
    assert np.allclose(read_predictions(tmp_path / "p.h5").joints.xy, made.joints.xy)
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file.attrs["order"] = "lsp15"
    with pytest.raises(DataError, match="order 'lsp15'"):
        read_predictions(tmp_path / "p.h5")


@pytest.mark.parametrize("reverse", [False, True])
def test_an_h5_of_others_is_one_based_and_may_be_reversed(tmp_path: Path, reverse: bool) -> None:
    xy = np.random.default_rng(0).normal(100, 30, (5, 16, 2))
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["preds"] = (xy + 1).transpose(2, 1, 0) if reverse else xy + 1
    read = read_predictions(tmp_path / "p.h5")
    assert np.allclose(read.joints.xy, xy)
    assert read.joints.convention == Convention(MPII16)
    assert np.allclose(read_predictions(tmp_path / "p.h5", base=0).joints.xy, xy + 1)
    with pytest.raises(DataError, match="16 parts, order 'lsp14' has 14"):
        read_predictions(tmp_path / "p.h5", order=LSP14)


@pytest.mark.parametrize(("order", "centric"), [(LSP14, "person"), (FLIC9, "observer")])
def test_the_releases_mat_of_small_integers(tmp_path: Path, order: PartOrder, centric: str) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (len(order), 2, 7)).astype(np.uint8)
    stored[0, 0, 0] = 0
    savemat(tmp_path / "p.mat", {"prediction_all": stored})
    read = read_predictions(tmp_path / "p.mat")
    assert read.joints.convention == Convention(order, 0, centric)
    assert read.joints.xy[0, 0, 0] == -1  # not 255
    assert np.array_equal(read.joints.xy, stored.transpose(2, 0, 1).astype(float) - 1)


def test_prediction_all_is_written_and_read_back(tmp_path: Path) -> None:
    made = _drawn(LSP14, scores=False, names=False)
    write_predictions(tmp_path / "p.mat", made)
    assert loadmat(tmp_path / "p.mat")["prediction_all"].shape == (14, 2, 3)
    assert np.allclose(read_predictions(tmp_path / "p.mat").joints.xy, made.joints.xy)
    assert read_predictions(tmp_path / "p.mat", order=CPM14, centric="observer").joints.convention == Convention(
        CPM14, 0, "observer"
    )


def test_mats_of_other_codes(tmp_path: Path) -> None:
    xy = np.random.default_rng(0).normal(100, 30, (4, 16, 2))
    for variable, stored in (("preds", xy + 1), ("pos_pred_src", (xy + 1).transpose(1, 2, 0))):
        savemat(tmp_path / "p.mat", {variable: stored})
        assert np.allclose(read_predictions(tmp_path / "p.mat").joints.xy, xy)
    cells = np.empty((1, 2), dtype=object)
    cells[0, :] = [np.array([[11.0, 21], [31, 41]]), np.array([[12.0, 22], [32, 42]])]
    names = np.array([["head", "rank"]], dtype=object)
    savemat(tmp_path / "p.mat", {"keypointsAll": cells, "output_joints": names})
    read = read_predictions(tmp_path / "p.mat").joints.xy
    assert read[1, MPII16.index("right_ankle")].tolist() == [31, 41]
    assert np.isnan(read[:, 1]).all()
    savemat(tmp_path / "p.mat", {"keypointsAll": cells, "output_joints": np.array([["head", "tail"]], dtype=object)})
    with pytest.raises(DataError, match="unknown output_joints tail"):
        read_predictions(tmp_path / "p.mat")


def test_a_submission_fills_the_struct_and_is_read_back(tmp_path: Path) -> None:
    test_rect = {name: value for name, value in rect(None).items() if name in ("scale", "objpos")}
    content = release([[rect([point(0, (5, 5))])], [test_rect, test_rect], [test_rect]], [1, 0, 0], version="12")
    savemat(tmp_path / "mpii.mat", content)
    samples = read_mpii(tmp_path / "mpii.mat", split="test")
    people = [(s.annolist_index, s.people_index) for s in samples]
    assert people == [(2, 1), (2, 2), (3, 1)]
    made = _drawn(CPM14, scores=False, names=False)
    write_mpii_submission(tmp_path / "s.mat", tmp_path / "mpii.mat", made, people)
    read = read_predictions(tmp_path / "s.mat")
    assert read.names == ("annolist1_1", "annolist2_1", "annolist2_2", "annolist3_1")
    expected = reorder(made.joints.xy, CPM14, MPII16)
    assert np.allclose(read.joints.xy[1:], expected, equal_nan=True)
    stored = loadmat(tmp_path / "s.mat")["RELEASE"][0, 0]["annolist"][0, 2]["annorect"][0, 0]["annopoints"][0, 0][
        "point"
    ]
    assert stored.dtype.names == ("x", "y", "id")
    assert stored.size == 14
    assert loadmat(tmp_path / "s.mat")["RELEASE"][0, 0]["version"][0] == "12"
    with pytest.raises(DataError, match="2 annolist indices for 3 predictions"):
        write_mpii_submission(tmp_path / "s.mat", tmp_path / "mpii.mat", made, people[:2])
    with pytest.raises(DataError, match=r"annolist\(3\) has no annorect\(2\)"):
        write_mpii_submission(tmp_path / "s.mat", tmp_path / "mpii.mat", made, [*people[:2], (3, 2)])
    with pytest.raises(DataError, match="annolist has 3 images, prediction 0 is for image 9"):
        write_mpii_submission(tmp_path / "s.mat", tmp_path / "mpii.mat", made, [(9, 1)] * 3)


@pytest.mark.parametrize("target", ["p.json", "openpose"])
def test_json_kinds_are_written_and_read_back(tmp_path: Path, target: str) -> None:
    made = _drawn(CPM14)
    made.joints.xy[1, 4] = np.nan
    made.scores[1, 4] = np.nan
    write_predictions(tmp_path / target, made)
    _same(read_predictions(tmp_path / target, order=CPM14), made)
    with pytest.raises(UsageError, match="does not say the order"):
        read_predictions(tmp_path / target)
    with pytest.raises(DataError, match="42 values, expected 27 for order 'flic9'"):
        read_predictions(tmp_path / target, order=FLIC9)
    with pytest.raises(UsageError, match="people without names"):
        write_predictions(tmp_path / "q.json", replace(made, names=None))


def test_coco_and_openpose_look_as_their_tools_expect(tmp_path: Path) -> None:
    made = _drawn(CPM14).to(Convention(COCO17))
    write_predictions(tmp_path / "p.json", made)
    first, second, _ = json.loads((tmp_path / "p.json").read_text())
    assert (first["image_id"], second["image_id"], first["category_id"]) == (1001, "im2", 1)
    assert len(first["keypoints"]) == 51
    assert first["keypoints"][:3] == [0, 0, 0]  # no nose
    write_predictions(tmp_path / "op", _drawn(CPM14))
    content = json.loads((tmp_path / "op/im2_keypoints.json").read_text())
    assert content["version"] == 1.3
    assert len(content["people"][0]["pose_keypoints_2d"]) == 42


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "not readable JSON"),
        ("{}", "a list of COCO results"),
        ("[]", "a list of COCO results"),
        ('[{"image_id": 1}]', "result 0: expected 'image_id' and 'keypoints'"),
        ('[{"image_id": 1, "keypoints": ["a"]}]', "keypoints are not numbers"),
        (json.dumps([{"image_id": 1, "keypoints": [1.0] * 42}] * 2), "'1' comes more than once"),
    ],
)
def test_coco_of_another_layout_is_refused(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(DataError, match=match):
        read_predictions(tmp_path / "p.json", order=CPM14)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"people": []}', "not one person in 1 files"),
        ('{"people": [5]}', "expected an object with a list 'people'"),
        ('{"people": null}', "expected an object with a list 'people'"),
        ('{"people": [{"pose_keypoints_2d": 5}]}', "with a list 'pose_keypoints_2d'; found 1"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 42}] * 2}), "at most one person"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 39}]}), "39 values, expected 42 for order 'cpm14'"),
    ],
)
def test_openpose_of_another_layout_is_refused(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / "a_keypoints.json").write_text(content)
    with pytest.raises(DataError, match=match):
        read_predictions(tmp_path, order=CPM14)


@pytest.mark.parametrize("key", ["pose_keypoints_2d", "pose_keypoints"])
@pytest.mark.parametrize("order", [MPI15, COCO18, BODY25], ids=lambda order: order.name)
def test_openposes_models_are_told_by_their_number_of_values(tmp_path: Path, order: PartOrder, key: str) -> None:
    xy = np.arange(2.0 * len(order)).reshape(-1, 2) + 10
    values = np.concatenate([xy, np.full((len(order), 1), 0.5)], axis=1)
    values[3] = 0  # OpenPose's way to say that a part was not found
    (tmp_path / "b10_keypoints.json").write_text(json.dumps({"people": []}))
    (tmp_path / "b2_keypoints.json").write_text(json.dumps({"people": [{key: values.ravel().tolist()}]}))
    stated = CPM14 if order == MPI15 else COCO17
    for read in (read_predictions(tmp_path), read_predictions(tmp_path, order=stated)):
        assert (read.names, read.joints.convention) == (("b2", "b10"), Convention(order))
        assert np.isnan(read.joints.xy[1]).all()
        assert np.isnan(read.joints.xy[0, 3]).all()
        assert np.array_equal(np.delete(read.joints.xy[0], 3, axis=0), np.delete(xy, 3, axis=0))


def test_coco_image_ids_are_named_by_the_files_own_images(tmp_path: Path) -> None:
    people = [{"image_id": i, "keypoints": [float(i)] * 42} for i in (7, 3)]
    images = [{"id": 3, "file_name": "im0001.jpg"}, {"id": 7, "file_name": "im0002.jpg"}]
    (tmp_path / "p.json").write_text(json.dumps({"images": images, "annotations": people}))
    read = read_predictions(tmp_path / "p.json", order=CPM14)
    assert read.names == ("im0002.jpg", "im0001.jpg")
    (tmp_path / "p.json").write_text(json.dumps({"images": images[:1], "annotations": people}))
    with pytest.raises(DataError, match="result 0: image_id '7' is none of the 1 in 'images'"):
        read_predictions(tmp_path / "p.json", order=CPM14)


def _result(name: str, order: PartOrder, xy: np.ndarray) -> str:
    joints = [JointRecord(part, *map(float, at), 0.5) for part, at in zip(order.parts, xy, strict=True)]
    search = SearchRecord((100, 200), "benchmark", (1.0, 2.0), 1.5, (1.0,), 368, order.name)
    model = ModelRecord(FileRecord("a.prototxt", "0"), FileRecord("a.caffemodel", "1"))
    return ImageResult(name, search, tuple(joints), PLACES["rule"], model).text()


def test_what_predict_writes_is_read(tmp_path: Path) -> None:
    xy = np.arange(28.0).reshape(14, 2)
    (tmp_path / "im2.json").write_text(_result("photos/im2.jpg", CPM14, xy))
    (tmp_path / "im10.json").write_text(_result("C:\\photos\\im10.png", CPM14, xy + 1))
    read = read_predictions(tmp_path)
    assert (read.names, read.joints.convention) == (("im2", "im10"), Convention(CPM14))
    assert np.array_equal(read.joints.xy, [xy, xy + 1])
    assert np.array_equal(read.scores, np.full((2, 14), 0.5))
    assert np.array_equal(read_predictions(tmp_path / "im10.json").joints.xy, [xy + 1])
    with pytest.raises(DataError, match="in order 'cpm14', 'lsp14' is stated"):
        read_predictions(tmp_path, order=LSP14)
    (tmp_path / "own.json").write_text(_result("own.png", PartOrder("own", ("hand", "foot"), ()), xy[:2]))
    assert read_predictions(tmp_path / "own.json").joints.convention.order.parts == ("hand", "foot")
    with pytest.raises(DataError, match="results of 2 orders of parts"):
        read_predictions(tmp_path)
    (tmp_path / "own.json").write_text(_result("nobody.png", PartOrder("cpm14", (), ()), xy[:0]))
    found = read_predictions(tmp_path)
    assert found.names == ("im2", "im10", "nobody")
    assert np.isnan(found.joints.xy[2]).all()
    with pytest.raises(DataError, match="nobody in 1 results"):
        read_predictions(tmp_path / "own.json")
    (tmp_path / "own.json").write_text('{"video": "a.mp4"}')
    with pytest.raises(DataError, match=r"own\.json: "):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("parts", "order", "centric"), [(14, LSP14, "person"), (11, FLIC9, "observer"), (9, FLIC9, "observer")]
)
def test_the_benchmarks_own_variable(tmp_path: Path, parts: int, order: PartOrder, centric: str) -> None:
    stored = np.random.default_rng(0).uniform(1, 300, (2, parts, 5))
    savemat(tmp_path / "p.mat", {"pred": stored})
    read = read_predictions(tmp_path / "p.mat")
    assert read.joints.convention == Convention(order, 0, centric)
    kept = [*range(8), 10] if parts == 11 else list(range(parts))  # FLIC's eyes are dropped
    assert np.allclose(read.joints.xy, stored.transpose(2, 1, 0)[:, kept] - 1)


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"predictions": np.zeros((14, 2, 3))}, "no predictions; expected 'prediction_all'.*found predictions"),
        ({"pred": np.zeros((4, 10, 3))}, "'pred' holds sticks"),
        ({"pred": np.zeros((2, 13, 3))}, "'pred' has 13 parts; expected 14"),
        ({"prediction_all": np.zeros((13, 2, 3))}, "'prediction_all' has 13 parts"),
        ({"prediction_all": np.zeros((3, 14, 2))}, "'prediction_all' is 3 x 14 x 2, expected N x 2 x N"),
        ({"preds": np.zeros((5, 14, 2))}, "'preds' is 5 x 14 x 2"),
        ({"keypointsAll": np.zeros((1, 1))}, "without 'output_joints'"),
    ],
)
def test_a_mat_of_another_layout_is_refused(tmp_path: Path, variables: dict[str, Any], match: str) -> None:
    savemat(tmp_path / "p.mat", variables)
    with pytest.raises(DataError, match=match):
        read_predictions(tmp_path / "p.mat")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="are not there"):
        read_predictions(tmp_path / "p.mat")
    (tmp_path / "p.txt").write_text("")
    with pytest.raises(DataError, match="not a known kind"):
        read_predictions(tmp_path / "p.txt")
    with pytest.raises(UsageError, match=r"expected a name ending in \.h5, \.mat or \.json"):
        write_predictions(tmp_path / "p.csv", _drawn(CPM14))
    (tmp_path / "p.h5").write_bytes(b"no h5")
    with pytest.raises(DataError, match="not a readable HDF5"):
        read_predictions(tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["other"] = 1
    with pytest.raises(DataError, match="no data set 'preds'; found other"):
        read_predictions(tmp_path / "p.h5")


def test_scores_and_names_must_fit() -> None:
    made = _drawn(CPM14)
    with pytest.raises(ShapeError, match="scores have shape"):
        replace(made, scores=np.zeros((3, 13)))
    with pytest.raises(ShapeError, match="2 names for 3 people"):
        replace(made, names=("a", "b"))
    with pytest.raises(DataError, match="'a' comes more than once"):
        replace(made, names=("a", "b", "a"))
    moved = made.to(Convention(MPII16))
    assert np.array_equal(moved.scores[:, MPII16.index("neck")], made.scores[:, CPM14.index("neck")])
    assert made.first(2).names == NAMES[:2]


def test_the_real_files(shared: Path) -> None:
    for name, shape in (
        ("LSP_prediction_model_LSP_6s", (1000, 14, 2)),
        ("FLIC_prediction_model_FLIC_4s", (1016, 9, 2)),
    ):
        assert read_predictions(shared / f"release/predictions/{name}.mat").joints.xy.shape == shape
    folder = shared / "datasets/mpii_val"
    arrays = read_predictions(folder / "detections_our_format.mat").joints.xy
    cells = read_predictions(folder / "tompson_valid_detections.mat").joints.xy
    there = np.isfinite(cells)
    assert np.array_equal(arrays[there], cells[there])
    assert np.allclose(read_predictions(folder / "tompson.h5").joints.xy, arrays, atol=1e-3)
