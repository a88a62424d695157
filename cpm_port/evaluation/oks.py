"""Object keypoint similarity: how alike two poses are, from 0 to 1, as COCO measures keypoints.

    OKS = mean over the parts of exp(-d² / (2 area (2 σ)²))

with d the distance of a part's two places, px, and σ how far people who label it are apart, in units of the root of the
person's area. COCO's area is that of the person's outline; where only joints are known, `joints_area` stands for it.

Where in the flow: finders drop doubles by it, followers know people again by it, and `studies` measure with it. No
torch.

Source: COCO's keypoint page (the formula and its parts' σ); the head's top and the neck, which COCO lacks, get
CrowdPose's 0.079, thorax and pelvis the hips' 0.107. Parts of no known name get 0.08.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError
from cpm_port.parts import PartOrder

__all__ = ["distinct_poses", "joints_area", "keypoint_similarity", "match_poses"]

_SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "head_top": 0.079, "head": 0.079, "neck": 0.079, "shoulder": 0.079,
    "elbow": 0.072, "wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089, "thorax": 0.107, "pelvis": 0.107,
}  # fmt: skip
_UNKNOWN = 0.08
_OUTLINE_SHARE = 0.53  # of the joints' box that a person's outline fills, about


def joints_area(joints: NDArray[np.float64]) -> float:
    """Return about the area of a person whose joints, (P, 2), these are, px²: 0.53 of their box; NaN are left out."""
    known = joints[np.isfinite(joints).all(axis=1)]
    if not len(known):
        return 0.0
    width, height = np.ptp(known, axis=0)
    longer = max(float(width), float(height))
    # Somebody with hanging arms, or seen from the side, is wider than their joints.
    return _OUTLINE_SHARE * max(float(width), 0.3 * longer) * max(float(height), 0.3 * longer)


def keypoint_similarity(one: NDArray[np.float64], other: NDArray[np.float64], area: float, order: PartOrder) -> float:
    """Return the similarity of two poses over the parts that both have; 0 where they share none.

    Parameters
    ----------
    one, other : ndarray, shape (P, 2), float64
        Px; NaN where a part is not known.
    area : float
        Of the person, px².
    order : PartOrder

    Raises
    ------
    ShapeError
        Not one joint per part.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import CPM14
    >>> pose = np.zeros((14, 2))
    >>> keypoint_similarity(pose, pose, 100.0, CPM14)
    1.0
    """
    if one.shape != (len(order), 2) or other.shape != one.shape:
        raise ShapeError(f"poses are {one.shape} and {other.shape}, expected ({len(order)}, 2) of {order.name!r}")
    squared = ((one - other) ** 2).sum(axis=1)
    known = np.isfinite(squared)
    if not known.any() or area <= 0:
        return 0.0
    variance = 2.0 * area * (2.0 * _sigmas(order)) ** 2
    return float(np.exp(-squared[known] / variance[known]).mean())


def distinct_poses(poses: Sequence[NDArray[np.float64]], same: float, order: PartOrder) -> list[int]:
    """Return the indices of the poses that stay, less those who are as similar as `same` to one that stays before them.

    Parameters
    ----------
    poses : sequence of ndarray, shape (P, 2), float64
        The ones to be preferred first; no NaN.
    same : float
        The least similarity of doubles, in units of the larger one's area.
    order : PartOrder
    """
    if not len(poses):
        return []
    joints = np.stack(poses)
    areas = np.array([joints_area(pose) for pose in poses])
    variance = 2.0 * (2.0 * _sigmas(order)) ** 2
    kept: list[int] = []
    free = np.ones(len(poses), bool)
    for i in range(len(poses)):
        if free[i]:
            kept.append(i)
            squared = ((joints - joints[i]) ** 2).sum(axis=2)
            area = np.maximum(areas, areas[i])[:, None]
            similar = np.exp(-squared / np.maximum(variance * area, 1e-12)).mean(axis=1)
            free &= (similar < same) | (area[:, 0] <= 0)
    return kept


def match_poses(
    poses: Sequence[NDArray[np.float64]],
    truths: Sequence[NDArray[np.float64]],
    order: PartOrder,
    threshold: float = 0.5,
) -> dict[int, int]:
    """Return which poses found which people: pose -> truth, each once.

    Parameters
    ----------
    poses : sequence of ndarray, shape (P, 2)
        The surest first: in this order each takes the most similar person who is still free.
    truths : sequence of ndarray, shape (P, 2)
    order : PartOrder
    threshold : float
        The least similarity, in units of the true person's area.
    """
    found: dict[int, int] = {}
    free = set(range(len(truths)))
    for i, pose in enumerate(poses):
        similar = [(keypoint_similarity(pose, truths[j], joints_area(truths[j]), order), -j) for j in free]
        best, j = max(similar, default=(0.0, 0))
        if similar and best >= threshold:
            found[i] = -j
            free.remove(-j)
    return found


def _sigmas(order: PartOrder) -> NDArray[np.float64]:
    names = [part.removeprefix("left_").removeprefix("right_") for part in order.parts]
    return np.array([_SIGMAS.get(name, _UNKNOWN) for name in names])
