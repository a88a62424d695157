"""What tells that a run has gone wrong: a loss or a weight that is not finite, a loss that has exploded.

Flow: an iteration's losses -> `LossWatch` -> **an error that names the samples**, else the loss of the last iterations;
the net's weights -> `require_finite_weights`, before a snapshot is made of them.

Source: BVLC/caffe@9b891540 src/caffe/solver.cpp (UpdateSmoothedLoss): the displayed loss is the mean over the last
`average_loss` iterations. Differs: Caffe trains on, whatever its losses and weights are.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import torch

from cpm_port.errors import TrainingError
from cpm_port.graph import CaffeNet

__all__ = ["EXPLODED", "LossWatch", "require_finite_weights"]

EXPLODED = 100.0
"""A loss this many times the median of the run's first losses has exploded."""
_FIRST_LOSSES = 10


class LossWatch:
    """A run's losses, looked at one iteration after the other.

    Parameters
    ----------
    average_loss : int
        How many iterations the smoothed loss is the mean of.

    Attributes
    ----------
    window : deque of float
        The total losses of so many last iterations; fewer at the start.
    reference : float or None
        The median of the run's first losses; None while there are not enough.
    samples : str
        The last iteration's samples, in words; empty before the first.
    """

    def __init__(self, average_loss: int) -> None:
        self.window: deque[float] = deque(maxlen=max(average_loss, 1))
        self.reference: float | None = None
        self.samples = ""
        self._first: list[float] = []

    def add(self, iteration: int, losses: Mapping[str, float], samples: Sequence[str]) -> None:
        """Take in an iteration's losses, by name; `samples` names what they are of.

        Raises
        ------
        TrainingError
            A loss is not finite, or their sum has exploded.
        """
        self.samples = f"samples: {', '.join(samples) or 'not named by the data source'}"
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            told = ", ".join(f"{name} is {losses[name]}" for name in bad)
            raise TrainingError(f"iteration {iteration}: {told}; {self.samples}")
        total = sum(losses.values())
        if self.reference is None:
            self._first.append(total)
            if len(self._first) == _FIRST_LOSSES:
                self.reference = statistics.median(self._first)
        elif self.reference > 0 and total > EXPLODED * self.reference:
            worst = max(losses, key=lambda name: losses[name])
            raise TrainingError(
                f"iteration {iteration}: the loss exploded to {total:.6g}, {total / self.reference:.0f} times its "
                f"first values (most of it: {worst} {losses[worst]:.6g}); {self.samples}"
            )
        self.window.append(total)

    def smoothed(self) -> float:
        """Return the mean of the window."""
        return statistics.fmean(self.window)


def require_finite_weights(net: CaffeNet, iteration: int, samples: str) -> None:
    """Raise a TrainingError where a weight is not finite after an iteration's update, `samples` telling of what."""
    bad = [
        f"{name}[{i}]"
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
        if not bool(torch.isfinite(blob).all())
    ]
    if bad:
        raise TrainingError(
            f"iteration {iteration}: weights are not finite after its update: {', '.join(bad)}; "
            f"no snapshot made; {samples}"
        )
