"""CVAT's own XML ("CVAT for images 1.1") -> labels.

A person is a `skeleton` element with its `points`, or the points of one image that share a `group_id`; points without a
group are one person, so an image has one such person at most. A `box` of the same group says how large they are.
`outside="1"` is a point without a label, `occluded="1"` a hidden one. A skeleton label's drawing (`svg`) says which
parts are joined.

Source: CVAT's page on this format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

from cpm_port.annotations.labelled import HALF_PIXEL, NOBODY, Labelled, Labels, finite, parts_seen
from cpm_port.errors import DataError, UsageError
from cpm_port.files.xml_text import read_xml

__all__ = ["read_cvat"]

_TAG = re.compile(r"<\w+[^>]*>")
_ATTRIBUTE = re.compile(r'([\w-]+)\s*=\s*"([^"]*)"')


def read_cvat(path: Path, category: str | None = None) -> Labels:
    """Read an XML file.

    Parameters
    ----------
    path : Path
    category : str, optional
        Which label's skeletons are taken; needed where several labels have skeletons.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is no such file, or a value is not what it should be.
    UsageError
        No skeleton has the category as its label, or there are several to choose from.
    """
    root = read_xml(path)
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise DataError(f"{path}: expected 'annotations' with 'image' elements, CVAT's format for images")
    category = _category(root, category, path)
    people = [person for image in images for person in _people(image, category, path)]
    if not any(person.joints or person.left_out != NOBODY for person in people):
        kinds = sorted({shape.tag for image in images for shape in image})
        raise DataError(f"{path}: no points and no skeletons; there are {', '.join(kinds) or 'no shapes'}")
    labels = [label for label in root.findall("meta//label") if category in (None, label.findtext("name"))]
    skeletons = [_skeleton(label.findtext("svg") or "") for label in labels]
    listed = tuple(dict.fromkeys(name for names, _ in skeletons for name in names))
    parts = listed + tuple(part for part in parts_seen(people) if part not in listed)
    joined = dict.fromkeys(pair for _, pairs in skeletons for pair in pairs)
    return Labels(people, parts, tuple(joined))


def _category(root: Element, wanted: str | None, path: Path) -> str | None:
    """Return the label whose skeletons are meant, None where there are none."""
    labels = list(dict.fromkeys(one.get("label", "") for one in root.findall("image/skeleton")))
    if wanted is not None and wanted not in labels:
        raise UsageError(f"{path}: no skeletons of {wanted!r}; there are {', '.join(labels) or 'none'}")
    if wanted is None and len(labels) > 1:
        raise UsageError(f"{path}: {len(labels)} labels have skeletons: {', '.join(labels)}; say which with --category")
    return wanted or next(iter(labels), None)


def _people(image: Element, category: str | None, path: Path) -> Iterable[Labelled]:
    name = image.get("name", "")
    where = f"{path}: image {name!r}"
    if not name:
        raise DataError(f"{path}: an image without a name")
    sizes = image.get("width"), image.get("height")
    size = None
    if sizes[0] is not None and sizes[1] is not None:
        width, height = finite(sizes, f"{where}: size")
        size = (int(width), int(height))
    groups: dict[str, list[Element]] = {}
    for point in image.findall("points"):
        groups.setdefault(point.get("group_id") or "0", []).append(point)
    found = [(f"skeleton {i + 1}", list(one), one) for i, one in enumerate(image.findall("skeleton"))]
    found += [(f"group {group}", points, points[0]) for group, points in groups.items()]
    if not found:
        yield Labelled(name, where, {}, size, left_out=NOBODY)
    for which, points, owner in found:
        joints, wrong = _joints(points, f"{where}: {which}")
        if owner.tag == "skeleton" and owner.get("label", "") != category:
            joints, wrong = {}, f"of another category: {owner.get('label')}"
        yield Labelled(name, f"{where}: {which}", joints, size, _box(image, owner.get("group_id"), where), wrong)


def _joints(points: list[Element], where: str) -> tuple[dict[str, tuple[float, float, bool]], str]:
    """Return the joints, and what speaks against them."""
    joints: dict[str, tuple[float, float, bool]] = {}
    for point in points:
        label, text = point.get("label", ""), point.get("points", "")
        if point.tag != "points" or point.get("outside") == "1":
            continue
        places = [place for place in text.split(";") if place]
        if len(places) != 1:
            return joints, f"{len(places)} points under one label"
        if label in joints:
            return joints, "the same part twice, so several people without a group"
        numbers = finite(places[0].split(","), f"{where}: {label!r}")
        if len(numbers) != 2:
            raise DataError(f"{where}: {label!r} at {places[0]!r}, expected 'x,y'")
        joints[label] = (numbers[0] - HALF_PIXEL, numbers[1] - HALF_PIXEL, point.get("occluded") != "1")
    return joints, ""


def _box(image: Element, group: str | None, where: str) -> tuple[float, float, float, float] | None:
    if group in (None, "0"):
        return None
    for box in image.findall("box"):
        if box.get("group_id") == group:
            sides = [box.get(side) for side in ("xtl", "ytl", "xbr", "ybr")]
            x1, y1, x2, y2 = (value - HALF_PIXEL for value in finite(sides, f"{where}: box"))
            return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
    return None


def _skeleton(svg: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return a skeleton label's parts and the pairs that its drawing joins."""
    names: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for tag in _TAG.findall(svg):
        told: dict[str, str] = dict(_ATTRIBUTE.findall(tag))
        if "data-label-name" in told:
            names[told.get("data-node-id", told.get("data-element-id", ""))] = told["data-label-name"]
        if "data-node-from" in told and "data-node-to" in told:
            edges.append((told["data-node-from"], told["data-node-to"]))
    return list(names.values()), [(names[a], names[b]) for a, b in edges if a in names and b in names and a != b]
