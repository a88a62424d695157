"""Tables of keypoints (CSV) -> labels.

Two forms:

- long: a row per point, `image, part, x, y`, and where wanted `person` (who of several in an image) and `visible`
  (0: hidden);
- wide: a row per person, `image`, and for every part `NAME_x, NAME_y`, and where wanted `NAME_visible`.

Both may have the box of the whole person: `box_x, box_y, box_width, box_height`. An empty cell is a part without a
label. Coordinates count pixels, the first one's middle at 0.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from cpm_port.annotations.labelled import HALF_PIXEL, Labelled, Labels, finite, parts_seen
from cpm_port.annotations.samples import Box
from cpm_port.errors import DataError, MissingFileError

__all__ = ["read_keypoint_table"]

_LONG = ("image", "part", "x", "y")
_BOX = ("box_x", "box_y", "box_width", "box_height")
_Row = dict[str, str]


def read_keypoint_table(path: Path) -> Labels:
    """Read a CSV file, UTF-8.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Its first line has the columns of neither form, or a value is not what it should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    try:
        reader = csv.DictReader(text.splitlines())
        columns = [str(name).strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = [{name: (value or "").strip() for name, value in row.items() if name in columns} for row in reader]
    except (csv.Error, AttributeError) as error:
        raise DataError(f"{path}: not a table ({error})") from error
    if set(_LONG) <= set(columns):
        people = list(_long(rows, path))
        return Labels(people, parts_seen(people))
    parts = tuple(name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in columns)
    parts = tuple(part for part in parts if part and part != "box")
    if "image" not in columns or not parts:
        raise DataError(
            f"{path}: its first line is {', '.join(columns)[:80]!r}; expected {', '.join(_LONG)}, or image and "
            "NAME_x, NAME_y for every part"
        )
    return Labels(list(_wide(rows, parts, path)), parts)


def _long(rows: Sequence[_Row], path: Path) -> Iterator[Labelled]:
    people: dict[tuple[str, str], dict[str, tuple[float, float, bool]]] = {}
    boxes: dict[tuple[str, str], Box | None] = {}
    wrong: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, 2):
        where = f"{path}: line {number}"
        who, part = (row["image"], row.get("person", "")), row["part"]
        if not row["image"] or not part:
            raise DataError(f"{where}: image {row['image']!r}, part {part!r}; expected two names")
        joints = people.setdefault(who, {})
        boxes[who] = boxes.get(who) or _box(row, where)
        if part in joints:
            wrong[who] = "the same part twice, so several people that no column `person` tells apart"
        place = _place(row, "x", "y", "visible", where)
        if place is not None:
            joints[part] = place
    for who, joints in people.items():
        name = f"{path}: {' person '.join(filter(None, who))}"
        yield Labelled(who[0], name, joints, None, boxes[who], wrong.get(who, ""))


def _wide(rows: Sequence[_Row], parts: Sequence[str], path: Path) -> Iterator[Labelled]:
    for number, row in enumerate(rows, 2):
        where = f"{path}: line {number}"
        if not row["image"]:
            raise DataError(f"{where}: no image's name")
        places = {part: _place(row, f"{part}_x", f"{part}_y", f"{part}_visible", where) for part in parts}
        joints = {part: place for part, place in places.items() if place is not None}
        yield Labelled(row["image"], where, joints, None, _box(row, where))


def _place(row: _Row, x: str, y: str, visible: str, where: str) -> tuple[float, float, bool] | None:
    if not row[x] and not row[y]:
        return None
    numbers = finite([row[x], row[y]], f"{where}: {x}, {y}")
    seen = finite([row.get(visible) or 1], f"{where}: {visible}")[0]
    return numbers[0], numbers[1], seen > 0


def _box(row: _Row, where: str) -> Box | None:
    if not all(row.get(name) for name in _BOX):
        return None
    x, y, width, height = finite([row[name] for name in _BOX], f"{where}: box")
    x, y = x - HALF_PIXEL, y - HALF_PIXEL
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None
