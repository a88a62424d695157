"""Predictions as COCO keypoint results and as OpenPose output, in and out.

Conventions: both are 0-based pixels and list `x, y, score` per part. A part that is not predicted is `0, 0, 0` (or
NaN), which becomes NaN. Scores without a value are written as 1.

COCO: one file, a list of `{image_id, category_id, keypoints, score}`; `image_id` is the sample's name, an integer where
it is one; `score` is the mean of the parts' scores. The file does not say the parts' order, so reading asks for it.
Tools that expect COCO's own 17 parts get them from predictions brought to `COCO17`. What is read may also be an object
with such a list as `annotations` and `images` (`id`, `file_name`) beside it, as COCO's label files are: then people are
named by their image's file. An image in which nobody was found is not listed.

OpenPose: a folder with one `<name>_keypoints.json` per image, `people[].pose_keypoints_2d` (version 1.0:
`pose_keypoints`). Its models are told by the number of values: BODY_25, COCO (18 parts), MPI (15, which begin with the
14 of `CPM14`); of any other number the order must be stated. An image without people has none of the joints. Scoring
takes one person per image; a file with several is refused. What is written is version 1.3, in the predictions' own
order: in `CPM14` that is what the MPI model writes, without the chest.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.json_text import read_json
from cpm_port.files.names import printable
from cpm_port.parts import BODY25, COCO18, FLIC9, MPI15, Centricity, Convention, Joints, PartOrder
from cpm_port.predictions.values import Predictions

__all__ = ["centricity_of", "natural_key", "read_coco", "read_openpose", "write_coco", "write_openpose"]

_SUFFIX = "_keypoints.json"
_KEYS = ("pose_keypoints_2d", "pose_keypoints")
_LAYOUTS = {3 * len(order): order for order in (MPI15, COCO18, BODY25)}
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
    """Read a COCO keypoint result file; rows in file order, named by `image_id` or the image's file.

    Raises
    ------
    DataError
        Not JSON, not such a list, another number of keypoints than the order has, two people in one image, or an image
        that the file's own `images` lack.
    """
    results, files = read_json(path), None
    if isinstance(results, dict) and {"images", "annotations"} <= set(results):
        results, files = results["annotations"], _file_names(results["images"], path)
    if not isinstance(results, list) or not results:
        raise DataError(f"{path}: expected a list of COCO results")
    rows, names = [], []
    for i, result in enumerate(results):
        if not isinstance(result, dict) or not {"image_id", "keypoints"} <= set(result):
            raise DataError(f"{path}: result {i}: expected 'image_id' and 'keypoints'")
        rows.append(_row(result["keypoints"], convention.order, f"{path}: result {i}"))
        name = str(result["image_id"])
        if files is not None and name not in files:
            raise DataError(f"{path}: result {i}: image_id {name!r} is none of the {len(files)} in 'images'")
        names.append(name if files is None else files[name])
    return replace(_predictions(rows, names, convention, path), only_found=True)


def _file_names(images: Any, path: Path) -> dict[str, str]:
    """Return the file's name of each image by its number."""
    if not isinstance(images, list) or not all(isinstance(i, dict) and {"id", "file_name"} <= set(i) for i in images):
        raise DataError(f"{path}: 'images': expected a list of 'id' and 'file_name'")
    return {str(image["id"]): str(image["file_name"]) for image in images}


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


def read_openpose(folder: Path, order: PartOrder | None = None, centric: Centricity | None = None) -> Predictions:
    """Read a folder of OpenPose files; rows in the order of their names, numbers in them counted as numbers.

    Parameters
    ----------
    folder : path
    order : PartOrder, optional
        Of the parts, where the number of values does not say it. Of a model's layout that holds these parts and more,
        all are read.
    centric : {"person", "observer"}, optional
        Otherwise observer for FLIC, person for the rest.

    Raises
    ------
    DataError
        No such file in the folder, one that is not JSON or not OpenPose's, one with several people, another number of
        values than the order has, or than the files before.
    UsageError
        A number of values that does not say the order.
    """
    files = sorted(folder.glob(f"*{_SUFFIX}"), key=natural_key)
    if not files:
        raise DataError(f"{folder}: no *{_SUFFIX} in it")
    people = [_openpose_person(read_json(file), str(file)) for file in files]
    found = [(file, values) for file, values in zip(files, people, strict=True) if values is not None]
    if not found:
        raise DataError(f"{folder}: not one person in {len(files)} files")
    layout = _layout(len(found[0][1]), order, str(found[0][0]))
    nobody = np.full((len(layout), 3), np.nan)
    rows = [
        nobody if values is None else _row(values, layout, str(file))
        for file, values in zip(files, people, strict=True)
    ]
    names = [printable(file.name).removesuffix(_SUFFIX) for file in files]
    return _predictions(rows, names, Convention(layout, 0, centricity_of(layout, centric)), folder)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return what sorts file names as people count: `2` before `10`."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def centricity_of(order: PartOrder, stated: Centricity | None) -> Centricity:
    """Return whose left and right are meant: as stated, else the observer's for FLIC, the person's for others."""
    return stated or ("observer" if order == FLIC9 else "person")


def _openpose_person(content: Any, where: str) -> list[Any] | None:
    """Return the only person's values; None where there is nobody."""
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise DataError(f"{where}: expected an object with a list 'people'")
    if not people:
        return None
    values = next((people[0][key] for key in _KEYS if key in people[0]), None)
    if len(people) > 1 or not isinstance(values, list):
        raise DataError(f"{where}: expected at most one person, with a list {_KEYS[0]!r}; found {len(people)}")
    return values


def _layout(count: int, order: PartOrder | None, where: str) -> PartOrder:
    """Return the order of a file's parts: as stated, or one of OpenPose's models that has these parts too."""
    known = _LAYOUTS.get(count)
    if order is None:
        if known is None:
            raise UsageError(
                f"{where}: {count} values, which does not say the order of the parts; {_known()}, else state the order"
            )
        return known
    wider = known is not None and count > 3 * len(order) and set(order.parts) <= set(known.parts)
    return known if wider and known is not None else order


def _known() -> str:
    return ", ".join(f"{count} are {order.name}'s" for count, order in _LAYOUTS.items())


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


def _has_keypoints(person: Any) -> bool:
    return isinstance(person, dict) and "pose_keypoints_2d" in person


def _row(values: Any, order: PartOrder, where: str) -> NDArray[np.float64]:
    try:
        flat = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: keypoints are not numbers ({error})") from error
    if flat.shape != (3 * len(order),):
        raise DataError(f"{where}: {flat.size} values, expected {3 * len(order)} for order {order.name!r}")
    row: NDArray[np.float64] = flat.reshape(-1, 3)
    row[(row == 0).all(axis=1) | np.isnan(row[:, :2]).any(axis=1)] = np.nan
    return row


def _predictions(rows: list[NDArray[np.float64]], names: list[str], convention: Convention, path: Path) -> Predictions:
    stacked = np.stack(rows)
    return Predictions(Joints(stacked[..., :2].copy(), convention), stacked[..., 2].copy(), tuple(names), str(path))
