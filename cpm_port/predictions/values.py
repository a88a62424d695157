"""Predicted joints of N people, one person each, whatever file they came from.

NET -> JOINTS -> METRICS: what inference writes and scoring reads. The coordinates carry their convention (part order,
index base, centricity: `cpm_port.parts.Joints`), for a file that only holds numbers cannot be scored without it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, ShapeError
from cpm_port.parts import Convention, Joints

__all__ = ["Predictions"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """One set of predictions.

    Attributes
    ----------
    joints : Joints
        `xy` of shape (N, P, 2), image px; NaN where nothing is predicted.
    scores : ndarray, shape (N, P), float64, or None
        Height of each joint's peak.
    names : tuple of str or None
        Which person each row is, as the data set's samples are named; None where the file does not say.
    source : str
        Where they came from, for messages.
    only_found : bool
        Whether an image that is not named is one in which nobody was found (COCO results list none of those).

    Raises
    ------
    ShapeError
        `scores` or `names` does not fit the joints.
    DataError
        A name comes twice.
    """

    joints: Joints
    scores: NDArray[np.float64] | None = None
    names: tuple[str, ...] | None = None
    source: str = "predictions"
    only_found: bool = False

    def __post_init__(self) -> None:
        if self.scores is not None and self.scores.shape != self.joints.xy.shape[:2]:
            raise ShapeError(f"{self.source}: scores have shape {self.scores.shape}, joints {self.joints.xy.shape}")
        if self.names is not None and len(self.names) != len(self.joints):
            raise ShapeError(f"{self.source}: {len(self.names)} names for {len(self.joints)} people")
        if self.names is not None and len(set(self.names)) != len(self.names):
            (twice, _) = Counter(self.names).most_common(1)[0]
            raise DataError(f"{self.source}: {twice!r} comes more than once")

    def __len__(self) -> int:
        return len(self.joints)

    def first(self, count: int) -> Predictions:
        """Return the first `count` people."""
        return replace(
            self,
            joints=Joints(self.joints.xy[:count], self.joints.convention),
            scores=None if self.scores is None else self.scores[:count],
            names=None if self.names is None else self.names[:count],
        )

    def to(self, convention: Convention) -> Predictions:
        """Return the same predictions under another convention; scores follow their parts."""
        if convention == self.joints.convention:
            return self
        scores = self.scores
        if scores is not None and convention.order != self.joints.convention.order:
            source, target = self.joints.convention.order, convention.order
            moved = np.full((len(self), len(target)), np.nan)
            for i, part in enumerate(target.parts):
                if part in source.parts:
                    moved[:, i] = scores[:, source.index(part)]
            scores = moved
        return replace(self, joints=self.joints.to(convention), scores=scores)
