"""Several people per picture in everybody's formats: COCO, OpenPose, MPII, the release's MATLAB, CSV; out and in again.

Where in the flow: RESULTS -> FILES. `json_files.py` and `mat_files.py` hold the same formats for scoring, which takes
one person per row and refuses a second in a picture.

Conventions: joints are 0-based image px in memory; scores are from 0 to 1; a part that is not known is NaN. In files:

- COCO: a list of `{image_id, category_id, keypoints, score, bbox, id}`, 17 keypoints of `COCO17`, `x, y, score` each,
  `0, 0, 0` where the net has no such part (of a model with parts of its own: these, in its order); `image_id` is the
  number that the file is called by, or its stem; 0-based. `pycocotools` reads it with `loadRes`.
- OpenPose: one `STEM_keypoints.json` per picture, version 1.3; the 14 parts of `CPM14` are written as OpenPose's MPI
  model orders them (15, the chest `0, 0, 0`), other orders as they are; 0-based.
- MPII: a `.mat` with `RELEASE.annolist`, as its evaluation server takes it: `image.name`, and for each person
  `annorect` with `scale`, `objpos` and `annopoints.point` (`x`, `y`, `id`, `score`), of the parts that are among the 16
  of `MPII16`; 1-based px.
- The release: a `.mat` with `prediction_all`, parts x 2 x pictures, 1-based px, one person per picture, in `LSP14`
  where the net's parts are those.
- CSV: `image, person, part, x, y, score`, a row per joint; 0-based.

COCO's and MPII's lists of parts are fixed: `parts_left_out` says which parts of a net have no place there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.matlab import save_matlab
from cpm_port.parts import COCO17, CPM14, LSP14, MPII16, ORDERS, PartOrder, reorder, to_matlab

__all__ = [
    "PEOPLE_FORMATS",
    "PersonRow",
    "coco_rows",
    "mpii_record",
    "openpose_content",
    "parts_left_out",
    "read_people_csv",
    "write_people",
]

PEOPLE_FORMATS = {
    "coco": "people_coco.json",
    "mpii": "people_mpii.mat",
    "release-mat": "people_release.mat",
    "csv": "people.csv",
}
"""Formats that hold all pictures in one file, and what it is called. (OpenPose has a file per picture.)"""

_OPENPOSE_LISTS = (
    "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d", "pose_keypoints_3d", "face_keypoints_3d",
    "hand_left_keypoints_3d", "hand_right_keypoints_3d",
)  # fmt: skip
_CHEST = 1  # OpenPose's MPI model has one part more than the release's nets
_COLUMNS = ("image", "person", "part", "x", "y", "score")


@dataclass(frozen=True, eq=False)
class PersonRow:
    """One person of one picture.

    Attributes
    ----------
    image : str
        The picture's path.
    order : PartOrder
    joints : ndarray, shape (P, 2), float64
        0-based image px; NaN where a part is not known.
    scores : ndarray, shape (P,), float64
        From 0 to 1.
    center : (float, float)
        0-based image px.
    scale : float
        MPII's: height over 200 px.
    track : int or None
        Who they are in a video.
    """

    image: str
    order: PartOrder
    joints: NDArray[np.float64]
    scores: NDArray[np.float64]
    center: tuple[float, float]
    scale: float
    track: int | None = None


def parts_left_out(form: str, order: PartOrder) -> tuple[str, ...]:
    """Return which parts of an order a format has no place for, in the order's order.

    Parameters
    ----------
    form : str
        As `write_people` takes it.
    order : PartOrder

    Raises
    ------
    UsageError
        The format has a place for none of them.

    Examples
    --------
    >>> from cpm_port.parts import CPM14
    >>> parts_left_out("coco", CPM14), parts_left_out("mpii", CPM14)
    (('head_top', 'neck'), ())
    """
    written = {"coco": _coco_order(order), "mpii": MPII16}.get(form, order)
    left_out = tuple(part for part in order.parts if part not in written.parts)
    if len(left_out) == len(order):
        raise UsageError(
            f"format {form}: none of the net's parts has a place in it: {', '.join(order.parts)}; "
            f"expected some of {', '.join(written.parts)}"
        )
    return left_out


def coco_rows(people: Sequence[PersonRow], image_id: int | str | None = None) -> list[dict[str, Any]]:
    """Return COCO keypoint results; `image_id` is by default the number that the file is called by, or its stem."""
    rows = []
    for person in people:
        triples = _triples(person, _coco_order(person.order))
        known = person.joints[np.isfinite(person.joints).all(axis=1)]
        low, high = (known.min(axis=0), known.max(axis=0)) if len(known) else (np.zeros(2), np.zeros(2))
        stem = Path(person.image).stem
        rows.append(
            {
                "image_id": image_id if image_id is not None else int(stem) if stem.isdecimal() else stem,
                "category_id": 1,
                "keypoints": triples.ravel().tolist(),
                "score": float(person.scores.mean()),
                "bbox": [*low.tolist(), *(high - low).tolist()],
                **({} if person.track is None else {"track_id": person.track}),
            }
        )
    return rows


def openpose_content(people: Sequence[PersonRow]) -> dict[str, Any]:
    """Return the content of OpenPose's JSON of one picture."""
    rows = []
    for person in people:
        triples = _triples(person, person.order)
        if person.order == CPM14:
            triples = np.concatenate([triples, np.zeros((_CHEST, 3))])
        rows.append(
            {
                "person_id": [-1 if person.track is None else person.track],
                "pose_keypoints_2d": triples.ravel().tolist(),
                **{name: [] for name in _OPENPOSE_LISTS},
            }
        )
    return {"version": 1.3, "people": rows}


def mpii_record(name: str, people: Sequence[PersonRow]) -> dict[str, Any]:
    """Return an entry of MPII's `annolist` as plain values: 1-based px, MPII's part numbers.

    Parts that MPII does not know are left out; UsageError where it knows none.
    """
    rects = []
    for person in people:
        parts_left_out("mpii", person.order)
        xy = to_matlab(reorder(person.joints, person.order, MPII16))
        scores = reorder(person.scores[:, None], person.order, MPII16)[:, 0]
        points = [
            {"x": float(xy[part, 0]), "y": float(xy[part, 1]), "id": part, "score": float(scores[part])}
            for part in np.flatnonzero(np.isfinite(xy).all(axis=1)).tolist()
        ]
        x, y = to_matlab(np.array(person.center)).tolist()
        rects.append({"scale": person.scale, "objpos": {"x": x, "y": y}, "annopoints": {"point": points}})
    return {"image": {"name": name}, "annorect": rects}


def write_people(
    form: str, folder: Path, pictures: Mapping[str, Sequence[PersonRow]], names: Mapping[str, Path] | None = None
) -> list[Path]:
    """Write the people of pictures in one of the formats above.

    Parameters
    ----------
    form : str
        A key of `PEOPLE_FORMATS`, or "openpose".
    folder : Path
    pictures : mapping of str to sequence of PersonRow
        Every picture's people, those without any, too; in order.
    names : mapping of str to Path, optional
        The stem of a picture's own file (OpenPose), where it is not that of the picture in `folder`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        An unknown format; one without a place for any part of a person; or the release's MATLAB file of pictures with
        another number of people than one.
    """
    if form == "openpose":
        return [_write_openpose(folder, image, people, names or {}) for image, people in pictures.items()]
    if form not in PEOPLE_FORMATS:
        raise UsageError(f"format {form!r}: expected openpose, {', '.join(PEOPLE_FORMATS)}")
    path = folder / PEOPLE_FORMATS[form]
    if form == "release-mat":
        save_matlab(path, {"prediction_all": _release(pictures)})
    elif form == "mpii":
        save_matlab(path, {"RELEASE": _mpii_struct([mpii_record(Path(i).name, p) for i, p in pictures.items()])})
    else:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            if form == "coco":
                json.dump([row for people in pictures.values() for row in coco_rows(people)], file)
            else:
                _write_csv(file, pictures)
    return [path]


def read_people_csv(path: Path, order: PartOrder) -> list[PersonRow]:
    """Read the CSV that `write_people` writes; DataError where it is something else."""
    people: dict[tuple[str, str], PersonRow] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != _COLUMNS:
            raise DataError(f"{path}: its first line is not {','.join(_COLUMNS)}")
        for number, line in enumerate(reader, 2):
            if len(line) != len(_COLUMNS) or line[2] not in order.parts:
                raise DataError(f"{path}: line {number}: {line}, expected {', '.join(_COLUMNS)} of {order.name!r}")
            nothing = np.full((len(order), 3), np.nan)
            person = people.setdefault(
                (line[0], line[1]), PersonRow(line[0], order, nothing[:, :2], nothing[:, 2], (np.nan, np.nan), np.nan)
            )
            part = order.index(line[2])
            try:
                person.joints[part], person.scores[part] = (float(line[3]), float(line[4])), float(line[5])
            except ValueError as error:
                raise DataError(f"{path}: line {number}: {error}") from error
    return list(people.values())


def _coco_order(order: PartOrder) -> PartOrder:
    """Return the parts that COCO results of an order hold: COCO's, or a model's own."""
    return COCO17 if order.name in ORDERS else order


def _triples(person: PersonRow, order: PartOrder) -> NDArray[np.float64]:
    """Return x, y, score of the parts of an order; zeros where one is not known."""
    triples = reorder(np.concatenate([person.joints, person.scores[:, None]], axis=1), person.order, order)
    triples[~np.isfinite(triples).all(axis=1)] = 0.0
    return triples


def _write_openpose(folder: Path, image: str, people: Sequence[PersonRow], names: Mapping[str, Path]) -> Path:
    stem = names.get(image, folder / Path(image).stem)
    path = stem.with_name(f"{stem.name}_keypoints.json")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(openpose_content(people)), encoding="utf-8")
    return path


def _release(pictures: Mapping[str, Sequence[PersonRow]]) -> NDArray[np.float64]:
    rows = []
    for image, people in pictures.items():
        if len(people) != 1:
            raise UsageError(f"{image}: {len(people)} people; the release's file holds one per picture (--people one)")
        joints, order = people[0].joints, people[0].order
        rows.append(to_matlab(reorder(joints, order, LSP14) if set(order.parts) == set(LSP14.parts) else joints))
    return np.stack(rows, axis=2) if rows else np.zeros((len(LSP14), 2, 0))


def _mpii_struct(records: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    return _structs(
        [{"annolist": _structs([_plain(record) for record in records], ("image", "annorect"))}], ("annolist",)
    )


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    rects = [
        {
            "scale": rect["scale"],
            "objpos": _structs([rect["objpos"]], ("x", "y")),
            "annopoints": _structs(
                [{"point": _structs(rect["annopoints"]["point"], ("x", "y", "id", "score"))}], ("point",)
            ),
        }
        for rect in record["annorect"]
    ]
    return {
        "image": _structs([record["image"]], ("name",)),
        "annorect": _structs(rects, ("scale", "objpos", "annopoints")),
    }


def _structs(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> NDArray[Any]:
    """Return a 1 x N struct array."""
    array = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        for field in fields:
            value = row[field]
            array[0, i][field] = np.array([[float(value)]]) if isinstance(value, int | float) else value
    return array


def _write_csv(file: Any, pictures: Mapping[str, Sequence[PersonRow]]) -> None:
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for image, people in pictures.items():
        for number, person in enumerate(people):
            for part, (x, y), score in zip(
                person.order.parts, person.joints.tolist(), person.scores.tolist(), strict=True
            ):
                writer.writerow((image, number if person.track is None else person.track, part, x, y, score))
