"""Percentage of detected joints, PDJ (Toshev and Szegedy's DeepPose): PCK of the ground truth's torso diameter.

JOINTS -> METRICS. A joint is detected where its error is `<=` a fraction of the torso's diameter, the distance from the
left shoulder to the right hip *of the ground truth*. So PDJ at 0.2 of elbows and wrists is what the paper's FLIC
figures show, and PDJ of all joints on LSP is the paper's PCK: one arithmetic under two names. It differs from the FLIC
script of the release, whose torso is the prediction's, and from MPII's PCKh, whose length is the head's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.pck import pck
from cpm_port.parts import PartOrder

__all__ = ["pdj", "torso_diameter"]


def torso_diameter(xy: NDArray[np.float64], order: PartOrder) -> NDArray[np.float64]:
    """Return |left shoulder - right hip| in px, shape (N,), of coordinates (N, P, 2) in `order`."""
    across = xy[:, order.index("left_shoulder")] - xy[:, order.index("right_hip")]
    return np.asarray(np.sqrt((across**2).sum(axis=1)))


def pdj(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], order: PartOrder, fractions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the detected joints.

    Parameters
    ----------
    predicted, truth : ndarray, shape (N, P, 2)
        In `order`.
    fractions : ndarray, shape (T,)
        Fractions of the torso's diameter, ascending.

    Returns
    -------
    hits : ndarray, shape (T, P), int64
    counts : ndarray, shape (P,), int64

    Raises
    ------
    ShapeError, DataError
        As `cpm_port.evaluation.pck.pck`.
    """
    return pck(predicted, truth, torso_diameter(truth, order), fractions)
