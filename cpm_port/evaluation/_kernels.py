"""Numba twins of this room's counting: compiled once (cached), pure, checked against the NumPy reference in the tests.

No `fastmath` and no parallel sums: a count is exact, and an error is compared with a threshold exactly as NumPy does.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, types, void
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel

__all__ = ["bin_errors", "scaled_distances"]

_VECTOR = types.Array(float64, 1, "C", readonly=True)
_MATRIX = types.Array(float64, 2, "C", readonly=True)
_POINTS = types.Array(float64, 3, "C", readonly=True)


@kernel(void(_POINTS, _POINTS, _VECTOR, float64[:, ::1]))
def scaled_distances(
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    normalizer: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the distances (N, P) of two sets of points (N, P, 2), each person's divided by its normalizer (N,)."""
    people, parts, _ = predicted.shape
    for i in range(people):
        for p in range(parts):
            dx = predicted[i, p, 0] - truth[i, p, 0]
            dy = predicted[i, p, 1] - truth[i, p, 1]
            out[i, p] = np.sqrt(dx * dx + dy * dy) / normalizer[i]


_BUCKETS = 1024


@kernel(void(_MATRIX, _VECTOR, boolean, int64[:, ::1]))
def bin_errors(
    errors: NDArray[np.float64], thresholds: NDArray[np.float64], strict: bool, out: NDArray[np.int64]
) -> None:
    """Add 1 to `out[t, p]` for each error (N, P) whose first reached threshold (ascending) is t; T: none; NaN: nothing.

    A table of equal buckets over [0, last threshold] says where to begin; from there thresholds are compared one by
    one, so the result does not depend on the table.
    """
    people, parts = errors.shape
    count = len(thresholds)
    if count == 0:
        return
    last = thresholds[count - 1]
    per_unit = _BUCKETS / last if last > 0 else 0.0
    if not np.isfinite(per_unit):  # a threshold next to nothing: one bucket for all
        per_unit = 0.0
    begin = np.zeros(_BUCKETS + 1, dtype=np.int64)
    for b in range(1, _BUCKETS + 1):
        t = begin[b - 1]
        while t < count and thresholds[t] * per_unit < b - 1:  # one bucket of slack swallows the product's rounding
            t += 1
        begin[b] = t
    for i in range(people):
        for p in range(parts):
            error = errors[i, p]
            if error <= last:
                t = begin[int(error * per_unit)] if error > 0 else 0
                if strict:
                    while t < count and not error < thresholds[t]:
                        t += 1
                else:
                    while not error <= thresholds[t]:
                        t += 1
                out[t, p] += 1
            elif error > last:
                out[count, p] += 1
