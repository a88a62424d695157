"""The torso's diameter, by which the percentage of detected joints is normalized (PDJ; Toshev and Szegedy's DeepPose).

JOINTS -> METRICS. PDJ is PCK (`cpm_port.evaluation.pck`) normalized by this length of the *ground truth*: a joint is
detected where its error is `<=` a fraction of the distance from the left shoulder to the right hip. So PDJ at 0.2 of
elbows and wrists is what the paper's FLIC figures show, and PDJ of all joints on LSP is the paper's PCK: one arithmetic
under two names. It differs from the FLIC script of the release, whose torso is the prediction's, and from MPII's PCKh,
whose length is the head's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.parts import PartOrder

__all__ = ["torso_diameter"]


def torso_diameter(xy: NDArray[np.float64], order: PartOrder) -> NDArray[np.float64]:
    """Return |left shoulder - right hip| in px, shape (N,), of coordinates (N, P, 2) in `order`."""
    across = xy[:, order.index("left_shoulder")] - xy[:, order.index("right_hip")]
    return np.asarray(np.sqrt((across**2).sum(axis=1)))
