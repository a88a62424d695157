"""Whose left and right a file's labels mean, read off the labels themselves.

LSP and FLIC exist with person-centric and with observer-centric labels, in files of the same layout. The labels tell
them apart: a person who faces the camera has their right shoulder on the image's left, one seen from behind on its
right, and observer-centric labels exchange the sides of the latter.

Measured on the files: right shoulder to the right of the left one in 33.2 % of LSP's person-centric labels and 7.4 % of
its observer-centric ones; in 4.7 % of FLIC's raw test labels and in none of its observer-centric ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError
from cpm_port.parts import Centricity, PartOrder

__all__ = ["ENOUGH_PEOPLE", "check_centricity", "share_crossed"]

ENOUGH_PEOPLE = 200  # fewer say too little: 7 % of 200 is 14 +- 4


def share_crossed(xy: NDArray[np.float64], order: PartOrder) -> float:
    """Return the share of people, 0 to 1, whose right shoulder lies to the right of the left one in the image.

    `xy` is (N, P, 2), image px, parts in `order`.
    """
    right, left = xy[:, order.index("right_shoulder"), 0], xy[:, order.index("left_shoulder"), 0]
    return float((right > left).mean())


def check_centricity(xy: NDArray[np.float64], order: PartOrder, claimed: Centricity, limit: float, where: str) -> None:
    """Refuse labels that are clearly of the other centricity; fewer than `ENOUGH_PEOPLE` people are not judged.

    Parameters
    ----------
    xy : ndarray, shape (N, P, 2)
        Labels of N people.
    claimed : {"person", "observer"}
        What the caller takes them for.
    limit : float
        Share of crossed shoulders up to which labels are observer-centric.
    where : str
        Opens the error's message.

    Raises
    ------
    DataError
        The labels are of the other kind.
    """
    if len(xy) < ENOUGH_PEOPLE:
        return
    share = share_crossed(xy, order)
    found: Centricity = "observer" if share <= limit else "person"
    if found != claimed:
        raise DataError(
            f"{where}: expected {claimed}-centric labels, these are {found}-centric: "
            f"{100 * share:.1f} % of {len(xy)} people have crossed shoulders"
        )
