"""Samples -> the JSON layout of the release's training code, as `genJSON.m` writes it, without MATLAB.

Conventions: 1-based coordinates in the file; a joint that is not annotated is `[0, 0, 0]`; 14 parts move into MPII's
order of 16 with pelvis and thorax absent; the list stands under "root", where the release's `genLMDB.py` looks for it;
image names are relative to the folder of images. `annotations/genjson.py` reads it back. The parts' names, pairs and
skeleton are written beside the list where the samples' data set is none of the known ones (`genjson.DATASETS`) or their
order is another one.

Quirks of the layout, written as JSONLab did: every number has three decimals (`1.000`); with one other person the
lists of others lose their outer brackets; with none they are an object that stands for an empty array.

*Source*: `genJSON.m` and `genLMDB.py` of the authors' release, a published JSON file of theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.annotations.genjson import DATASETS
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError
from cpm_port.files.atomic import atomic_path
from cpm_port.parts import PartOrder
from cpm_port.records.record import place_of_other, stored_dataset, stored_joints, stored_order

__all__ = ["format_genjson", "write_genjson"]

_EMPTY = '{"_ArrayType_": "double","_ArraySize_": [0,0],"_ArrayData_": null}'


def write_genjson(
    path: str | os.PathLike[str], samples: Sequence[Sample], images: str | os.PathLike[str] | None = None
) -> None:
    """Write samples to a JSON file.

    Parameters
    ----------
    path : path
    samples : sequence of Sample
        Each with an image's name, its size, and the person's center and scale (for LSP:
        `mpi_like_scale.with_mpi_like_scale`); others without are placed as `place_of_other` says.
    images : path, optional
        Folder of the images: they are named from there. By default their names have no folder.

    Raises
    ------
    DataError
        One of these is missing (the message names the sample), or the samples need several lists of parts' names.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(format_genjson(samples, images))


def format_genjson(samples: Sequence[Sample], images: str | os.PathLike[str] | None = None) -> Iterator[str]:
    """Yield the file's text, one record at a time; parameters and errors as `write_genjson`."""
    named = {_names(stored_order(sample.order)) for sample in samples if not _is_known(sample)}
    if len(named) > 1 or (named and any(map(_is_known, samples))):
        raise DataError("samples of several part orders, one of which has to be named; a file holds one list of names")
    yield f'{{{named.pop()}, "root": [' if named else '{"root": ['
    numbers: dict[object, int] = {}
    for number, sample in enumerate(samples):
        image_number = numbers.setdefault(sample.image, len(numbers) + 1)
        yield ("," if number else "") + _record(sample, image_number, images)
    yield "]}\n"


def _names(order: PartOrder) -> str:
    """Return what the file says of its parts: their names, and pairs and skeleton where there are any."""
    told = {"parts": order.parts, "flip_pairs": order.pairs, "skeleton": order.limbs}
    return ", ".join(f'"{name}": {json.dumps(value)}' for name, value in told.items() if value)


def _is_known(sample: Sample) -> bool:
    """Whether a reader knows the parts by the data set's name."""
    order, _ = DATASETS.get(stored_dataset(sample.dataset), (None, None))
    return order == stored_order(sample.order)


def _record(sample: Sample, image_number: int, images: str | os.PathLike[str] | None) -> str:
    where = f"{sample.dataset} {sample.name}"
    if sample.image is None or sample.image_size is None:
        raise DataError(f"{where}: expected an image's name and size, found {sample.image} and {sample.image_size}")
    center, scale = _center(sample.person, where), _scale(sample.person, where)
    others = sample.others
    joints = [_joints(sample, person) for person in others]
    places = [place_of_other(person, sample.person) for person in others]
    fields = {
        "dataset": json.dumps(stored_dataset(sample.dataset), ensure_ascii=False),
        "isValidation": _number(sample.split == "validation"),
        "img_paths": json.dumps(_name(sample.image, images), ensure_ascii=False),
        "img_width": _number(sample.image_size[0]),
        "img_height": _number(sample.image_size[1]),
        "objpos": center,
        "joint_self": _joints(sample, sample.person),
        "scale_provided": _number(scale),
        "joint_others": _collapsed(joints),
        "scale_provided_other": _collapsed([_number(scale) for _, scale in places]),
        "objpos_other": _collapsed([_one_based(center) for center, _ in places]),
        "annolist_index": _number(image_number if sample.annolist_index is None else sample.annolist_index),
        "people_index": _number(1 if sample.people_index is None else sample.people_index),
        "numOtherPeople": _number(len(others)),
    }
    return "{" + ",".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def _name(image: Path, images: str | os.PathLike[str] | None) -> str:
    return image.name if images is None else Path(os.path.relpath(image, images)).as_posix()


def _joints(sample: Sample, person: Person) -> str:
    return _nested(stored_joints(person, sample.order).tolist())


def _center(person: Person, where: str) -> str:
    if person.center is None:
        raise DataError(f"{where}: a person without a center")
    return _one_based(person.center)


def _one_based(center: tuple[float, float]) -> str:
    return _nested([value + 1 for value in center])


def _scale(person: Person, where: str) -> float:
    if person.scale is None:
        raise DataError(f"{where}: a person without a scale")
    return person.scale


def _collapsed(items: list[str]) -> str:
    """Join the others' entries; JSONLab drops an axis of one and cannot write an empty one."""
    return _EMPTY if not items else items[0] if len(items) == 1 else f"[{','.join(items)}]"


def _nested(value: Any) -> str:
    return f"[{','.join(map(_nested, value))}]" if isinstance(value, list) else _number(value)


def _number(value: float) -> str:
    if not np.isfinite(value):
        raise DataError(f"{value} cannot be written to JSON")
    return f"{float(value):.3f}"
