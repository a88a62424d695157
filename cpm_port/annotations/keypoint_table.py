"""Tables of keypoints (CSV) -> labels.

Two forms:

- long: a row per point, `image, part, x, y`, and where wanted `person` (who of several in an image) and `visible`
  (0: hidden);
- wide: a row per person, `image`, and for every part `NAME_x, NAME_y`, and where wanted `NAME_visible`.

Both may have the box of the whole person: `box_x, box_y, box_width, box_height`. An empty cell, or one that says `nan`,
is a part without a label. Coordinates count pixels, the first one's middle at 0. Commas, semicolons or tabs separate
the cells; between semicolons and tabs numbers may have a decimal comma, as spreadsheets write them in many countries.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cpm_port.annotations.labelled import HALF_PIXEL, Labelled, Labels, finite, parts_seen
from cpm_port.annotations.samples import Box
from cpm_port.errors import DataError, MissingFileError

__all__ = ["read_keypoint_table"]

_LONG = ("image", "part", "x", "y")
_NAMES = {"image", "part", "person"}
_BOX = ("box_x", "box_y", "box_width", "box_height")
_TRUTH = {"true": 1, "false": 0}
_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")
_Row = dict[str, str]
_Rows = Sequence[tuple[str, _Row]]  # each with where it stands


def read_keypoint_table(path: Path) -> Labels:
    """Read a CSV file, UTF-8, separated by commas, semicolons or tabs.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Its first line has the columns of neither form, a line has more cells than it, or a value is not what it
        should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text, expected UTF-8 ({error})") from error
    lines = text.splitlines()
    separator = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(lines, delimiter=separator)
    try:
        columns = [name.strip() for name in next(reader, [])]
        parts = _parts(columns, path)
        lines_of_cells = ((f"{path}: line {reader.line_num}", cells) for cells in reader if cells)
        rows = [(where, _row(columns, cells, separator, where)) for where, cells in lines_of_cells]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not a table ({error})") from error
    if parts:
        return Labels(list(_wide(rows, parts)), parts)
    people = list(_long(rows, path))
    return Labels(people, parts_seen(people))


def _parts(columns: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the parts that the columns of the wide form name, none for the long form."""
    parts = tuple(name[:-2] for name in columns if name.endswith("_x") and name not in ("_x", "box_x"))
    long = set(_LONG) <= set(columns)
    if not long and ("image" not in columns or not parts):
        raise DataError(
            f"{path}: its first line is {', '.join(columns)[:80]!r}; expected {', '.join(_LONG)}, or image and "
            "NAME_x, NAME_y for every part"
        )
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}: its first line has {', '.join(twice)} twice")
    alone = [f"{part}_x without {part}_y" for part in parts if f"{part}_y" not in columns]
    if alone and not long:
        raise DataError(f"{path}: its first line has {', '.join(alone)}")
    return () if long else parts


def _row(columns: Sequence[str], cells: list[str], separator: str, where: str) -> _Row:
    """Return a line's cells by their columns."""
    cells = [cell.strip() for cell in cells]
    if any(cells[len(columns) :]):
        hint = ": a decimal comma, or a comma in a name without quotes?" if separator == "," else ""
        raise DataError(f"{where}: {len(cells)} cells, expected {len(columns)} as in the first line{hint}")
    row = dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
    for name in set(row) - _NAMES:
        if separator != ",":
            row[name] = _DECIMAL_COMMA.sub(r"\1.\2", row[name])
        if row[name].lower() == "nan":
            row[name] = ""
    return row


def _long(rows: _Rows, path: Path) -> Iterator[Labelled]:
    people: dict[tuple[str, str], dict[str, tuple[float, float, bool]]] = {}
    boxes: dict[tuple[str, str], Box | None] = {}
    wrong: dict[tuple[str, str], str] = {}
    for where, row in rows:
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


def _wide(rows: _Rows, parts: Sequence[str]) -> Iterator[Labelled]:
    for where, row in rows:
        if not row["image"]:
            raise DataError(f"{where}: no image's name")
        places = {part: _place(row, f"{part}_x", f"{part}_y", f"{part}_visible", where) for part in parts}
        joints = {part: place for part, place in places.items() if place is not None}
        yield Labelled(row["image"], where, joints, None, _box(row, where))


def _place(row: _Row, x: str, y: str, visible: str, where: str) -> tuple[float, float, bool] | None:
    if not row[x] and not row[y]:
        return None
    numbers = finite([row[x], row[y]], f"{where}: {x}, {y}")
    told = row.get(visible) or "1"
    seen = finite([_TRUTH.get(told.lower(), told)], f"{where}: {visible}")[0]
    return numbers[0], numbers[1], seen > 0


def _box(row: _Row, where: str) -> Box | None:
    if not all(row.get(name) for name in _BOX):
        return None
    x, y, width, height = finite([row[name] for name in _BOX], f"{where}: box")
    x, y = x - HALF_PIXEL, y - HALF_PIXEL
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None
