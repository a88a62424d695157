"""Labels of an annotation tool -> samples to train on, with a report of what was left out and why.

FILES -> SAMPLES: the one door for data of one's own, as `trained.py` is for the published sets. The images are looked
for in one folder, under their whole names and then under the ends of them (a file of another machine names other
folders), and their sizes are held against what the tool saw. Joints outside their image count as not labelled.
Center and scale come from the box that the tool has of the whole person, else from the box around the labelled joints:
its middle, and its longer side / 200 px (where MPII divides a person's height).

Whoever is left out because their size is not known stays a neighbour of the others in the image: stage 1 learns
everybody's parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from cpm_port.annotations.coco import read_coco_keypoints
from cpm_port.annotations.cvat import read_cvat
from cpm_port.annotations.genjson import OWN_ORDER, check_part_names
from cpm_port.annotations.keypoint_table import read_keypoint_table
from cpm_port.annotations.label_studio import read_label_studio
from cpm_port.annotations.labelled import HALF_PIXEL, Labelled, Labels
from cpm_port.annotations.labelme import read_labelme
from cpm_port.annotations.samples import Person, Sample
from cpm_port.annotations.trained import split_by_image
from cpm_port.errors import CpmPortError, DataError, MissingFileError, UsageError
from cpm_port.imaging.reading import image_size
from cpm_port.parts import PartOrder
from cpm_port.release import MPII_PERSON_HEIGHT

__all__ = ["TOOLS", "Imported", "ImportedChoices", "read_imported"]

TOOLS: dict[str, Callable[[Path], Labels]] = {
    "coco": read_coco_keypoints,
    "csv": read_keypoint_table,
    "cvat": read_cvat,
    "labelme": read_labelme,
    "labelstudio": read_label_studio,
}
"""Annotation tools and the readers of their files."""
_WITH_CATEGORIES = {"coco": read_coco_keypoints, "cvat": read_cvat}

DATASET = "OWN"
_SMALLEST = 10.0  # px of the longer side; smaller people would be enlarged to noise
_SIZELESS = f"smaller than {_SMALLEST:g} px, or one part and no box: the size is not known"
_NAMED = 3  # how many of those left out for one reason are named


@dataclass(frozen=True)
class ImportedChoices:
    """What a user decides about data of their own.

    Attributes
    ----------
    category : str or None
        COCO and CVAT's skeletons: whose parts are meant, where several categories have some.
    parts : sequence of str
        The parts to keep, in this order; none: all, in the file's order.
    flip_pairs, skeleton : sequence of (str, str)
        Left and right counterparts whose names do not tell; parts that drawings join (none: the file's own).
    validate_every : int or None
        Every so many-th image is marked as validation.
    """

    category: str | None = None
    parts: Sequence[str] = ()
    flip_pairs: Sequence[tuple[str, str]] = ()
    skeleton: Sequence[tuple[str, str]] = ()
    validate_every: int | None = None


@dataclass(frozen=True, eq=False)
class Imported:
    """The people to train on, and what became of the rest.

    Attributes
    ----------
    samples : list of Sample
    order : PartOrder
    left_out : mapping of str to list of str
        Reason -> the entries of the file.
    outside : int
        Joints outside their image, which count as not labelled.
    """

    samples: list[Sample]
    order: PartOrder
    left_out: Mapping[str, list[str]]
    outside: int

    def report(self) -> list[str]:
        """Return what was taken and what was not, a line each."""
        order = self.order
        images = {sample.image for sample in self.samples}
        held = [sample for sample in self.samples if sample.split == "validation"]
        joints = np.stack([sample.person.annotated for sample in self.samples]).sum(axis=0)
        counts = ", ".join(f"{part} {count}" for part, count in zip(order.parts, joints, strict=True))
        pairs = [f"{order.parts[i]} - {order.parts[j]}" for i, j in enumerate(order.mirrored()) if i < j]
        lines = [
            f"{len(self.samples)} people in {len(images)} images, {len(held)} of them for validation "
            f"({len({sample.image for sample in held})} images)",
            f"{len(order)} parts and their labels: {counts}",
            f"a flip exchanges: {', '.join(pairs) or 'no parts (--flip-pairs A:B says which)'}",
        ]
        if self.outside:
            lines.append(f"{self.outside} joints lie outside their image and count as not labelled")
        for reason, who in self.left_out.items():
            shown = "; ".join(who[:_NAMED]) + ("; ..." if len(who) > _NAMED else "")
            lines.append(f"left out, {len(who)}: {reason} ({shown})")
        return lines


def read_imported(
    tool: str, labels: str | Path, images: str | Path, choices: ImportedChoices | None = None
) -> Imported:
    """Read the people to train on from an annotation tool's file.

    Parameters
    ----------
    tool : str
        A key of `TOOLS`.
    labels, images : path
        The tool's file (labelme: or its folder), and the folder of the images.
    choices : ImportedChoices, optional

    Raises
    ------
    MissingFileError
        The file, the folder or every image is not there.
    DataError
        The file is not what it should be, its coordinates are fractions of the image, or nobody is left to train on.
    UsageError
        An unknown tool, category or part, a part in two pairs, or `validate_every` below 2.
    """
    choices = choices or ImportedChoices()
    if tool not in TOOLS:
        raise UsageError(f"annotations of {tool!r}: expected one of {', '.join(TOOLS)}")
    if choices.category is not None and tool not in _WITH_CATEGORIES:
        raise UsageError(f"--category is for {' and '.join(_WITH_CATEGORIES)}, not for {tool}")
    read = partial(_WITH_CATEGORIES[tool], category=choices.category) if tool in _WITH_CATEGORIES else TOOLS[tool]
    found = read(Path(labels))
    _check_pixels(found, labels)
    if not Path(images).is_dir():
        raise MissingFileError(f"{images}: no such folder of images")
    order = _order(found, choices, str(labels))
    return _imported(found, order, Path(images), choices.validate_every, Path(labels))


def _order(found: Labels, choices: ImportedChoices, source: str) -> PartOrder:
    """Return the parts' order, their counterparts and their skeleton."""
    parts = tuple(choices.parts or found.parts)
    unknown = set(parts) - set(found.parts)
    if unknown:
        raise UsageError(f"{source}: no part {', '.join(sorted(unknown))}; there are {', '.join(found.parts)}")
    if len(set(parts)) < len(parts):
        raise UsageError(f"the same part twice in {', '.join(parts)}")
    check_part_names(parts, source)
    for name, pairs in (("flip pairs", choices.flip_pairs), ("skeleton", choices.skeleton)):
        for pair in pairs:
            if not set(pair) <= set(parts) or pair[0] == pair[1]:
                raise UsageError(f"{name}: {':'.join(pair)}, expected two of {', '.join(parts)}")
    paired = [part for pair in choices.flip_pairs for part in pair]
    if len(set(paired)) < len(paired):
        raise UsageError(f"flip pairs: the same part twice in {', '.join(paired)}")
    limbs = [pair for pair in choices.skeleton or found.skeleton if set(pair) <= set(parts)]
    return PartOrder(OWN_ORDER, parts, tuple(limbs), pairs=tuple(choices.flip_pairs))


def _imported(found: Labels, order: PartOrder, images: Path, validate_every: int | None, source: Path) -> Imported:
    by_image: dict[str, list[Labelled]] = {}
    for one in found.people:
        by_image.setdefault(one.image, []).append(one)
    left_out: dict[str, list[str]] = {}
    samples: list[Sample] = []
    taken: dict[Path, str] = {}
    outside = 0
    for name, people in by_image.items():
        image = _look_up(images, name, taken)
        if isinstance(image, str):
            left_out.setdefault(image, []).extend(_who(one, source) for one in people)
            continue
        path, size = image
        placed = [_person(one, order, size) for one in people]
        outside += sum(lost for _, lost in placed)
        persons = [person for person, _ in placed]
        reasons = [one.left_out or _unfit(one, person, size) for one, person in zip(people, persons, strict=True)]
        trusted = [reason in ("", _SIZELESS) and p.annotated.any() for reason, p in zip(reasons, persons, strict=True)]
        number = 0
        for index, (one, person) in enumerate(zip(people, persons, strict=True)):
            if reasons[index]:
                left_out.setdefault(reasons[index], []).append(_who(one, source))
                continue
            number += 1
            others = tuple(p for k, p in enumerate(persons) if k != index and trusted[k])
            samples.append(
                Sample(
                    DATASET, f"{path.stem}_{number}", path, "train", order, "person", person, others, image_size=size,
                    people_index=number,
                )
            )  # fmt: skip
    if not samples:
        raise _nobody_left(found, left_out, source)
    return Imported(split_by_image(samples, validate_every), order, left_out, outside)


def _look_up(images: Path, name: str, taken: dict[Path, str]) -> tuple[Path, tuple[int, int]] | str:
    """Return an image's file and size, or why it is of no use; `taken` keeps which name each file was found by."""
    path = _find(images, name)
    if path is None:
        return f"no such image in {images}"
    found_by = taken.setdefault(path, name)
    try:
        size = image_size(path)
    except CpmPortError as error:
        return str(error)
    return (path, size) if found_by == name else f"{name} and {found_by} would be the same file {path}"


def _nobody_left(found: Labels, left_out: Mapping[str, list[str]], source: Path) -> MissingFileError | DataError:
    told = "; ".join(f"{len(who)}: {reason} ({who[0]})" for reason, who in list(left_out.items())[:_NAMED])
    absent = bool(left_out) and all(reason.startswith("no such image ") for reason in left_out)
    return (MissingFileError if absent else DataError)(
        f"{source}: nobody is left to train on, of {len(found.people)} ({told or 'nobody is labelled'})"
    )


def _who(person: Labelled, source: Path) -> str:
    which = person.where.removeprefix(f"{source}: ")
    return person.image if which == person.image else f"{person.image}, {which}"


def _find(images: Path, name: str) -> Path | None:
    """Return where an image is: under its whole name, else under the longest end of it; None where there is none."""
    for spelled in dict.fromkeys((name, unquote(name))):
        parts = [part for part in spelled.replace("\\", "/").split("/") if part not in ("", ".")]
        inside = parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts
        for start in range(len(inside)):
            candidate = images.joinpath(*inside[start:])
            if os.path.isfile(candidate):  # Path's own raises for a name that is too long
                return candidate
    return None


def _check_pixels(found: Labels, source: str | Path) -> None:
    """Refuse coordinates that are fractions of the image, as many programs give them."""
    places = [place for person in found.people for x, y, _ in person.joints.values() for place in (x, y)]
    if any(places) and all(-HALF_PIXEL <= place <= 1 for place in places):
        raise DataError(f"{source}: every coordinate is between 0 and 1, so of the image's size; expected pixels")


def _person(one: Labelled, order: PartOrder, size: tuple[int, int]) -> tuple[Person, int]:
    """Return a person with center and scale where they are known, and how many joints lie outside the image."""
    joints, visible = np.full((len(order), 2), np.nan), np.zeros(len(order), bool)
    for part, (x, y, seen) in one.joints.items():
        if part in order.parts:
            joints[order.index(part)], visible[order.index(part)] = (x, y), seen
    last = np.array(size) - 1.0
    with np.errstate(invalid="ignore"):
        outside = ((joints < -0.5) | (joints > last + 0.5)).any(axis=1)
    joints[outside], visible[outside] = np.nan, False
    person = Person(np.clip(joints, 0.0, last), visible)
    box = one.box
    if box is None and person.annotated.any():
        low, high = np.nanmin(person.joints, axis=0), np.nanmax(person.joints, axis=0)
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    if box is not None:
        side = max(box[2] - box[0], box[3] - box[1])
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        person = replace(person, center=center, scale=side / MPII_PERSON_HEIGHT if side >= _SMALLEST else None)
    return person, int(outside.sum())


def _unfit(one: Labelled, person: Person, size: tuple[int, int]) -> str:
    """Say why nobody can be trained on a person, "" where they can."""
    if one.size is not None and one.size != size:
        turned = ", turned by its EXIF orientation" if one.size == size[::-1] else ", so it was resized"
        return f"labelled on a picture of {one.size[0]} x {one.size[1]}, this one is {size[0]} x {size[1]}{turned}"
    if not person.annotated.any():
        return "no part is labelled in the image"
    if person.scale is None:
        return _SIZELESS
    return ""
