"""Scores as typed results: counts first, percentages beside them, and the JSON that they become.

METRICS -> REPORT. A percentage is what a protocol prints, which is not always hits / count: some protocols average over
joints first (`protocols`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Interval", "ProtocolResult", "Score"]


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval in percent: `low` to `high` at `level` (0.95: 95 %)."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Score:
    """How often something was found: `hits` of `count`, and the `percent` that the protocol prints."""

    hits: int
    count: int
    percent: float
    interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `{hits, count, percent}`, and `interval` where there is one."""
        result: dict[str, Any] = {"hits": self.hits, "count": self.count, "percent": self.percent}
        if self.interval is not None:
            result["interval"] = [self.interval.low, self.interval.high]
            result["level"] = self.interval.level
        return result


@dataclass(frozen=True, eq=False)
class Curve:
    """Percentages over thresholds.

    Attributes
    ----------
    thresholds : ndarray, shape (T,)
        From 0.
    total : ndarray, shape (T,)
        The protocol's total, percent.
    parts : dict of str to ndarray, shape (T,)
        The same for each column.
    """

    thresholds: NDArray[np.float64]
    total: NDArray[np.float64]
    parts: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol says about a set of predictions at one threshold.

    Attributes
    ----------
    protocol : str
        Its name.
    threshold : float
        As a fraction of the normalizer.
    auc : float or None
        Area under the total's curve, percent; None where the protocol has no curve.
    total : Score
        Over everything the protocol counts.
    parts : dict of str to Score
        The protocol's columns, in its order.
    joints : dict of str to Score
        Every joint (or stick) by itself.
    extras : dict of str to Score
        Further numbers that the protocol's own code prints.
    """

    protocol: str
    threshold: float
    auc: float | None
    total: Score
    parts: dict[str, Score]
    joints: dict[str, Score]
    extras: dict[str, Score] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and numbers; each score as `{hits, count, percent}`."""
        return {
            "protocol": self.protocol,
            "threshold": self.threshold,
            "auc": self.auc,
            "total": self.total.to_json(),
            "parts": {name: score.to_json() for name, score in self.parts.items()},
            "joints": {name: score.to_json() for name, score in self.joints.items()},
            "extras": {name: score.to_json() for name, score in self.extras.items()},
        }
