"""Percentage of correct keypoints, PCK and PCKh: normalized errors, hits per threshold, area under the curve.

JOINTS -> METRICS, the arithmetic only: pure functions of (predictions, ground truth, normalizer, thresholds,
strictness). Which joints, normalizer and mean a published number used is fixed in `protocols.py`.

Conventions: coordinates (N, P, 2) float64 in px, of one part order and one index base; normalizers (N,) in px;
thresholds are fractions of the normalizer, ascending; a joint whose ground truth is NaN is not counted; hits and counts
are integers; an annotated joint that is not predicted is counted and never hit.

How the evaluators that this reproduces differ:

- a hit is an error `<=` the threshold in the LSP and FLIC scripts of the release, in MPII's toolkit and in HRNet, but
  `<` in pytorch-pose: `strict` chooses. On real-valued data this changes almost nothing, on integer data it does.
- all divide the error by the normalizer and compare the quotient (the release compares the error with threshold times
  normalizer; through rounding the two could differ at an exact tie only).
- MATLAB writes the curve's thresholds as `0:0.01:0.2`; here they are k/100, correctly rounded, so that an error of
  exactly 20 px on a torso of 100 px is a hit at 0.2.
- the area under the curve is the trapezoid rule over that grid, threshold 0 included, divided by the last threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, ShapeError

__all__ = ["area_under_curve", "hit_counts", "normalized_errors", "pck", "threshold_grid"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def threshold_grid(limit: float) -> Floats:
    """Return 0, 0.01, ... up to and with `limit` (a multiple of 0.01), each correctly rounded.

    Examples
    --------
    >>> from cpm_port.evaluation.pck import threshold_grid
    >>> threshold_grid(0.03)
    array([0.  , 0.01, 0.02, 0.03])
    """
    return np.arange(round(100 * limit) + 1) / 100


def normalized_errors(predicted: Floats, truth: Floats, normalizer: Floats) -> Floats:
    """Distances between predicted and true joints, each person's divided by its normalizer.

    Parameters
    ----------
    predicted, truth : ndarray, shape (N, P, 2)
        NaN in `truth`: the joint is not annotated; in `predicted`: it is not predicted.
    normalizer : ndarray, shape (N,)
        Positive, px.

    Returns
    -------
    ndarray, shape (N, P), float64
        NaN where the ground truth is; infinite, hence a miss, for an annotated joint that is not predicted.

    Raises
    ------
    ShapeError
        The shapes do not fit each other.
    DataError
        A normalizer is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.evaluation.pck import normalized_errors
    >>> truth = np.array([[[10.0, 10.0], [50.0, 40.0]]])
    >>> normalized_errors(truth + [3.0, 4.0], truth, np.array([50.0]))
    array([[0.1, 0.1]])
    """
    predicted, truth, normalizer = _prepare(predicted, truth, normalizer)
    from cpm_port.evaluation import _kernels

    errors = np.empty(predicted.shape[:2])
    _kernels.scaled_distances(predicted, truth, normalizer, errors)
    errors[np.isnan(errors) & ~np.isnan(truth).any(axis=2)] = np.inf
    return errors


def _prepare(predicted: Floats, truth: Floats, normalizer: Floats) -> tuple[Floats, Floats, Floats]:
    predicted, truth, normalizer = (np.ascontiguousarray(a, dtype=np.float64) for a in (predicted, truth, normalizer))
    if predicted.ndim != 3 or predicted.shape[2] != 2 or predicted.shape != truth.shape:
        raise ShapeError(
            f"predictions have shape {predicted.shape}, the ground truth {truth.shape}; expected (N, P, 2) for both"
        )
    if normalizer.shape != predicted.shape[:1]:
        raise ShapeError(f"normalizer has shape {normalizer.shape}, expected ({len(predicted)},), one for each person")
    bad = np.flatnonzero(~(np.isfinite(normalizer) & (normalizer > 0)))
    if len(bad):
        raise DataError(
            f"person {bad[0]}: normalizer is {normalizer[bad[0]]:g}, expected a positive length "
            f"({len(bad)} people have none)"
        )
    return predicted, truth, normalizer


def _normalized_errors_reference(predicted: Floats, truth: Floats, normalizer: Floats) -> Floats:
    """`_kernels.scaled_distances` in NumPy, written for reading."""
    difference = predicted - truth
    squares = difference[..., 0] * difference[..., 0] + difference[..., 1] * difference[..., 1]
    return np.asarray(np.sqrt(squares) / normalizer[:, None])


def hit_counts(errors: Floats, thresholds: Floats, *, strict: bool = False) -> Counts:
    """Count, for each threshold and part, the people whose error is a hit.

    Parameters
    ----------
    errors : ndarray, shape (N, P)
        Normalized errors; NaN is no hit.
    thresholds : ndarray, shape (T,)
        Ascending.
    strict : bool
        A hit is `<` rather than `<=`.

    Returns
    -------
    ndarray, shape (T, P), int64

    Raises
    ------
    ShapeError
        `errors` is not a matrix or `thresholds` not a vector.
    DataError
        The thresholds do not ascend.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.evaluation.pck import hit_counts
    >>> hit_counts(np.array([[0.1, 0.3], [0.2, np.nan]]), np.array([0.2, 0.5]))
    array([[2, 0],
           [2, 1]])
    """
    errors = np.ascontiguousarray(errors, dtype=np.float64)
    thresholds = np.ascontiguousarray(thresholds, dtype=np.float64)
    if errors.ndim != 2 or thresholds.ndim != 1:
        raise ShapeError(f"expected errors (N, P) and thresholds (T,), found {errors.shape} and {thresholds.shape}")
    if not (np.diff(thresholds) >= 0).all():
        raise DataError("thresholds do not ascend")
    from cpm_port.evaluation import _kernels

    bins = np.zeros((len(thresholds) + 1, errors.shape[1]), dtype=np.int64)
    _kernels.bin_errors(errors, thresholds, strict, bins)
    return np.asarray(np.cumsum(bins[:-1], axis=0))


def _hit_counts_reference(errors: Floats, thresholds: Floats, strict: bool) -> Counts:
    """NumPy's reading of `_kernels.bin_errors` and its cumulated sum."""
    compare = np.less if strict else np.less_equal
    return np.asarray(compare(errors[None], thresholds[:, None, None]).sum(axis=1))


def pck(
    predicted: Floats, truth: Floats, normalizer: Floats, thresholds: Floats, *, strict: bool = False
) -> tuple[Counts, Counts]:
    """Percentage of correct keypoints, as counts.

    Parameters
    ----------
    predicted, truth, normalizer
        As `normalized_errors`; usually the torso's length.
    thresholds, strict
        As `hit_counts`.

    Returns
    -------
    hits : ndarray, shape (T, P), int64
    counts : ndarray, shape (P,), int64
        Annotated joints.

    Raises
    ------
    ShapeError, DataError
        As those two.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.evaluation.pck import pck
    >>> truth = np.array([[[10.0, 10.0], [np.nan, np.nan]]])
    >>> hits, counts = pck(truth + 3.0, truth, np.array([50.0]), np.array([0.05, 0.1]))
    >>> hits.tolist(), counts.tolist()
    ([[0, 0], [1, 0]], [1, 0])
    """
    errors = normalized_errors(predicted, truth, normalizer)
    return hit_counts(errors, thresholds, strict=strict), np.asarray((~np.isnan(errors)).sum(axis=0))


def area_under_curve(thresholds: Floats, curve: Floats) -> Floats:
    """Trapezoid rule over the thresholds, divided by the last one.

    Parameters
    ----------
    thresholds : ndarray, shape (T,)
        Ascending from 0.
    curve : ndarray, shape (T, ...)
        Values at the thresholds, percent for an area in percent.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.evaluation.pck import area_under_curve
    >>> float(area_under_curve(np.array([0.0, 0.1, 0.2]), np.array([0.0, 80.0, 100.0])))
    65.0
    """
    steps = np.diff(thresholds).reshape((-1,) + (1,) * (np.ndim(curve) - 1))
    curve = np.asarray(curve, dtype=np.float64)
    return np.asarray(((curve[1:] + curve[:-1]) / 2 * steps).sum(axis=0) / thresholds[-1])
