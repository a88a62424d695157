"""Protocols for parts of one's own: PCK by a stated length, and OKS.

JOINTS -> METRICS. The parts' order comes from the label file, so these protocols are made for each one.

- `own-pck`: a joint is found where it lies within the threshold times a length: half the longer side of the box around
  the person's labelled joints, half the size that the person's scale tells where there is one part, or the distance of
  two named parts. People to whom the labels give no such length do not count. A training run validates by the first
  two as well, but by the torso where the parts have one: another measure, not to be quoted.
- `own-oks`: a person is found where their object keypoint similarity (`oks.py`) reaches a level; its error is 1 - OKS,
  so the threshold 0.5 asks for an OKS of 0.5, and the area is the mean over the levels 0.5, 0.51, ..., 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.oks import joints_area, keypoint_similarity
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.protocols import Protocol
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import Convention, PartOrder

__all__ = ["OWN_DATASET", "OWN_PROTOCOLS", "half_box", "own_protocol"]

OWN_DATASET = "OWN"
OWN_PROTOCOLS = {
    "own-pck": "PCK at 0.2 of half the longer side of the labelled joints' box (one part: of half the labelled size), "
    "or of the distance of two named parts",
    "own-oks": "share of people whose object keypoint similarity (COCO's formula) is 0.5 or more",
}
_PERSON = "person"


def own_protocol(name: str, order: PartOrder, length: tuple[str, str] | None = None) -> Protocol:
    """Return a protocol for these parts.

    Parameters
    ----------
    name : str
        A key of `OWN_PROTOCOLS`.
    order : PartOrder
    length : (str, str), optional
        The parts whose distance PCK goes by, instead of half the box.

    Raises
    ------
    UsageError
        No such protocol, parts that the order lacks, a length for OKS, or OKS of one part, whose labels have no area.
    """
    if name not in OWN_PROTOCOLS:
        raise UsageError(f"no protocol {name!r} of parts of one's own; known: {', '.join(OWN_PROTOCOLS)}")
    if length is not None and (name != "own-pck" or not set(length) <= set(order.parts) or length[0] == length[1]):
        raise UsageError(f"{name} by {' - '.join(length)}: own-pck takes two of {', '.join(order.parts)}")
    if name == "own-oks" and len(order) == 1:
        raise UsageError(f"own-oks: one part, {order.parts[0]}, has no area to measure by; --protocol own-pck does")
    convention = Convention(order, 0, "person")
    if name == "own-oks":
        return Protocol(
            name, OWN_DATASET, convention, (_PERSON,), {"OKS": (_PERSON,)}, partial(_dissimilarity, order),
            threshold=0.5, limit=0.5, strict=False, total="pooled", extras={"OKS 0.75": 0.25, "OKS 0.9": 0.1},
            rules=OWN_PROTOCOLS[name], needed=order.parts,
        )  # fmt: skip
    called = name if length is None else f"{name} by {' - '.join(length)}"
    return Protocol(
        called, OWN_DATASET, convention, order.parts, {part: (part,) for part in order.parts},
        partial(_errors, order, length), threshold=0.2, limit=0.2, strict=False, total="pooled", extras={},
        rules=OWN_PROTOCOLS[name],
    )  # fmt: skip


def half_box(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the longer side of the box around each person's labelled joints; 0 for one joint, NaN for none.

    Parameters
    ----------
    joints : ndarray, shape (N, P, 2)
        NaN without a label.
    """
    low = np.where(np.isnan(joints), np.inf, joints).min(axis=1)
    high = np.where(np.isnan(joints), -np.inf, joints).max(axis=1)
    longer = (high - low).max(axis=1) / 2
    return np.asarray(np.where(longer >= 0, longer, np.nan))


def _errors(
    order: PartOrder, length: tuple[str, str] | None, predicted: NDArray[np.float64], truth: Truth
) -> NDArray[np.float64]:
    joints = truth.joints.xy
    if length is not None:
        first, second = (joints[:, order.index(part)] for part in length)
        lengths = np.hypot(*(first - second).T)
    elif len(order) == 1:
        lengths = np.full(len(joints), np.nan) if truth.height is None else truth.height / 2
    else:
        lengths = half_box(joints)
    counted = np.isfinite(lengths) & (lengths > 0)
    if not counted.any():
        raise DataError(
            "no person's labels give a length to measure by: two parts of a person, or --length's two, or of one part "
            "a scale"
        )
    known = np.where(counted[:, None, None], joints, np.nan)
    return normalized_errors(predicted, known, np.where(counted, lengths, 1.0))


def _dissimilarity(order: PartOrder, predicted: NDArray[np.float64], truth: Truth) -> NDArray[np.float64]:
    """Return 1 - OKS of each person, NaN where the labels give no area."""
    errors = np.full((len(predicted), 1), np.nan)
    for row, (found, labelled) in enumerate(zip(predicted, truth.joints.xy, strict=True)):
        area = joints_area(labelled)
        if area > 0:
            missed = np.isnan(found).any(axis=1, keepdims=True)
            errors[row] = 1 - keypoint_similarity(np.where(missed, _FAR, found), labelled, area, order)
    return errors


_FAR = 1e9  # px: a part that is not predicted is like nothing
