"""A picture of labels that were cleaned: people before and after, side by side, to look at before training on them.

SAMPLES, CHANGES -> A PICTURE. People are chosen evenly over the kinds of change; the same choice for the same input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.cleaning import Change
from cpm_port.annotations.samples import Sample
from cpm_port.errors import DataError
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.reading import read_image
from cpm_port.report.drawing import PAPER, draw_joints
from cpm_port.report.tiles import tile, write_tiles

__all__ = ["choose_changes", "write_changes"]

SHOWN = 50


def write_changes(
    path: str | Path, before: Sequence[Sample], after: Sequence[Sample], changes: Sequence[Change], shown: int = SHOWN
) -> None:
    """Write a picture of people whose labels changed: each before, and after where they were kept.

    Parameters
    ----------
    path : path
        A suffix that OpenCV writes, for instance `.png`.
    before, after : sequence of Sample
        With images.
    changes : sequence of Change
    shown : int
        At most so many people.

    Raises
    ------
    DataError
        Nothing changed, or an image is not readable.
    MissingFileError
        An image is not there.
    UsageError
        The suffix is none that OpenCV writes.
    """
    chosen = choose_changes(changes, shown)
    if not chosen:
        raise DataError(f"{path}: no label changed, so there is nothing to draw")
    old, new = ({sample.name: sample for sample in samples} for samples in (before, after))
    tiles = [_pair(change, old[change.name], new.get(change.name)) for change in chosen]
    write_tiles(path, tiles)


def choose_changes(changes: Sequence[Change], shown: int) -> list[Change]:
    """Return up to `shown` changes: of every kind alike, and spread over each kind's people."""
    kinds: list[list[Change]] = [[], [], [], []]
    for change in changes:
        kinds[0 if change.swapped else 1 if change.dropped else 2 if change.masked else 3].append(change)
    chosen: list[Change] = []
    for left, kind in zip(range(len(kinds), 0, -1), sorted(kinds, key=len), strict=True):
        count = min(len(kind), (shown - len(chosen)) // left)
        chosen += [kind[i * len(kind) // count] for i in range(count)]
    return chosen


def _pair(change: Change, before: Sample, after: Sample | None) -> NDArray[np.uint8]:
    image = read_image(before.require_image())
    left = tile(draw_joints(image, before.person.joints, before.order))
    right = np.full_like(left, 200) if after is None else tile(draw_joints(image, after.person.joints, after.order))
    kinds = [kind for kind in ("swapped", "dropped", "masked", "filled") if getattr(change, kind)]
    pair = np.hstack([left, right])
    cv2.putText(pair, f"{change.name} {', '.join(kinds)}", (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 255))
    return np.ascontiguousarray(cv2.copyMakeBorder(pair, 2, 2, 2, 8, cv2.BORDER_CONSTANT, value=(PAPER,) * 3))
