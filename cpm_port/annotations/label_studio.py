"""Label Studio's JSON export -> labels.

Points are `keypointlabels` regions, in percent of the image. A person is the points whose `parentID` names the same
region, or that lie in the same of the image's rectangles; points of neither kind are one person. Of several annotators'
work the first that was not cancelled counts; the others are left out, and said. A `choices` or `labels` beside a point
is not read; a point is seen unless its region is marked `hidden`.

JSON-MIN holds a row per annotation, with the same regions less their parents and whether they are hidden: so rectangles
tell people apart, and every point is seen.

Images are known by the path in their address, without the eight digits and a dash that an upload puts before the name.

Source: Label Studio's page on its export format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cpm_port.annotations.labelled import HALF_PIXEL, NOBODY, Labelled, Labels, finite, parts_seen
from cpm_port.annotations.samples import Box
from cpm_port.errors import DataError
from cpm_port.files.json_text import read_json
from cpm_port.imaging.reading import IMAGE_SUFFIXES

__all__ = ["read_label_studio"]

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_Points = dict[str, tuple[float, float, bool]]


def read_label_studio(path: Path) -> Labels:
    """Read an export, JSON or JSON-MIN.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is no such file, or a value is not what it should be.
    """
    tasks = read_json(path)
    if isinstance(tasks, list) and all(isinstance(row, dict) and "annotation_id" in row for row in tasks):
        tasks = _tasks_of_rows(tasks)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "annotations" in task for task in tasks):
        raise DataError(
            f"{path}: expected Label Studio's list of tasks with 'annotations' (the export named JSON, or JSON-MIN)"
        )
    people = [person for number, task in enumerate(tasks) for person in _people(task, f"{path}: task {number + 1}")]
    if not any(person.joints for person in people):
        kinds = sorted(
            {str(one.get("type")) for task in tasks for each in task["annotations"] for one in each["result"]}
        )
        raise DataError(f"{path}: no regions of type keypointlabels; there are {', '.join(kinds) or 'no annotations'}")
    return Labels(people, parts_seen(people))


def _tasks_of_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return JSON-MIN's rows as the tasks of the whole export."""
    tasks: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        results = [
            {**region, "type": kind, "id": f"{tag} {index}", "value": region}
            for tag, values in row.items()
            if isinstance(values, list)
            for index, region in enumerate(values, 1)
            for kind in ("keypointlabels", "rectanglelabels")
            if isinstance(region, dict) and kind in region
        ]
        task = tasks.setdefault(str(row.get("id", f"row {number}")), {"data": row, "annotations": []})
        task["annotations"].append({"result": results})
    return list(tasks.values())


def _people(task: dict[str, Any], where: str) -> Iterator[Labelled]:
    annotations = task["annotations"]
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        raise DataError(f"{where}: annotations: expected a list of objects")
    image = _image(task.get("data"), where)
    for annotation in annotations:
        results = annotation.get("result")
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise DataError(f"{where}: result: expected a list of objects")
    valid = [one["result"] for one in annotations if not one.get("was_cancelled")]
    if not any(region.get("type") == "keypointlabels" for results in valid for region in results):
        yield Labelled(image, where, {}, left_out=NOBODY)
    for index, results in enumerate(valid):
        another = "" if index == 0 else "another annotator's labels of the same image"
        yield from _annotated(results, image, where, another)


def _annotated(results: list[dict[str, Any]], image: str, where: str, left_out: str) -> Iterator[Labelled]:
    rectangles = {str(one.get("id")): _rectangle(one, where) for one in results if one.get("type") == "rectanglelabels"}
    joints: dict[str, _Points] = {}
    wrong: dict[str, str] = {}
    size = None
    for one in results:
        if one.get("type") != "keypointlabels":
            continue
        size = _size(one, where)
        label, x, y = _keypoint(one, size, where)
        owner = str(one.get("parentID") or _owner(x, y, rectangles))
        mine = joints.setdefault(owner, {})
        if one.get("image_rotation"):
            wrong[owner] = "labelled on a picture that was turned in Label Studio"
        elif label in mine:
            wrong[owner] = "the same part twice, so several people without a parent or a rectangle"
        mine[label] = (x, y, not one.get("hidden"))
    for owner, found in joints.items():
        reason = left_out or wrong.get(owner, "")
        yield Labelled(image, f"{where}: region {owner or '-'}", found, size, rectangles.get(owner), reason)


def _image(data: Any, where: str) -> str:
    """Return the image's path: of the addresses in `data` the first that ends as an image's, else the first."""
    found = []
    for value in data.values() if isinstance(data, dict) else ():
        if isinstance(value, str):
            parts = urlsplit(value)
            path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
            folder, slash, name = path.replace("\\", "/").rpartition("/")
            if "." in name:
                found.append(folder + slash + _UPLOADED.sub("", name, count=1))
    if not found:
        raise DataError(f"{where}: data {data!r:.80}, expected the address of an image")
    return next((name for name in found if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES), found[0])


def _size(region: dict[str, Any], where: str) -> tuple[int, int]:
    width, height = finite([region.get("original_width"), region.get("original_height")], f"{where}: original size")
    return int(width), int(height)


def _keypoint(region: dict[str, Any], size: tuple[int, int], where: str) -> tuple[str, float, float]:
    value = region.get("value")
    labels = value.get("keypointlabels") if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
        raise DataError(f"{where}: keypointlabels {labels!r:.40}, expected one name")
    assert isinstance(value, dict)
    x, y = finite([value.get("x"), value.get("y")], f"{where}: {labels[0]!r}")
    return labels[0], x / 100 * size[0] - HALF_PIXEL, y / 100 * size[1] - HALF_PIXEL


def _rectangle(region: dict[str, Any], where: str) -> Box:
    value = region.get("value")
    if not isinstance(value, dict):
        raise DataError(f"{where}: a rectangle without a value")
    sides = finite([value.get(name) for name in ("x", "y", "width", "height")], f"{where}: rectangle")
    width, height = _size(region, where)
    x, y = sides[0] / 100 * width - HALF_PIXEL, sides[1] / 100 * height - HALF_PIXEL
    return x, y, x + sides[2] / 100 * width, y + sides[3] / 100 * height


def _owner(x: float, y: float, rectangles: dict[str, Box]) -> str:
    """Return the one rectangle that a point lies in, "" where it lies in none or in several."""
    found = [name for name, (x1, y1, x2, y2) in rectangles.items() if x1 <= x <= x2 and y1 <= y <= y2]
    return found[0] if len(found) == 1 else ""
