"""What colours somebody wears: a histogram along the limbs, by which people are known again in a video.

Where in the flow: `following.py` takes it of every pose, `tracking.py` compares. It is coarse, four levels of each
channel, so grain, folds and small turns hardly move it; where light changes, it follows slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.parts import PartOrder

__all__ = ["colour_likeness", "limb_colours"]

_LEVELS = 4
_POINTS = 8  # on each limb
_ENDS = 0.15  # of a limb that is left out: joints are seldom exact


def limb_colours(image: NDArray[np.uint8], joints: NDArray[np.float64], order: PartOrder) -> NDArray[np.float64]:
    """Return the shares of colours on somebody's limbs (where an order has no limbs: at the joints), shape (64,).

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8, BGR
    joints : ndarray, shape (P, 2), float64
        Image px.
    order : PartOrder
    """
    points = joints
    if order.limbs:
        start, end = (joints[[order.index(limb[side]) for limb in order.limbs]] for side in (0, 1))
        along = np.linspace(_ENDS, 1 - _ENDS, _POINTS)[:, None, None]
        points = ((1 - along) * start + along * end).reshape(-1, 2)
    x, y = np.clip(np.floor(points + 0.5).astype(int), 0, np.array(image.shape[1::-1]) - 1).T
    levels = image[y, x].astype(int) * _LEVELS // 256
    cells = (levels[:, 0] * _LEVELS + levels[:, 1]) * _LEVELS + levels[:, 2]
    return np.bincount(cells, minlength=_LEVELS**3) / len(cells)


def colour_likeness(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return how alike two people's colours are: 0 no colour in common, 1 the same shares (Bhattacharyya)."""
    return float(np.sqrt(one * other).sum())
