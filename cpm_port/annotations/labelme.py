"""labelme's JSON files -> labels: one file per image, or a folder of them and of such folders.

A person is the points of a file that share a `group_id`; points without one are one person, so a file has one such
person at most. A rectangle of the same group says how large they are. A point's flag `hidden` or `occluded` marks it as
hidden. Other shapes are not read.

Source: labelme's own files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpm_port.annotations.labelled import HALF_PIXEL, NOBODY, Labelled, Labels, finite, parts_seen
from cpm_port.annotations.samples import Box
from cpm_port.errors import DataError
from cpm_port.files.json_text import read_json

__all__ = ["read_labelme"]

_HIDDEN = ("hidden", "occluded")


def read_labelme(path: Path) -> Labels:
    """Read a file, or every `.json` of a folder that labelme wrote, with those of the folders in it.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is no such file, or a value is not what it should be; or the folder holds none.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    people = [person for file in files for person in _people(file, path if path.is_dir() else file.parent)]
    if not any(person.joints for person in people):
        raise DataError(f"{path}: no point is labelled in {len(files)} files of labelme (*.json)")
    return Labels(people, parts_seen(people))


def _people(file: Path, folder: Path) -> Iterator[Labelled]:
    content = read_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DataError(f"{file}: expected labelme's object with 'shapes'")
    image = content.get("imagePath")
    if not isinstance(image, str) or not image:
        raise DataError(f"{file}: imagePath {image!r}, expected an image's name")
    image = (file.parent.relative_to(folder) / image).as_posix()
    width, height = content.get("imageWidth"), content.get("imageHeight")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    joints: dict[Any, dict[str, tuple[float, float, bool]]] = {}
    boxes: dict[Any, Box] = {}
    wrong: dict[Any, str] = {}
    for number, shape in enumerate(shapes):
        where = f"{file}: shape {number + 1}"
        group, label = str(shape.get("group_id")), shape.get("label")
        points = [_point(point, where) for point in shape.get("points") or []]
        kind = shape.get("shape_type", "polygon")
        if kind == "rectangle" and len(points) == 2:
            (x1, y1), (x2, y2) = points
            boxes[group] = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        elif kind == "point" and len(points) == 1 and isinstance(label, str) and label:
            mine = joints.setdefault(group, {})
            if label in mine:
                wrong[group] = "the same part twice, so several people without a group_id"
            flags = shape.get("flags")
            hidden = isinstance(flags, dict) and any(flags.get(flag) for flag in _HIDDEN)
            mine[label] = (*points[0], not hidden)
    if not joints:
        yield Labelled(image, str(file), {}, size, left_out=NOBODY)
    for group, found in joints.items():
        which = "points" if group == "None" else f"group {group}"
        box = None if group == "None" else boxes.get(group)
        yield Labelled(image, f"{file}: {which}", found, size, box, wrong.get(group, ""))


def _point(point: Any, where: str) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise DataError(f"{where}: point {point!r:.40}, expected x and y")
    x, y = finite(point, where)
    return x - HALF_PIXEL, y - HALF_PIXEL
