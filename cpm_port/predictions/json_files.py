"""Predictions as COCO keypoint results and as OpenPose output, in and out.

Conventions: both are 0-based pixels and list `x, y, score` per part; neither holds the parts' order, so the reader has
to be given it. A part that is not predicted is `0, 0, 0`. Scores without a value are written as 1.

COCO: one file, a list of `{image_id, category_id, keypoints, score}`; `image_id` is the sample's name, an integer where
it is one; `score` is the mean of the parts' scores. Tools that expect COCO's own 17 parts get them from predictions
brought to `COCO17`.

OpenPose: a folder with one `<name>_keypoints.json` per image, version 1.3, `people[].pose_keypoints_2d`. OpenPose's
15-part MPI layout begins with the 14 parts of `CPM14`, so in that order these files are what its MPI model writes,
without the chest. Scoring takes one person per image; a file with another number is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.parts import Convention, Joints, PartOrder
from cpm_port.predictions.values import Predictions

__all__ = ["read_coco", "read_openpose", "write_coco", "write_openpose"]

_SUFFIX = "_keypoints.json"
_PERSON = 1  # COCO's category


def write_coco(path: str | Path, predictions: Predictions) -> None:
    """Write a COCO keypoint result file.

    Raises
    ------
    UsageError
        The predictions have no names to use as `image_id`.
    """
    names, triples = _triples(predictions)
    results = [
        {
            "image_id": int(name) if name.isdigit() else name,
            "category_id": _PERSON,
            "keypoints": row.ravel().tolist(),
            "score": float(row[:, 2].mean()),
        }
        for name, row in zip(names, triples, strict=True)
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")


def read_coco(path: Path, convention: Convention) -> Predictions:
    """Read a COCO keypoint result file; rows in file order, named by `image_id`.

    Raises
    ------
    DataError
        Not JSON, not such a list, another number of keypoints than the order has, or two people in one image.
    """
    results = _load(path)
    if not isinstance(results, list) or not results:
        raise DataError(f"{path}: expected a list of COCO results")
    rows, names = [], []
    for i, result in enumerate(results):
        if not isinstance(result, dict) or not {"image_id", "keypoints"} <= set(result):
            raise DataError(f"{path}: result {i}: expected 'image_id' and 'keypoints'")
        rows.append(_row(result["keypoints"], convention.order, f"{path}: result {i}"))
        names.append(str(result["image_id"]))
    return _predictions(rows, names, convention, path)


def write_openpose(folder: str | Path, predictions: Predictions) -> None:
    """Write one OpenPose file per person into `folder`.

    Raises
    ------
    UsageError
        The predictions have no names to use as file names.
    """
    names, triples = _triples(predictions)
    for name, row in zip(names, triples, strict=True):
        content = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": row.ravel().tolist()}]}
        with atomic_path(Path(folder) / f"{name}{_SUFFIX}") as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")


def read_openpose(folder: Path, convention: Convention) -> Predictions:
    """Read a folder of OpenPose files; rows in the order of their names.

    Raises
    ------
    DataError
        No such file in the folder, one that is not JSON or not OpenPose's, one without exactly one person, or another
        number of keypoints than the order has.
    """
    files = sorted(folder.glob(f"*{_SUFFIX}"))
    if not files:
        raise DataError(f"{folder}: no *{_SUFFIX} in it")
    rows, names = [], []
    for file in files:
        content = _load(file)
        people = content.get("people") if isinstance(content, dict) else None
        if not isinstance(people, list) or len(people) != 1 or "pose_keypoints_2d" not in people[0]:
            found = len(people) if isinstance(people, list) else "no"
            raise DataError(f"{file}: expected exactly one person with 'pose_keypoints_2d', found {found}")
        rows.append(_row(people[0]["pose_keypoints_2d"], convention.order, str(file)))
        names.append(file.name.removesuffix(_SUFFIX))
    return _predictions(rows, names, convention, folder)


def _triples(predictions: Predictions) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return names and (N, P, 3) x, y, score, 0-based, zeros where nothing is predicted."""
    if predictions.names is None:
        raise UsageError(f"{predictions.source}: people without names cannot be written as JSON results")
    convention = predictions.joints.convention
    xy = predictions.joints.to(Convention(convention.order, 0, convention.centric)).xy
    scores = np.ones(xy.shape[:2]) if predictions.scores is None else predictions.scores
    triples = np.concatenate([xy, scores[..., None]], axis=2)
    triples[np.isnan(triples).any(axis=2)] = 0
    return predictions.names, triples


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error


def _row(values: Any, order: PartOrder, where: str) -> NDArray[np.float64]:
    try:
        flat = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: keypoints are not numbers ({error})") from error
    if flat.shape != (3 * len(order),):
        raise DataError(f"{where}: {flat.size} values, expected {3 * len(order)} for order {order.name!r}")
    row: NDArray[np.float64] = flat.reshape(-1, 3)
    row[(row == 0).all(axis=1)] = np.nan
    return row


def _predictions(rows: list[NDArray[np.float64]], names: list[str], convention: Convention, path: Path) -> Predictions:
    stacked = np.stack(rows)
    return Predictions(Joints(stacked[..., :2].copy(), convention), stacked[..., 2].copy(), tuple(names), str(path))
