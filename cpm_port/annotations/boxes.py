"""Where people are, as other programs write it: boxes and keypoints of many images, told by the images' names.

FILE -> BOXES. Known kinds:

- COCO annotations (`images`, `annotations`) and COCO results (a list): `bbox`, else the box around the known
  `keypoints`; of category 1 (person) where a category is given; images are known by `file_name`, or by the `image_id`
  that an image's file is called by;
- OpenPose: a `NAME_keypoints.json`, or a folder of them; the box around the known keypoints;
- YOLO: a `NAME.txt`, or a folder of them: `class x y width height [confidence]`, the box's middle and size as shares of
  the image's; class 0 (person);
- CSV: a first line with `image, x, y, width, height` among its columns.

Conventions: a box is `(x, y, width, height)`, 0-based image px. Images are told by their file's name, with or without
its suffix.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cpm_port.errors import DataError, MissingFileError
from cpm_port.files.json_text import parse_json

__all__ = ["BoxFile", "NamedBox", "read_boxes"]

_PERSON = 1
_YOLO_PERSON = 0
_KEYPOINTS = "_keypoints.json"
_COLUMNS = ("image", "x", "y", "width", "height")


class NamedBox(NamedTuple):
    """A box in an image; `relative` where its numbers are shares of the image's size, and x, y its middle."""

    image: str
    box: tuple[float, float, float, float]
    score: float = 1.0
    relative: bool = False


class BoxFile:
    """The boxes of many images.

    Parameters
    ----------
    source : str
        Where they are from, for messages.
    boxes : iterable of NamedBox
    """

    def __init__(self, source: str, boxes: Iterator[NamedBox] | list[NamedBox]) -> None:
        self.source = source
        self._boxes: dict[str, list[NamedBox]] = {}
        for box in boxes:
            self._boxes.setdefault(_key(box.image), []).append(box)

    def __len__(self) -> int:
        return sum(map(len, self._boxes.values()))

    def of(self, image: str, size: tuple[int, int]) -> list[NamedBox]:
        """Return the boxes of an image, in the file's order, in px; `size` is its height and width."""
        found = self._boxes.get(_key(image), [])
        if not found and Path(image).stem.isdecimal():
            found = self._boxes.get(str(int(Path(image).stem)), [])  # COCO's numbers, its files' leading zeros
        return [_absolute(box, size) for box in found]


def read_boxes(path: str | Path) -> BoxFile:
    """Read a file, or a folder of YOLO's or OpenPose's files.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is none of the kinds above, or a number in it is none.
    """
    source = Path(path)
    if not source.exists():
        raise MissingFileError(f"{source}: no such file of boxes")
    if source.is_dir():
        files = sorted([*source.glob(f"*{_KEYPOINTS}"), *source.glob("*.txt")])
        if not files:
            raise DataError(f"{source}: neither *{_KEYPOINTS} nor *.txt in it")
        return BoxFile(str(source), [box for file in files for box in _read(file)])
    return BoxFile(str(source), list(_read(source)))


def _read(path: Path) -> Iterator[NamedBox]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    if path.suffix == ".txt":
        return _yolo(text, path)
    if path.suffix == ".csv":
        return _csv(text, path)
    if path.suffix != ".json":
        raise DataError(f"{path}: expected .json (COCO, OpenPose), .txt (YOLO) or .csv")
    content = parse_json(text.encode(), str(path))
    if isinstance(content, dict) and "people" in content:
        return _openpose(content["people"], path)
    return _coco(content, path)


def _coco(content: Any, path: Path) -> Iterator[NamedBox]:
    names: dict[str, str] = {}
    rows = content
    if isinstance(content, dict):
        rows, images = content.get("annotations"), content.get("images", [])
        if not isinstance(images, list) or not all(isinstance(image, dict) and "id" in image for image in images):
            raise DataError(f"{path}: 'images': a list of 'id' and 'file_name' expected")
        names = {str(image["id"]): str(image.get("file_name", image["id"])) for image in images}
    if not isinstance(rows, list):
        raise DataError(f"{path}: a list of COCO results, or 'annotations', expected")
    for i, row in enumerate(rows):
        where = f"{path}: entry {i}"
        if not isinstance(row, dict) or "image_id" not in row or not {"bbox", "keypoints"} & set(row):
            raise DataError(f"{where}: 'image_id', and 'bbox' or 'keypoints', expected")
        if row.get("category_id", _PERSON) != _PERSON:
            continue
        number = str(row["image_id"])
        box = _four(row["bbox"], where) if "bbox" in row else _around(row["keypoints"], where)
        if box is not None:
            yield NamedBox(names.get(number, number), box, _number(row.get("score", 1.0), where))


def _openpose(people: Any, path: Path) -> Iterator[NamedBox]:
    if not isinstance(people, list):
        raise DataError(f"{path}: 'people': a list expected")
    name = path.name.removesuffix(_KEYPOINTS)
    for i, person in enumerate(people):
        values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        box = _around(values, f"{path}: person {i}")
        if box is not None:
            yield NamedBox(name, box)


def _yolo(text: str, path: Path) -> Iterator[NamedBox]:
    for number, line in enumerate(text.splitlines(), 1):
        values = line.split()
        if not values:
            continue
        where = f"{path}: line {number}"
        if len(values) not in (5, 6):
            raise DataError(f"{where}: {line!r}, expected `class x y width height [confidence]`")
        if _number(values[0], where) == _YOLO_PERSON:
            score = _number(values[5], where) if len(values) == 6 else 1.0
            yield NamedBox(path.stem, _four(values[1:5], where), score, relative=True)


def _csv(text: str, path: Path) -> Iterator[NamedBox]:
    rows = csv.DictReader(text.splitlines())
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: its first line lacks {', '.join(missing)}")
    for number, row in enumerate(rows, 2):
        where = f"{path}: line {number}"
        score = _number(row["score"], where) if row.get("score") else 1.0
        yield NamedBox(str(row["image"]), _four([row[name] for name in _COLUMNS[1:]], where), score)


def _around(keypoints: Any, where: str) -> tuple[float, float, float, float] | None:
    """Return the box around the known of `x, y, score, ...`; None where fewer than two are known."""
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        raise DataError(f"{where}: keypoints: a list of x, y, score expected")
    triples = np.array([_number(value, where) for value in keypoints]).reshape(-1, 3)
    known = triples[triples[:, 2] > 0, :2]
    if len(known) < 2:
        return None
    low, high = known.min(axis=0), known.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _four(values: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f"{where}: box {values!r}, expected x, y, width, height")
    x, y, width, height = (_number(value, where) for value in values)
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: a box of {width:g} x {height:g}, expected more than 0")
    return x, y, width, height


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise DataError(f"{where}: {value!r}, expected a number")
    return number


def _absolute(box: NamedBox, size: tuple[int, int]) -> NamedBox:
    if not box.relative:
        return box
    x, y, width, height = (share * length for share, length in zip(box.box, (size[1], size[0]) * 2, strict=True))
    return NamedBox(box.image, (x - width / 2, y - height / 2, width, height), box.score)


def _key(image: str) -> str:
    """Return an image's name without folders and suffix."""
    name = image.replace("\\", "/").rsplit("/", 1)[-1]
    return Path(name).stem if Path(name).suffix else name
