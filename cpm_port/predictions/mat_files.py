"""Prediction files of MATLAB code, in and out.

Known variables, told apart by their names; all 1-based MATLAB pixels, 0-based once read:

| variable | layout | who writes it |
| --- | --- | --- |
| `prediction_all` | parts x 2 x N | the authors' release (LSP: order `LSP14`; FLIC: `FLIC9`) |
| `pred` | 2 x 14 x N or 2 x 11 x N | MPII's benchmark of LSP (`LSP14`) and FLIC (of `FLIC11`, `FLIC9` is kept) |
| `preds` | N x 16 x 2 | hourglass and pytorch-pose (`MPII16`) |
| `pos_pred_src` | 16 x 2 x N | pytorch-pose's ground-truth file (`MPII16`; Tompson et al.'s predictions) |
| `keypointsAll`, `output_joints` | N cells of J x 2, J names | Tompson et al. |
| `RELEASE` | the annotation struct with `annorect.annopoints.point` filled | an MPII submission |

`prediction_all` holds integers that MATLAB stores as uint8 or uint16; they are cast before anything is subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError
from cpm_port.files.matlab import field, load_matlab, number, number_array, numeric, save_matlab, text
from cpm_port.parts import FLIC9, FLIC11, LSP14, MPII16, Centricity, Convention, Joints, PartOrder, reorder, to_matlab
from cpm_port.predictions.values import Predictions

__all__ = ["read_prediction_mat", "write_mpii_submission", "write_prediction_all"]

_TOMPSON = {
    "rank": "right_ankle", "rkne": "right_knee", "rhip": "right_hip",
    "lhip": "left_hip", "lkne": "left_knee", "lank": "left_ankle",
    "pelv": "pelvis", "thor": "thorax", "neck": "neck", "head": "head_top",
    "rwri": "right_wrist", "relb": "right_elbow", "rsho": "right_shoulder",
    "lsho": "left_shoulder", "lelb": "left_elbow", "lwri": "left_wrist",
}  # fmt: skip


def read_prediction_mat(
    path: Path, *, order: PartOrder | None = None, centric: Centricity | None = None
) -> Predictions:
    """Read any of the layouts above.

    Parameters
    ----------
    path : path
        The file.
    order : PartOrder, optional
        The order of its parts; by default the layout's own (`prediction_all` and `pred`: LSP14 for 14 parts, FLIC9 for
        9, or for FLIC's 11).
    centric : {"person", "observer"}, optional
        By default observer-centric for FLIC9 (as the release trains and scores FLIC), else person-centric.

    Raises
    ------
    DataError
        Not a MATLAB file, none of the variables, another shape, or another number of parts than `order` has.
    """
    variables = load_matlab(path)
    names = None
    if "prediction_all" in variables:
        xy = numeric(variables, "prediction_all", (None, 2, None), path).transpose(2, 0, 1)
        order = order or {len(LSP14): LSP14, len(FLIC9): FLIC9}.get(xy.shape[1])
        if order is None:
            raise DataError(
                f"{path}: 'prediction_all' has {xy.shape[1]} parts; expected 14 (LSP) or 9 (FLIC), or state the order"
            )
    elif "pred" in variables:
        xy, order = _benchmark(variables, path, order)
    elif "preds" in variables:
        xy, order = numeric(variables, "preds", (None, 16, 2), path), order or MPII16
    elif "pos_pred_src" in variables:
        xy, order = numeric(variables, "pos_pred_src", (16, 2, None), path).transpose(2, 0, 1), order or MPII16
    elif "keypointsAll" in variables:
        xy, order = _tompson(variables, path), MPII16
    elif "RELEASE" in variables:
        xy, names = _submission(variables["RELEASE"], path)
        order = MPII16
    else:
        raise DataError(
            f"{path}: no predictions; expected 'prediction_all', 'pred', 'preds', 'pos_pred_src', 'keypointsAll' or "
            f"'RELEASE', found {', '.join(sorted(variables)) or 'none'}"
        )
    if xy.shape[1] != len(order):
        raise DataError(f"{path}: {xy.shape[1]} parts, order {order.name!r} has {len(order)}")
    convention = Convention(order, 1, centric or ("observer" if order == FLIC9 else "person"))
    joints = Joints(np.ascontiguousarray(xy), convention)
    return Predictions(joints.to(Convention(order, 0, convention.centric)), None, names, str(path))


def write_prediction_all(path: str | Path, predictions: Predictions) -> None:
    """Write `prediction_all` (parts x 2 x N, 1-based doubles) in the predictions' own order.

    The release writes integers because its arg-max gives integers; here values are written as they are.
    """
    xy = to_matlab(predictions.joints.to(_zero_based(predictions)).xy)
    save_matlab(path, {"prediction_all": xy.transpose(1, 2, 0)})


def write_mpii_submission(
    path: str | Path, annotations: str | Path, predictions: Predictions, people: Sequence[tuple[int, int]]
) -> None:
    """Write a copy of MPII's `RELEASE` with the predicted points filled in, as its evaluation server expects.

    Parameters
    ----------
    path : path
        The `.mat` file to write.
    annotations : path
        `mpii_human_pose_v1_u12_1.mat`.
    predictions : Predictions
        In any order that can become `MPII16`; parts that are not predicted are left out of the points.
    people : sequence of (int, int)
        The 1-based `annolist` and `annorect` indices of each prediction (`Sample.annolist_index`, `people_index`).

    Raises
    ------
    DataError
        The annotations are not MPII's, an index is not in them, or there are not as many indices as predictions.
    """
    if len(people) != len(predictions):
        raise DataError(f"{len(people)} annolist indices for {len(predictions)} predictions")
    source = Path(annotations)
    variables = load_matlab(source)
    if "RELEASE" not in variables:
        raise DataError(f"{source}: no variable 'RELEASE'; found {', '.join(sorted(variables)) or 'none'}")
    release = variables["RELEASE"]
    annolist = field(release, "annolist", f"{source}: RELEASE")
    own = predictions.joints.to(_zero_based(predictions))
    xy = to_matlab(reorder(own.xy, own.convention.order, MPII16))
    for row, (image, person) in enumerate(people):
        if not 1 <= image <= annolist.size:
            raise DataError(f"{source}: annolist has {annolist.size} images, prediction {row} is for image {image}")
        entry = annolist.ravel()[image - 1]
        rects = entry["annorect"]
        if rects.dtype.names is None or not 1 <= person <= rects.size:
            raise DataError(f"{source}: annolist({image}) has no annorect({person})")
        if "annopoints" not in rects.dtype.names:
            rects = _with_field(rects, "annopoints")
            entry["annorect"] = rects
        rects.ravel()[person - 1]["annopoints"] = _points(xy[row])
    save_matlab(path, {"RELEASE": release})


def _zero_based(predictions: Predictions) -> Convention:
    convention = predictions.joints.convention
    return Convention(convention.order, 0, convention.centric)


def _benchmark(
    variables: dict[str, NDArray[Any]], path: Path, order: PartOrder | None
) -> tuple[NDArray[np.float64], PartOrder]:
    """Return `pred` as (N, P, 2), and its order, stated or by the number of parts; sticks are refused."""
    if np.shape(variables["pred"])[:1] == (4,):
        raise DataError(f"{path}: 'pred' holds sticks (4 x sticks x N), expected joints, 2 x parts x N")
    xy = numeric(variables, "pred", (2, None, None), path).transpose(2, 1, 0)
    if xy.shape[1] == len(FLIC11) and order in (None, FLIC9):
        return reorder(xy, FLIC11, FLIC9), FLIC9
    if order is not None:
        return xy, order
    own = {len(LSP14): LSP14, len(FLIC9): FLIC9}.get(xy.shape[1])
    if own is None:
        raise DataError(
            f"{path}: 'pred' has {xy.shape[1]} parts; expected 14 (LSP), 11 or 9 (FLIC), or state the order"
        )
    return xy, own


def _tompson(variables: dict[str, NDArray[Any]], path: Path) -> NDArray[np.float64]:
    if "output_joints" not in variables:
        raise DataError(f"{path}: 'keypointsAll' without 'output_joints'")
    labels = [text(cell, f"{path}: output_joints") for cell in variables["output_joints"].ravel()]
    unknown = [label for label in labels if label not in _TOMPSON]
    if unknown:
        raise DataError(f"{path}: unknown output_joints {', '.join(unknown)}")
    cells = variables["keypointsAll"].ravel()
    xy = np.full((len(cells), len(MPII16), 2), np.nan)
    index = [MPII16.index(_TOMPSON[label]) for label in labels]
    for i, cell in enumerate(cells):
        if np.shape(cell) != (len(labels), 2):
            raise DataError(f"{path}: keypointsAll({i + 1}) is {np.shape(cell)}, expected ({len(labels)}, 2)")
        xy[i, index] = number_array(cell, f"{path}: keypointsAll({i + 1})")
    return xy


def _submission(release: NDArray[Any], path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the filled points in file order, named `annolist<i>_<j>` as `read_mpii_validation` names people."""
    rows, names = [], []
    for i, entry in enumerate(np.asarray(field(release, "annolist", f"{path}: RELEASE")).ravel()):
        rects = np.asarray(field(entry, "annorect", f"{path}: RELEASE.annolist({i + 1})")).ravel()
        for j, rect in enumerate(rects if rects.dtype.names and "annopoints" in rects.dtype.names else ()):
            points = rect["annopoints"]
            if np.size(points) == 0 or points.dtype.names is None:
                continue
            where = f"{path}: RELEASE.annolist({i + 1}).annorect({j + 1})"
            xy = np.full((len(MPII16), 2), np.nan)
            for point in np.asarray(field(points, "point", where)).ravel():
                part = number(field(point, "id", where), f"{where}: id")
                if part not in range(len(MPII16)):
                    raise DataError(f"{where}: point id {part:g}, expected 0..15")
                xy[int(part)] = number(field(point, "x", where), where), number(field(point, "y", where), where)
            rows.append(xy)
            names.append(f"annolist{i + 1}_{j + 1}")
    if not rows:
        raise DataError(f"{path}: RELEASE holds no points")
    return np.stack(rows), tuple(names)


def _with_field(records: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the struct array with one more, empty field."""
    names = records.dtype.names or ()
    wider = np.empty(records.shape, dtype=[(known, object) for known in (*names, name)])
    for known in names:
        wider[known] = records[known]
    for element in wider.ravel():
        element[name] = np.zeros((0, 0))
    return wider


def _points(xy: NDArray[np.float64]) -> NDArray[Any]:
    """Return `annopoints`: one struct with `point`, a 1 x K struct array of x, y and id."""
    found = np.flatnonzero(np.isfinite(xy).all(axis=1))
    point = np.empty((1, len(found)), dtype=[("x", object), ("y", object), ("id", object)])
    for k, part in enumerate(found):
        point[0, k] = (np.array([[xy[part, 0]]]), np.array([[xy[part, 1]]]), np.array([[float(part)]]))
    annopoints = np.empty((1, 1), dtype=[("point", object)])
    annopoints[0, 0]["point"] = point
    return annopoints
