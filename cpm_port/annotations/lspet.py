"""People of the extended Leeds set as training and validation use them: cleaned labels, and a box around each.

FILES -> SAMPLES: `lsp.read_lspet` reads the labels as they stand; here they are made usable, explicitly:

- a joint labelled outside its image counts as absent;
- center and scale, which the set does not give, come from the box around the labelled joints: its middle, and its
  longer side / 200 px (where MPII divides a person's height);
- for training, people are left out who have fewer than `MIN_JOINTS` labels, or whose shoulders and hips contradict each
  other: the line of the shoulders, right to left, points one way along the torso's cross axis and that of the hips
  clearly the other (5.7 % of the set against 2.2 % of LSP, whose labels were checked: mostly left and right swapped).

The labels are person-centric, as LSP's: in 71 % of the people the right shoulder lies to the viewer's left, in LSP in
66 %; nothing is swapped here.

Split: images 8501 to 9000 are held out, all others are for training. Ours; the set itself has none. So a folder of
the first 9,000 images and one of all 10,000 have the same held-out people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.lsp import read_lspet
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError
from cpm_port.imaging.reading import image_size
from cpm_port.parts import LSP14
from cpm_port.release import MPII_PERSON_HEIGHT

__all__ = [
    "HELD_OUT",
    "MIN_JOINTS",
    "contradicts_itself",
    "read_held_out",
    "read_not_held_out",
    "read_training",
    "usable",
    "with_label_box",
]

HELD_OUT = range(8501, 9001)
"""Numbers of the images that are held out."""

MIN_JOINTS = 6
_CLEAR_SHOULDERS, _CLEAR_HIPS = 0.15, 0.10  # of the torso's length
_SMALLEST_BOX = 10.0  # px


def read_training(labels: str | Path, images: str | Path) -> list[Sample]:
    """Return the people to train on: those of `read_not_held_out` who are `usable`; parameters and errors as there."""
    return usable(read_not_held_out(labels, images))


def read_not_held_out(labels: str | Path, images: str | Path) -> list[Sample]:
    """Return all people who are not held out, each with center and scale where any joint is labelled.

    Parameters
    ----------
    labels : path
        `joints.mat`.
    images : path
        Folder of the images; their sizes are read.

    Raises
    ------
    MissingFileError, DataError
        Labels or images that are missing or unreadable.
    """
    return [with_label_box(s) for s in read_lspet(labels, images) if s.annolist_index not in HELD_OUT]


def usable(samples: Sequence[Sample]) -> list[Sample]:
    """Return those with `MIN_JOINTS` labels and a scale, whose shoulders and hips do not contradict each other."""
    return [s for s in samples if _labels_of(s) >= MIN_JOINTS and s.person.scale and not contradicts_itself(s.person)]


def read_held_out(labels: str | Path, images: str | Path, *, absent_too: bool = False) -> list[Sample]:
    """Return the held-out people as test samples; parameters and errors as `read_training`.

    With `absent_too`, people whose image is not there come as they are labelled, without center and scale, instead of
    an error.

    Raises
    ------
    DataError
        The labels end before the held-out people do.
    """
    people = [s for s in read_lspet(labels, images) if s.annolist_index in HELD_OUT]
    if len(people) < len(HELD_OUT):
        raise DataError(f"{labels}: expected at least {HELD_OUT[-1]} people, as images {HELD_OUT[0]} on are held out")
    unseen = {s.name for s in people if absent_too and (s.image is None or not s.image.is_file())}
    return [replace(s if s.name in unseen else with_label_box(s), split="test") for s in people]


def with_label_box(sample: Sample) -> Sample:
    """Drop labels outside the image; set center and scale from the box around the rest.

    Returns
    -------
    Sample
        With `image_size`; center and scale None where no joint is labelled.

    Raises
    ------
    MissingFileError, DataError
        The image is missing or unreadable.
    """
    path = sample.require_image()
    size = image_size(path)
    joints = sample.person.joints.copy()
    with np.errstate(invalid="ignore"):
        inside = ((joints >= 0) & (joints <= np.array(size) - 1)).all(axis=1)
    joints[~inside] = np.nan
    person = Person(joints, sample.person.visible & inside)
    if inside.any():
        low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)
        x, y = (low + high) / 2
        side = max(float((high - low).max()), _SMALLEST_BOX)
        person = replace(person, center=(float(x), float(y)), scale=side / MPII_PERSON_HEIGHT)
    return replace(sample, person=person, image_size=size)


def contradicts_itself(person: Person) -> bool:
    """Whether shoulders and hips clearly point opposite ways (see the module); False where a joint is absent."""
    joints = dict(zip(LSP14.parts, person.joints, strict=True))
    neck, right_hip, left_hip = joints["neck"], joints["right_hip"], joints["left_hip"]
    torso = neck - (right_hip + left_hip) / 2
    length = float(np.hypot(*torso))
    if not length > 0:
        return False
    across = np.array([-torso[1], torso[0]]) / length**2
    shoulders = _along(joints["left_shoulder"] - joints["right_shoulder"], across)
    hips = _along(left_hip - right_hip, across)
    return shoulders * hips < 0 and abs(shoulders) > _CLEAR_SHOULDERS and abs(hips) > _CLEAR_HIPS


def _along(vector: NDArray[np.float64], axis: NDArray[np.float64]) -> float:
    return float(vector @ axis)


def _labels_of(sample: Sample) -> int:
    return int(sample.person.annotated.sum())
