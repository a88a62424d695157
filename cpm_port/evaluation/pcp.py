"""Percentage of correct parts, PCP: a stick between two joints is found or not.

JOINTS -> METRICS. The strict form, as MPII's LSP toolkit has it: *both* ends of the predicted stick lie within half of
the true stick's length from their true places (the loose form takes the mean of the two distances).

How it differs from other PCPs in use:

- the torso's ends are the midpoint of the shoulders and the midpoint of the hips (98.0 % for the release's predictions
  on LSP; from neck to the midpoint of the hips the same predictions give 98.4);
- the mean is over the ten sticks, so limbs weigh twice;
- a true stick of length zero (one in LSP's test set, image 184 from 0) counts, and is found only by a prediction that
  hits both ends exactly. Its error is written as infinite or, in that case, zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError
from cpm_port.parts import PartOrder

__all__ = ["STICKS", "stick_errors"]

_MID_SHOULDERS = ("left_shoulder", "right_shoulder")
_MID_HIPS = ("left_hip", "right_hip")

STICKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "torso": (_MID_SHOULDERS, _MID_HIPS),
    "right_upper_leg": (("right_hip",), ("right_knee",)),
    "left_upper_leg": (("left_hip",), ("left_knee",)),
    "right_lower_leg": (("right_knee",), ("right_ankle",)),
    "left_lower_leg": (("left_knee",), ("left_ankle",)),
    "right_upper_arm": (("right_shoulder",), ("right_elbow",)),
    "left_upper_arm": (("left_shoulder",), ("left_elbow",)),
    "right_forearm": (("right_elbow",), ("right_wrist",)),
    "left_forearm": (("left_elbow",), ("left_wrist",)),
    "head": (("neck",), ("head_top",)),
}
"""Each stick's two ends; an end of two parts is their midpoint."""


def stick_errors(predicted: NDArray[np.float64], truth: NDArray[np.float64], order: PartOrder) -> NDArray[np.float64]:
    """Return each stick's larger end error divided by the true stick's length.

    A stick is correct at threshold t (0.5 by custom) where this is `<= t`.

    Parameters
    ----------
    predicted, truth : ndarray, shape (N, P, 2)
        In `order`; NaN in `truth`: not annotated, in `predicted`: not predicted.

    Returns
    -------
    ndarray, shape (N, 10), float64
        In the order of `STICKS`; NaN where an end is not annotated, infinite (a miss) where one is not predicted.

    Raises
    ------
    ShapeError
        The shapes do not fit each other or the order.
    """
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.shape[1:] != (len(order), 2):
        raise ShapeError(
            f"predictions have shape {predicted.shape}, the ground truth {truth.shape}; "
            f"expected (N, {len(order)}, 2) for both"
        )
    columns = []
    for first, second in STICKS.values():
        ends_true = [_point(truth, order, end) for end in (first, second)]
        ends_predicted = [_point(predicted, order, end) for end in (first, second)]
        length = _distance(ends_true[0], ends_true[1])
        error = np.maximum(
            _distance(ends_predicted[0], ends_true[0]),
            _distance(ends_predicted[1], ends_true[1]),
        )
        error[np.isfinite(length) & np.isnan(error)] = np.inf
        zero = length == 0
        quotient = error / np.where(zero, 1.0, length)
        columns.append(np.where(zero & (error > 0), np.inf, quotient))
    return np.stack(columns, axis=1)


def _point(xy: NDArray[np.float64], order: PartOrder, parts: tuple[str, ...]) -> NDArray[np.float64]:
    return np.asarray(xy[:, [order.index(part) for part in parts]].mean(axis=1))


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=1)))
