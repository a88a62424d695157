"""Drawn people for the scoring tests: poses with known faults, in memory and as the data sets' own files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import FLIC9, LSP14, MPII16, Centricity, Convention, Joints, PartOrder, to_observer_centric
from cpm_port.predictions.values import Predictions

_POSE = {
    "head_top": (0, -55), "head": (0, -45), "neck": (0, -20), "thorax": (0, -5), "pelvis": (0, 80),
    "right_shoulder": (-30, 0), "left_shoulder": (30, 0), "right_hip": (-20, 80), "left_hip": (20, 80),
    "right_elbow": (-45, 45), "left_elbow": (48, 40), "right_wrist": (-50, 85), "left_wrist": (60, 78),
    "right_knee": (-22, 150), "left_knee": (25, 148), "right_ankle": (-20, 220), "left_ankle": (28, 216),
}  # fmt: skip


def drawn_people(order: PartOrder, count: int, seed: int) -> NDArray[np.float64]:
    """Draw person-centric poses (N, P, 2); every third person is seen from behind (mirrored)."""
    draw = np.random.default_rng(seed)
    pose = np.array([_POSE[part] for part in order.parts], dtype=np.float64)
    people = np.repeat(pose[None], count, axis=0)
    people[::3, :, 0] *= -1
    people += draw.normal(0, 3, people.shape)
    return people * draw.uniform(0.5, 1.5, (count, 1, 1)) + draw.uniform(150, 250, (count, 1, 2))


def truth_of(xy: NDArray[np.float64], order: PartOrder, centric: Centricity = "person") -> Truth:
    """Make a ground truth with heads of 30 px and torso boxes of 90 px diagonal, scaled with each person's torso."""
    torso = np.linalg.norm(xy[:, order.index("left_shoulder")] - xy[:, order.index("right_hip")], axis=1)
    return Truth(
        Joints(xy, Convention(order, 0, centric)),
        0.3 * torso,
        0.95 * torso,
        tuple(f"im{i + 1:04d}" for i in range(len(xy))),
        (None,) * len(xy),
        "drawn labels",
    )


def predictions_of(xy: NDArray[np.float64], order: PartOrder, centric: Centricity = "person") -> Predictions:
    """Wrap coordinates as predictions."""
    return Predictions(Joints(xy, Convention(order, 0, centric)), source="drawn predictions")


def drawn_case(protocol: str, count: int = 300, seed: int = 5, sigma: float = 1.5) -> tuple[Predictions, Truth]:
    """Return predictions and truth of drawn people for a protocol; errors of `sigma` px, right conventions."""
    order = LSP14 if protocol.startswith("lsp") else FLIC9 if protocol.startswith("flic") else MPII16
    centric = protocol_named(protocol).convention.centric
    people = drawn_people(order, count, seed)
    if centric == "observer":
        people = to_observer_centric(people, order)
    noise = np.random.default_rng(seed + 1).normal(0, sigma, people.shape)
    return predictions_of(people + noise, order, centric), truth_of(people, order, centric)
