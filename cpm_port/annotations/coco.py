"""COCO's keypoint annotations (also CVAT's "COCO Keypoints", Roboflow's, ...) -> labels.

`categories` name the parts and the skeleton (pairs of 1-based numbers), `annotations` hold `keypoints` as `x, y, v` for
each part: v is 0 without a label, 1 hidden, 2 seen.

Source: COCO's page on its data format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpm_port.annotations.labelled import HALF_PIXEL, NOBODY, Labelled, Labels, finite
from cpm_port.errors import DataError, UsageError
from cpm_port.files.json_text import read_json

__all__ = ["read_coco_keypoints"]


def read_coco_keypoints(path: Path, category: str | None = None) -> Labels:
    """Read an annotation file.

    Parameters
    ----------
    path : Path
    category : str, optional
        Which category's objects are taken; needed where several have keypoints.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is no such file: no category has keypoints, a list is missing, counts contradict each other, two images have
        one id.
    UsageError
        There is no such category, or there are several to choose from.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected COCO's object of images, annotations and categories")
    images, annotations, categories = (_objects(content, name, path) for name in _LISTS)
    chosen = _category(categories, category, path)
    number, parts = str(chosen["id"]), tuple(chosen["keypoints"])
    named = _by_id(images, path)
    others = {str(c.get("id")): str(c.get("name", c.get("id"))) for c in categories}
    people = []
    for index, annotation in enumerate(annotations):
        where = f"{path}: annotation {annotation.get('id', index)}"
        image = named.get(str(annotation.get("image_id")))
        if image is None or not isinstance(image.get("file_name"), str):
            raise DataError(f"{where}: image_id {annotation.get('image_id')!r}: no such image with a file_name")
        joints, left_out = {}, ""
        if str(annotation.get("category_id", number)) != number:
            left_out = f"of another category: {others.get(str(annotation.get('category_id')), 'unknown')}"
        elif annotation.get("iscrowd"):
            left_out = "a crowd"
        elif "keypoints" in annotation:
            joints = _joints(annotation["keypoints"], parts, where)
        people.append(Labelled(image["file_name"], where, joints, _size(image), _box(annotation, where), left_out))
    told = {str(annotation.get("image_id")) for annotation in annotations}
    for key, image in named.items():
        if key not in told and isinstance(image.get("file_name"), str):
            people.append(Labelled(image["file_name"], f"{path}: image {key}", {}, left_out=NOBODY))
    return Labels(people, parts, _skeleton(chosen, parts, path))


_LISTS = ("images", "annotations", "categories")


def _objects(content: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError(f"{path}: {name}: expected a list of objects")
    return found


def _by_id(images: list[dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """Return the images by their ids, which joined files may have twice."""
    named: dict[str, dict[str, Any]] = {}
    for image in images:
        key = str(image.get("id"))
        if key in named:
            names = f"{named[key].get('file_name')} and {image.get('file_name')}"
            raise DataError(f"{path}: {names} have the same id {key}, expected one id per image")
        named[key] = image
    return named


def _category(categories: list[dict[str, Any]], wanted: str | None, path: Path) -> dict[str, Any]:
    with_parts = [c for c in categories if c.get("keypoints") and "id" in c]
    if not with_parts:
        raise DataError(f"{path}: no category has a list of keypoints")
    names = ", ".join(str(c.get("name")) for c in with_parts)
    found = [c for c in with_parts if wanted in (None, c.get("name"))]
    if not found:
        raise UsageError(f"{path}: no category {wanted!r} with keypoints; there are {names}")
    if len(found) > 1:
        raise UsageError(f"{path}: {len(found)} categories have keypoints: {names}; say which with --category")
    parts = found[0]["keypoints"]
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise DataError(f"{path}: keypoints of category {found[0].get('name')!r}: expected a list of names")
    if len(set(parts)) < len(parts):
        raise DataError(f"{path}: keypoints of category {found[0].get('name')!r}: the same name twice")
    return found[0]


def _joints(values: Any, parts: tuple[str, ...], where: str) -> dict[str, tuple[float, float, bool]]:
    if not isinstance(values, list) or len(values) != 3 * len(parts):
        count = len(values) if isinstance(values, list) else 0
        raise DataError(f"{where}: {count} numbers in keypoints, expected 3 for each of {len(parts)} parts")
    numbers = finite(values, f"{where}: keypoints")
    triples = zip(parts, numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return {part: (x, y, seen > 1) for part, x, y, seen in triples if seen > 0}


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None


def _box(annotation: dict[str, Any], where: str) -> tuple[float, float, float, float] | None:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return None
    x, y, width, height = finite(box, f"{where}: bbox")
    x, y = x - HALF_PIXEL, y - HALF_PIXEL
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _skeleton(category: dict[str, Any], parts: tuple[str, ...], path: Path) -> tuple[tuple[str, str], ...]:
    pairs = category.get("skeleton") or []
    numbers = set(range(1, len(parts) + 1))
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        right = isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n in numbers for n in pair)
        if not right:
            raise DataError(f"{path}: skeleton: {pair!r:.40}, expected two parts' numbers, from 1 to {len(parts)}")
    return tuple((parts[a - 1], parts[b - 1]) for a, b in pairs if a != b)
