"""Labels and a second opinion -> cleaner labels: what to do where another source is sure that a label is wrong.

SAMPLES + OPINION -> SAMPLES. Crowd-sourced labels such as the extended Leeds set's exchange left and right, put joints
elsewhere and leave some out. A second opinion (another model's joints, with how sure it is of each) finds many of these
faults. It is not the truth: a label changes only where the opinion is sure, and every change is reported.

For each person, in this order (errors in units of the torso, see `unit_of`; a joint is *sure* where the opinion's
visibility exceeds `SURE`):

1. **swapped**: left and right of the whole person are exchanged where that makes at least `SWAP_GAIN` more sure joints
   fit (within `FIT`). Where the head is below the hips such models err, so `SWAP_GAIN_INVERTED` more are needed;
2. **dropped**: the person is left out where at least `JUDGED` joints are sure and fewer than `HOPELESS` of them are
   near (within `NEAR`), swapped or not: the two speak of different poses, so neither can teach;
3. **masked**: a labelled joint loses its label where the opinion is sure of another place (beyond `NEAR`);
4. **filled**: a joint without a label takes the opinion's place where it is sure, the place lies inside the image, and
   at least `AGREED` of the person's sure joints are near.

Conventions: coordinates are 0-based image px in the samples' own order of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Sample
from cpm_port.errors import DataError
from cpm_port.files.matlab import require_file
from cpm_port.files.npz import read_npz
from cpm_port.parts import LSP14, PartOrder

__all__ = ["Change", "Opinion", "clean", "read_opinion", "summarize"]

SURE = 0.8
FIT, NEAR = 0.3, 0.5
SWAP_GAIN, SWAP_GAIN_INVERTED = 3, 5
JUDGED, HOPELESS, AGREED = 5, 0.4, 0.7
_TORSO_OF_BOX = 0.4  # median of torso / longer side of the box over the extended Leeds set
_SHORTEST_TORSO = 0.2  # of the longer side; below, the torso is foreshortened and measures nothing


@dataclass(frozen=True, eq=False)
class Opinion:
    """What another source says of every image of a data set, one person an image.

    Attributes
    ----------
    joints : ndarray, shape (N, P, 2), float64
        0-based image px, in the order of `order`; NaN where nothing is said. Row i is image number i + 1.
    visibility : ndarray, shape (N, P), float64
        0 to 1: how sure of each joint.
    presence : ndarray, shape (N,), float64
        0 to 1: how sure that there is a person; up to a half counts as nobody.
    order : PartOrder
    """

    joints: NDArray[np.float64]
    visibility: NDArray[np.float64]
    presence: NDArray[np.float64]
    order: PartOrder = LSP14


@dataclass(frozen=True)
class Change:
    """What was done to one person's labels.

    Attributes
    ----------
    name : str
        The sample's.
    dropped, swapped : bool
    masked, filled : tuple of str
        Names of parts.
    """

    name: str
    dropped: bool = False
    swapped: bool = False
    masked: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()


def read_opinion(path: str | Path) -> Opinion:
    """Read a second opinion from an `.npz` file: `joints` (LSP's order), `visibility`, `presence`, as in `Opinion`.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        Not an .npz file, or arrays that are missing or do not fit each other.
    """
    path = require_file(path, "a file of another model's joints: arrays joints, visibility and presence")
    try:
        stored = read_npz(path)
        arrays = {name: stored[name].astype(np.float64) for name in ("joints", "visibility", "presence")}
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: expected an .npz file with joints, visibility and presence, got {error}") from error
    count = len(arrays["joints"])
    shapes = {"joints": (count, len(LSP14), 2), "visibility": (count, len(LSP14)), "presence": (count,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise DataError(f"{path}: {name}: expected shape {shape}, got {arrays[name].shape}")
    return Opinion(arrays["joints"], arrays["visibility"], arrays["presence"])


def clean(samples: Sequence[Sample], opinion: Opinion) -> tuple[list[Sample], list[Change]]:
    """Return the samples with cleaner labels, and what was changed.

    Parameters
    ----------
    samples : sequence of Sample
        Person-centric, with `annolist_index` (the number of the image, from 1) and `image_size`. Their order of parts
        may have more parts than the opinion's; those stay as they are.
    opinion : Opinion

    Returns
    -------
    samples : list of Sample
        Without those who were dropped. Center and scale stay as they were.
    changes : list of Change
        One for each sample that changed.

    Raises
    ------
    DataError
        A sample without number or size, or whose number the opinion does not reach.
    """
    kept, changes = [], []
    for sample in samples:
        cleaned, change = _clean_one(sample, opinion)
        if cleaned is not None:
            kept.append(cleaned)
        if change is not None:
            changes.append(change)
    return kept, changes


def summarize(changes: Sequence[Change], count: int) -> str:
    """Say in one line what was changed of `count` people."""
    masked, filled = (sum(len(getattr(change, kind)) for change in changes) for kind in ("masked", "filled"))
    return (
        f"{count} people: {sum(c.swapped for c in changes)} swapped, {sum(c.dropped for c in changes)} dropped, "
        f"{masked} joints masked, {filled} filled"
    )


def unit_of(joints: NDArray[np.float64], order: PartOrder) -> float:
    """Return the length that errors are measured in: left shoulder to right hip, or 0.4 of the labels' longer side.

    The second where the torso is not labelled or shorter than 0.2 of that side; 0 where nothing is labelled.

    Parameters
    ----------
    joints : ndarray, shape (P, 2), float64
        Image px; NaN where not labelled.
    order : PartOrder
    """
    if np.isnan(joints).all():
        return 0.0
    side = float(np.max(np.nanmax(joints, axis=0) - np.nanmin(joints, axis=0)))
    torso = float(np.hypot(*(joints[order.index("left_shoulder")] - joints[order.index("right_hip")])))
    return torso if torso >= _SHORTEST_TORSO * side else _TORSO_OF_BOX * side


def _clean_one(sample: Sample, opinion: Opinion) -> tuple[Sample | None, Change | None]:
    where = f"{sample.dataset} {sample.name}"
    if sample.annolist_index is None or sample.image_size is None:
        raise DataError(
            f"{where}: expected the image's number and size, got {sample.annolist_index}, {sample.image_size}"
        )
    if not 1 <= sample.annolist_index <= len(opinion.joints):
        raise DataError(
            f"{where}: image number {sample.annolist_index}; the second opinion has images 1 to {len(opinion.joints)}"
        )
    row = sample.annolist_index - 1
    places = [sample.order.index(part) for part in opinion.order.parts]
    labels, said = sample.person.joints[places], opinion.joints[row]
    unit = unit_of(labels, opinion.order)
    sure = (opinion.visibility[row] > SURE) & np.isfinite(said).all(axis=1)
    if opinion.presence[row] <= 0.5 or not unit > 0 or not sure.any():
        return sample, None
    mirrored = list(opinion.order.mirrored())
    swapped = _swap_is_better(labels, said, sure, mirrored, unit, opinion.order)
    if swapped:
        labels = labels[mirrored]
    errors = np.hypot(*(labels - said).T) / unit
    judged = sure & np.isfinite(errors)
    near = judged & (errors <= NEAR)
    if judged.sum() >= JUDGED and near.sum() < HOPELESS * judged.sum():
        return None, Change(sample.name, dropped=True)
    masked = judged & ~near
    inside = ((said >= 0) & (said <= np.array(sample.image_size) - 1)).all(axis=1)
    agreed = judged.sum() >= JUDGED and near.sum() >= AGREED * judged.sum()
    filled = sure & np.isnan(errors) & inside & agreed
    if not (swapped or masked.any() or filled.any()):
        return sample, None
    visible = sample.person.visible[places]
    visible = visible[mirrored] if swapped else visible.copy()
    labels = np.where(filled[:, None], said, np.where(masked[:, None], np.nan, labels))
    visible = (visible | filled) & ~masked
    joints, seen = sample.person.joints.copy(), sample.person.visible.copy()
    joints[places], seen[places] = labels, visible
    change = Change(
        sample.name,
        swapped=swapped,
        masked=tuple(part for part, is_masked in zip(opinion.order.parts, masked, strict=True) if is_masked),
        filled=tuple(part for part, is_filled in zip(opinion.order.parts, filled, strict=True) if is_filled),
    )
    return replace(sample, person=replace(sample.person, joints=joints, visible=seen)), change


def _swap_is_better(
    labels: NDArray[np.float64],
    said: NDArray[np.float64],
    sure: NDArray[np.bool_],
    mirrored: Sequence[int],
    unit: float,
    order: PartOrder,
) -> bool:
    """Whether exchanging left and right makes clearly more of the joints that come in pairs fit."""
    pairs = np.array([mirror != part for part, mirror in enumerate(mirrored)])
    compared = pairs & sure & sure[list(mirrored)]

    def fits(joints: NDArray[np.float64]) -> int:
        return int((np.hypot(*(joints - said).T)[compared] / unit <= FIT).sum())

    hips = said[[order.index("right_hip"), order.index("left_hip")], 1].mean()
    inverted = said[order.index("head_top"), 1] > hips
    return fits(labels[list(mirrored)]) - fits(labels) >= (SWAP_GAIN_INVERTED if inverted else SWAP_GAIN)
