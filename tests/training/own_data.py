"""Somebody's own data for the tests: drawn people, with some of their joints and places between them as parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from cpm_port.annotations.samples import Person
from cpm_port.drawn.source import DrawnPeople
from cpm_port.parts import CPM14, PartOrder
from cpm_port.records.genjson import write_genjson

FIVE = ("head_top", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
TWENTY_ONE = (*CPM14.parts, *(f"{a}-{b}" for a, b in CPM14.limbs[:7]))
"""All fourteen joints, and the middles of seven limbs."""


def write_own_data(
    folder: Path, parts: Sequence[str], trained: Sequence[int], held_out: Sequence[int] = (), *, size: int = 96
) -> Path:
    """Write drawn people, known by their numbers, as an annotation file with images; return its path.

    The same person may come several times; nobody of `trained` is marked, everybody of `held_out` as validation.
    """
    (folder / "images").mkdir(parents=True)
    people = DrawnPeople(max((*trained, *held_out)) + 1, size, difficulty=0)
    order, samples = PartOrder("own", tuple(parts), ()), []
    for number, index in enumerate((*trained, *held_out)):
        sample, image = people[index]
        path = folder / "images" / f"{number}.png"
        cv2.imwrite(str(path), image)
        split = "train" if number < len(trained) else "validation"
        person = replace(sample.person, **_chosen(sample.person, parts))
        samples.append(
            replace(
                sample, dataset="OWN", name=f"{number}_1", image=path, order=order, person=person, others=(),
                split=split, annolist_index=None, people_index=1,
            )
        )  # fmt: skip
    write_genjson(folder / "own.json", samples, folder / "images")
    return folder / "own.json"


def _chosen(person: Person, parts: Sequence[str]) -> dict[str, np.ndarray]:
    ends = [[CPM14.index(name) for name in part.split("-")] for part in parts]
    joints = np.array([person.joints[rows].mean(axis=0) for rows in ends])
    return {"joints": joints, "visible": np.array([person.visible[rows].all() for rows in ends])}
