"""Why a score is not what it should be: typical slips, tried one by one.

METRICS -> REPORT. Each slip is a named transformation of the predictions (or of the labels) that would undo it. Where
one makes the predictions fit clearly better, it is named, with the score before and after.

How "clearly better" is decided: by the area under the protocol's curve, which sees a shift of one pixel long before the
score at one threshold does (LSP: 90.50 -> 90.19 at 0.2, but 65.44 -> 62.43 in area); the gain must be at least
`MIN_GAIN` points and `MIN_SIGMAS` standard errors of the paired difference over people. Unshifted predictions do not
gain by any slip: the release's on LSP lose 3 points by a pixel either way. The hourglass predictions of pytorch-pose do
gain 1.6 points by adding a pixel, the slip that its pull request 16 mended later; their published numbers include it.
One person alone shows no slip (there is no standard error); a permutation fitted to fewer than `MIN_FITTED` people
would fit by chance.

A wrong normalizer moves no joint, so the area does not show it. It is named where the predictions miss a published row
under the protocol and meet it, in every column, under another length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError
from cpm_port.evaluation.measure import Measurement, align, errors_under
from cpm_port.evaluation.pck import normalized_errors, threshold_grid
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.evaluation.protocols import Protocol
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import ORDERS, Joints, to_observer_centric
from cpm_port.predictions.values import Predictions
from cpm_port.release import MPII_HEAD_SHARE

__all__ = ["MIN_FITTED", "MIN_GAIN", "MIN_SIGMAS", "SLIPS", "Diagnosis", "diagnose", "diagnose_normalizer", "with_slip"]

Floats = NDArray[np.float64]

MIN_GAIN = 0.25  # points of area
MIN_SIGMAS = 5.0
MIN_FITTED = 10
PRINTED = 0.0501  # leaderboards print one decimal and do not agree how to round

SLIPS = {
    "off by one pixel": "a shift of one pixel: 0-based coordinates scored as 1-based, or the other way round",
    "observer-centric labels": "left and right mean the observer's on one side and the person's own on the other",
    "wrong order of parts": "the parts are listed in another order than the one they were read in",
    "left-right swap": "every left part is taken for the right one",
    "wrong normalizer": "errors are divided by another length than the published numbers were",
}


@dataclass(frozen=True)
class Diagnosis:
    """One slip that fits.

    Attributes
    ----------
    slip : str
        A key of `SLIPS`.
    detail : str
        What exactly was undone.
    before, after : float
        The total's percentage at the protocol's threshold, as given and with the slip undone.
    gain : float
        Points of area gained (for a wrong normalizer: 0).
    """

    slip: str
    detail: str
    before: float
    after: float
    gain: float

    def __str__(self) -> str:
        area = f"the area under the curve gains {self.gain:.2f} points, " if self.gain else ""
        return f"{self.slip}: {self.detail}; undone, {area}the score goes from {self.before:.2f} to {self.after:.2f}"


def diagnose(protocol: Protocol, predictions: Predictions, truth: Truth) -> list[Diagnosis]:
    """Try every slip on the joints; return those that fit clearly better, the best first.

    Parameters
    ----------
    protocol, predictions, truth
        As `cpm_port.evaluation.measure.measure` takes them.

    Raises
    ------
    DataError
        As `measure`.
    """
    xy, aligned = align(protocol, predictions, truth)
    given = errors_under(protocol, xy, aligned)
    measured = Measurement(protocol, given)
    found = []
    for slip, detail, other_xy, other_truth in _candidates(protocol, predictions, xy, aligned):
        try:
            errors = errors_under(protocol, other_xy, other_truth)
        except DataError:  # the undone slip leaves nothing to score: it does not fit
            continue
        gain, sigma = _paired_gain(protocol, given, errors)
        if gain >= MIN_GAIN and gain >= MIN_SIGMAS * sigma:
            after = Measurement(protocol, errors).percent()
            found.append(Diagnosis(slip, detail, measured.percent(), after, gain))
    return sorted(found, key=lambda diagnosis: -diagnosis.gain)


def diagnose_normalizer(
    protocol: Protocol,
    predictions: Predictions,
    truth: Truth,
    published: Mapping[str, float],
    threshold: float,
    under: str = "",
) -> Diagnosis | None:
    """Look for the length under which a published row comes out, where the protocol's own misses it.

    Parameters
    ----------
    published : dict of str to float
        Columns (and "total") in percent.
    threshold : float
        Where the row was taken.
    under : str
        The protocol of the row, where it is another one.

    Returns
    -------
    Diagnosis or None
        None where the row is met as it is, or under no other length.
    """
    if set(protocol.units) - set(protocol.convention.order.parts):
        return None  # sticks bring their own lengths
    xy, aligned = align(protocol, predictions, truth)
    own = Measurement(protocol, errors_under(protocol, xy, aligned))
    if _meets(own, published, threshold):
        return None
    index = [protocol.convention.order.index(unit) for unit in protocol.units]
    for name, length in _lengths(protocol, xy, aligned):
        usable = length is not None and bool((np.isfinite(length) & (length > 0)).all())
        if length is None or not usable:
            continue
        other = Measurement(protocol, normalized_errors(xy[:, index], aligned.joints.xy[:, index], length))
        if _meets(other, published, threshold):
            row = f"the published row of {under}" if under else "the published row"
            detail = f"{row} is met when errors are divided by {name}"
            return Diagnosis("wrong normalizer", detail, own.percent(threshold), other.percent(threshold), 0.0)
    return None


def with_slip(slip: str, predictions: Predictions) -> Predictions:
    """Return the predictions with a slip put into them; for reference rows that record its score.

    Parameters
    ----------
    slip : {"off by one pixel", "left-right swap"}
        One that needs nothing but the predictions. Off by one pixel: 1-based coordinates written without their 1.

    Raises
    ------
    DataError
        Another slip.
    """
    joints = predictions.joints
    makers: dict[str, Callable[[], Floats]] = {
        "off by one pixel": lambda: joints.xy - 1.0,
        "left-right swap": lambda: joints.xy[:, list(joints.convention.order.mirrored())],
    }
    if slip not in makers:
        raise DataError(f"slip {slip!r} cannot be put into predictions; known: {', '.join(makers)}")
    return replace(predictions, joints=Joints(makers[slip](), joints.convention), scores=None)


def _candidates(
    protocol: Protocol, predictions: Predictions, xy: Floats, truth: Truth
) -> Iterator[tuple[str, str, Floats, Truth]]:
    """Yield slip, what is undone, coordinates and truth for every slip, the named ones before the general one."""
    order = protocol.convention.order
    yield "off by one pixel", "the predictions lie one pixel up and left of where they fit", xy + 1.0, truth
    yield "off by one pixel", "the predictions lie one pixel down and right of where they fit", xy - 1.0, truth
    yield "left-right swap", "left and right are exchanged throughout", xy[:, list(order.mirrored())], truth
    observer = to_observer_centric(xy, order)
    yield "observer-centric labels", "the predictions are person-centric, the labels observer-centric", observer, truth
    if protocol.convention.centric == "person":  # turning observer-centric labels once more would only flatter
        turned = replace(truth, joints=Joints(to_observer_centric(truth.joints.xy, order), truth.joints.convention))
        yield "observer-centric labels", "the predictions are observer-centric, the labels person-centric", xy, turned
    tried = [tuple(range(len(order))), order.mirrored()]
    for permutation, name in _known_orders(predictions, protocol):
        tried.append(permutation)
        yield "wrong order of parts", f"the file's parts are in the order {name!r}", xy[:, list(permutation)], truth
    best = _best_assignment(protocol, xy, truth) if len(xy) >= MIN_FITTED else tried[0]
    if best not in tried:
        moved = ", ".join(f"{order.parts[j]} read as {order.parts[i]}" for i, j in enumerate(best) if i != j)
        yield "wrong order of parts", f"parts are permuted: {moved}", xy[:, list(best)], truth


def _known_orders(predictions: Predictions, protocol: Protocol) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield, for each known order of the same length, which read part really is which of the protocol's."""
    read, target = predictions.joints.convention.order, protocol.convention.order
    for name, actual in ORDERS.items():
        if actual == read or len(actual) != len(read) or not set(protocol.parts) <= set(actual.parts):
            continue
        if not set(target.parts) <= set(actual.parts) & set(read.parts):
            continue
        yield tuple(target.index(read.parts[actual.index(part)]) for part in target.parts), name


def _best_assignment(protocol: Protocol, xy: Floats, truth: Truth) -> tuple[int, ...]:
    """Return, for each part of the protocol's order, the predicted part that lies nearest to its labels."""
    from scipy.optimize import linear_sum_assignment

    order = protocol.convention.order
    given = np.isfinite(xy).all(axis=(0, 2)) & ~np.isnan(truth.joints.xy).all(axis=(0, 2))
    index = np.flatnonzero(given).tolist()
    if not index:
        return tuple(range(len(order)))
    gap = xy[:, None, index] - truth.joints.xy[:, index, None]
    distance = np.sqrt((gap**2).sum(axis=3))
    scale = np.nanmedian(distance)
    with np.errstate(invalid="ignore"):
        cost = np.minimum(distance, scale)  # a few far misses must not decide
    cost = np.where(np.isnan(cost), 0.0, cost).sum(axis=0) / np.maximum((~np.isnan(cost)).sum(axis=0), 1)
    rows, columns = linear_sum_assignment(cost)
    result = list(range(len(order)))
    for row, column in zip(rows, columns, strict=True):
        result[index[row]] = index[column]
    return tuple(result)


def _paired_gain(protocol: Protocol, before: Floats, after: Floats) -> tuple[float, float]:
    """Return the gain in area (percent points, pooled over units) and its standard error over people."""
    counted = ~np.isnan(before)
    thresholds = threshold_grid(protocol.limit or protocol.threshold)
    difference = np.where(counted, _area(after, thresholds) - _area(before, thresholds), 0).sum(axis=1)
    total, people = counted.sum(), len(difference)
    sigma = float(difference.std(ddof=1)) * np.sqrt(people) if people > 1 else np.inf
    return 100 * float(difference.sum()) / total, 100 * sigma / total


def _area(errors: Floats, thresholds: Floats) -> Floats:
    """Return each error's own area under its step curve, as the trapezoid rule on the grid sees it, 0 to 1."""
    steps = len(thresholds) - 1
    first = np.searchsorted(thresholds, np.where(np.isnan(errors), np.inf, errors))
    return np.where(first > steps, 0.0, np.where(first == 0, steps, steps - first + 0.5) / steps)


def _lengths(protocol: Protocol, xy: Floats, truth: Truth) -> Iterator[tuple[str, Floats | None]]:
    order = protocol.convention.order
    yield "the ground truth's |left shoulder - right hip|", torso_diameter(truth.joints.xy, order)
    yield "the prediction's |left shoulder - right hip|", torso_diameter(xy, order)
    yield "the diagonal of the torso box", truth.torso_diagonal
    yield "0.6 of the head box's diagonal", truth.head_size
    yield "the head box's diagonal", None if truth.head_size is None else truth.head_size / MPII_HEAD_SHARE


def _meets(measured: Measurement, published: Mapping[str, float], threshold: float) -> bool:
    result = measured.result(threshold)
    values = {name: score.percent for name, score in result.parts.items()} | {"total": result.total.percent}
    known = [name for name in published if name in values]
    return bool(known) and all(abs(values[name] - published[name]) <= PRINTED for name in known)
