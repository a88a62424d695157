"""MPII Human Pose: its struct, Tompson's validation struct, the arrays made of that and the hourglass h5 -> samples.

Conventions: all four sources are 1-based; samples are 0-based, in the order `MPII16`. Joints are identified by MPII's
ids 0..15 and may come in any order or be absent. The head's size is 0.6 times the diagonal of the head box.

Quirks, each seen in the files named:

- `is_visible` is a logical, the string '0' or '1', or empty (upper neck and head top); empty counts as visible, as the
  hourglass h5 and the release's genJSON both have it.
- `detections_our_format.mat` (what pytorch-pose and HRNet score with): 13 of its joints have a coordinate corrupted
  to 0. Published tables include that, so it is read as it stands; `tompson_valid_detections.mat` holds the exact
  values.
- The hourglass h5 stores head top and upper neck truncated to integers; `center` is `objpos` moved down by 15 `scale`,
  `scale` MPII's times 1.25 (both undone here), `index` and `person` are 0-based, and a missing joint is (0, 0).
- An `annorect` without `objpos` or `scale` cannot be tested (the release skips it); the person still counts as a
  neighbour of others.
- Some people have `torso_r11` ... `torso_r33`, a rotation, as text. Nothing at hand says of what; of the 878 of the
  validation struct, the rows are the directions in which the torso faces, points down and points left, each as (to the
  camera, down the image, to the image's right): with that, the labelled shoulders and spines lie where they should.

`mpii_human_pose_v1_u12_1.mat` itself was not available: its reader is tested on synthetic files of the documented
layout, and the parts that the validation struct shares on that file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person, Sample, Split
from cpm_port.errors import DataError
from cpm_port.files.hdf5 import open_hdf5
from cpm_port.files.matlab import field, load_matlab, number, number_array, numeric, require_file, text
from cpm_port.parts import MPII16, from_matlab
from cpm_port.release import MPII_HEAD_SHARE

__all__ = ["read_mpii", "read_mpii_detections", "read_mpii_hourglass", "read_mpii_validation"]

_ORIGIN = "the MPII Human Pose data set's page (mpii_human_pose_v1_u12_1.mat)"
_ORIGIN_VALIDATION = "Tompson et al.'s validation split, as circulated with the hourglass and pytorch-pose code"
_HOURGLASS_SHIFT, _HOURGLASS_SCALE = 15.0, 1.25


def read_mpii(path: str | Path, images: str | Path | None = None, *, split: Split = "train") -> list[Sample]:
    """Read the data set's own annotations, `RELEASE`: `annolist(i).image.name`, `.annorect(j)`, `img_train(i)`.

    Parameters
    ----------
    path : path
        The `.mat` file.
    images : path, optional
        Folder of the images.
    split : {"train", "test"}
        "train": people with joints in images marked by `img_train`; "test": people with `objpos` and `scale` in the
        others (their joints are private, so all are NaN).

    Returns
    -------
    list of Sample
        In file order; `others` are the remaining people of the image that have any joint. `annolist_index` and
        `people_index` are 1-based, as the submission format asks.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Not a MATLAB file, no `RELEASE`, or a field is missing or of another kind than documented.
    """
    path = require_file(path, _ORIGIN)
    variables = load_matlab(path)
    if "RELEASE" not in variables:
        raise DataError(f"{path}: no variable 'RELEASE'; found {', '.join(sorted(variables)) or 'none'}")
    release = variables["RELEASE"]
    annolist = np.asarray(field(release, "annolist", f"{path}: RELEASE")).ravel()
    in_training = number_array(field(release, "img_train", f"{path}: RELEASE"), f"{path}: RELEASE.img_train").ravel()
    if len(in_training) != len(annolist):
        raise DataError(f"{path}: RELEASE.annolist has {len(annolist)} images, img_train {len(in_training)}")
    samples: list[Sample] = []
    for i, entry in enumerate(annolist):
        if bool(in_training[i]) != (split == "train"):
            continue
        where = f"{path}: RELEASE.annolist({i + 1})"
        name = text(field(field(entry, "image", where), "name", f"{where}.image"), f"{where}.image.name")
        rects = np.asarray(field(entry, "annorect", where)).ravel()
        people = [_person(rect, f"{where}.annorect({j + 1})") for j, rect in enumerate(rects)] if _struct(rects) else []
        for j, person in enumerate(people):
            tested = person.center is not None and person.scale is not None
            if not (person.annotated.any() if split == "train" else tested):
                continue
            samples.append(
                Sample(
                    "MPI",
                    f"{Path(name).stem}_{j + 1}",
                    None if images is None else Path(images) / name,
                    split,
                    MPII16,
                    "person",
                    person,
                    tuple(other for k, other in enumerate(people) if k != j and other.annotated.any()),
                    annolist_index=i + 1,
                    people_index=j + 1,
                )
            )
    return samples


def read_mpii_validation(path: str | Path) -> list[Sample]:
    """Read Tompson's validation people with the exact ground truth: `annolist(i).annorect`, `RELEASE_img_index`.

    Returns
    -------
    list of Sample
        2958 samples, without image names (the file has none) and without others.

    Raises
    ------
    MissingFileError, DataError
        As `read_mpii`.
    """
    path = require_file(path, _ORIGIN_VALIDATION)
    variables = load_matlab(path)
    if "annolist" not in variables:
        raise DataError(f"{path}: no variable 'annolist'; found {', '.join(sorted(variables)) or 'none'}")
    annolist = variables["annolist"].ravel()
    image_index = numeric(variables, "RELEASE_img_index", (1, len(annolist)), path)[0]
    person_index = numeric(variables, "RELEASE_person_index", (1, len(annolist)), path)[0]
    if not np.isfinite([image_index, person_index]).all():
        raise DataError(f"{path}: an index is not finite")
    samples = []
    for i, entry in enumerate(annolist):
        where = f"{path}: annolist({i + 1})"
        person = _person(field(entry, "annorect", where), f"{where}.annorect")
        samples.append(_validation_sample(person, int(image_index[i]), int(person_index[i]), None))
    return samples


def read_mpii_detections(path: str | Path) -> list[Sample]:
    """Read `detections_our_format.mat`: `pos_gt_src` 16 x 2 x N, `headboxes_src` 2 x 2 x N, `jnt_missing` 16 x N.

    Returns
    -------
    list of Sample
        N samples in file order, with joints and head sizes only; corrupt coordinates as they stand.

    Raises
    ------
    MissingFileError, DataError
        As `read_mpii`.
    """
    path = require_file(path, _ORIGIN_VALIDATION)
    variables = load_matlab(path)
    xy = from_matlab(numeric(variables, "pos_gt_src", (16, 2, None), path, bytes_do=False).transpose(2, 0, 1))
    boxes = numeric(variables, "headboxes_src", (2, 2, len(xy)), path, bytes_do=False)
    missing = numeric(variables, "jnt_missing", (16, len(xy)), path).T != 0
    if not np.isfinite(xy[~missing]).all() or not np.isfinite(boxes).all():
        raise DataError(f"{path}: a coordinate is not finite")
    xy[missing] = np.nan
    sizes = MPII_HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    return [
        Sample(
            "MPI",
            f"validation{i + 1:04d}",
            None,
            "validation",
            MPII16,
            "person",
            Person(xy[i], ~missing[i], head_size=float(sizes[i])),
            named=False,
        )
        for i in range(len(xy))
    ]


def read_mpii_hourglass(
    path: str | Path, images: str | Path | None = None, *, split: Split = "validation"
) -> list[Sample]:
    """Read an annotation file of the hourglass code: `part`, `visible`, `center`, `scale`, `normalize`, `imgname`.

    Parameters
    ----------
    path : path
        `train.h5`, `valid.h5` or `test.h5`.
    images : path, optional
        Folder of the images.
    split : {"train", "validation", "test"}
        Which one it is; the file does not say so itself.

    Raises
    ------
    MissingFileError, DataError
        As `read_mpii`.
    """
    path = require_file(path, _ORIGIN_VALIDATION)
    with open_hdf5(path) as file:
        part = file.array("part", (None, 16, 2))
        count = len(part)
        visible = file.array("visible", (count, 16)) != 0
        center = file.array("center", (count, 2))
        scale = file.array("scale", (count,)) / _HOURGLASS_SCALE
        head = file.array("normalize", (count,))
        image_index = file.array("index", (count,))
        person_index = file.array("person", (count,))
        names = file.texts("imgname", count)
    if not all(np.isfinite(a).all() for a in (part, center, scale, head, image_index, person_index)):
        raise DataError(f"{path}: a coordinate, scale, head size or index is not finite")
    missing = (part == 0).all(axis=2)
    xy = from_matlab(part)
    xy[missing] = np.nan
    center[:, 1] -= _HOURGLASS_SHIFT * scale
    samples = []
    for i in range(count):
        person = Person(
            xy[i],
            visible[i] & ~missing[i],
            center=(float(center[i, 0]) - 1, float(center[i, 1]) - 1),
            scale=float(scale[i]),
            head_size=float(head[i]),
        )
        image = (names[i], None if images is None else Path(images) / names[i])
        samples.append(
            _validation_sample(person, int(image_index[i]) + 1, int(person_index[i]) + 1, image, split=split)
        )
    return samples


def _validation_sample(
    person: Person,
    image_index: int,
    people_index: int,
    image: tuple[str, Path | None] | None,
    split: Split = "validation",
) -> Sample:
    stem = f"annolist{image_index}" if image is None else Path(image[0]).stem
    return Sample(
        "MPI",
        f"{stem}_{people_index}",
        None if image is None else image[1],
        split,
        MPII16,
        "person",
        person,
        annolist_index=image_index,
        people_index=people_index,
    )


def _struct(value: NDArray[Any]) -> bool:
    return value.dtype.names is not None and value.size > 0


def _optional(rect: Any, name: str) -> Any:
    """Return a field that MATLAB's struct arrays leave out, or leave empty, where there is no value; None then."""
    if name not in (rect.dtype.names or ()):
        return None
    value = rect[name] if isinstance(rect, np.void) else rect.ravel()[0][name]
    return value if np.size(value) else None


def _person(rect: Any, where: str) -> Person:
    """Turn one `annorect` into a person; every part of it may be absent."""
    if isinstance(rect, np.ndarray):
        if rect.size != 1:
            raise DataError(f"{where}: expected one annorect, found {rect.size}")
        rect = rect.ravel()[0]
    xy, visible = _joints(rect, where)
    objpos, scale = _optional(rect, "objpos"), _optional(rect, "scale")
    center = None if objpos is None else _place(objpos, f"{where}.objpos")
    head = _head_size(rect, where)
    return Person(
        xy,
        visible,
        center,
        None if scale is None else number(scale, f"{where}.scale"),
        head,
        facing=_facing(rect, where),
    )


def _joints(rect: Any, where: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the joints' places, (16, 2), 0-based, NaN where not listed, and which are visible, (16,)."""
    xy = np.full((len(MPII16), 2), np.nan)
    visible = np.zeros(len(MPII16), dtype=bool)
    points = _optional(rect, "annopoints")
    if points is None or not _struct(np.asarray(points)):
        return xy, visible
    listed = np.asarray(field(points, "point", f"{where}.annopoints")).ravel()
    for k, point in enumerate(listed):
        spot = f"{where}.annopoints.point({k + 1})"
        joint = number(field(point, "id", spot), f"{spot}.id")
        if joint not in range(len(MPII16)):
            raise DataError(f"{spot}: id is {joint:g}, expected 0..15")
        index = int(joint)
        if not np.isnan(xy[index, 0]):
            raise DataError(f"{spot}: id {index} is listed twice")
        xy[index] = _place(point, spot)
        visible[index] = _visible(_optional(point, "is_visible"), spot)
    if not np.isfinite(xy[visible]).all():
        raise DataError(f"{where}: a coordinate is not finite")
    return xy, visible


def _place(value: Any, where: str) -> tuple[float, float]:
    """Return a struct's x and y, 0-based."""
    return number(field(value, "x", where), f"{where}.x") - 1, number(field(value, "y", where), f"{where}.y") - 1


def _head_size(rect: Any, where: str) -> float | None:
    """Return the length that PCKh divides by, from the head's box; None where a corner is not said."""
    corners = [_optional(rect, name) for name in ("x1", "y1", "x2", "y2")]
    if any(corner is None for corner in corners):
        return None
    x1, y1, x2, y2 = (number(corner, f"{where}: head box") for corner in corners)
    return MPII_HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def _facing(rect: Any, where: str) -> float | None:
    """Return which way the torso faces (see `Person`); None where nothing is said, or straight up or down."""
    entries = {name: _optional(rect, name) for name in ("torso_r11", "torso_r13")}
    if any(entry is None for entry in entries.values()):
        return None
    toward, right = (_written_number(entry, f"{where}.{name}") for name, entry in entries.items())
    return float(np.degrees(np.arctan2(right, toward))) if np.hypot(toward, right) > 0 else None


def _written_number(value: Any, where: str) -> float:
    """Read a number that may stand as text."""
    array = np.asarray(value)
    try:
        found = float(array.item())
    except (ValueError, TypeError, OverflowError):
        found = np.nan
    if not np.isfinite(found):
        raise DataError(f"{where}: expected one finite number, found {array.ravel()[:1].tolist()}")
    return found


def _visible(value: Any, where: str) -> bool:
    if value is None:
        return True
    mark = np.asarray(value).ravel()[0]
    try:
        return bool(int(mark))
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"{where}: is_visible is {str(mark)!r}, expected 0, 1, '0', '1' or nothing") from None
