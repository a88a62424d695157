"""Predictions and ground truth under a protocol: checked, compared, summed up.

JOINTS -> METRICS. `measure` brings both sides to the protocol's convention, refuses what does not fit and computes
every joint's normalized error; a `Measurement` then answers at any threshold without looking at coordinates again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.matching import match
from cpm_port.evaluation.pck import area_under_curve, hit_counts, threshold_grid
from cpm_port.evaluation.protocols import Protocol
from cpm_port.evaluation.scores import Curve, Interval, ProtocolResult, Score
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import Convention, Joints
from cpm_port.predictions.values import Predictions

__all__ = ["BOOTSTRAP_ROUNDS", "Measurement", "align", "errors_under", "measure"]

BOOTSTRAP_ROUNDS = 2000
_LEVEL = 0.95
_FRACTIONS, _PIXELS = 2.0, 20.0  # coordinates of 0..1 or -1..1, and what no labels in px fall short of


@dataclass(frozen=True, eq=False)
class Measurement:
    """Every normalized error of a set of predictions under a protocol.

    Attributes
    ----------
    protocol : Protocol
        What was counted and how.
    errors : ndarray, shape (N, U)
        Error of each person's unit (joint or stick); NaN: not annotated.
    """

    protocol: Protocol
    errors: NDArray[np.float64]

    def result(self, threshold: float | None = None, *, bootstrap_seed: int | None = None) -> ProtocolResult:
        """Sum up at one threshold.

        Parameters
        ----------
        threshold : float, optional
            Fraction of the normalizer; the protocol's own by default.
        bootstrap_seed : int, optional
            Given: scores carry 95 % intervals from `BOOTSTRAP_ROUNDS` resamplings of the people, with that seed.
        """
        protocol = self.protocol
        at = protocol.threshold if threshold is None else threshold
        if not at >= 0:
            raise UsageError(f"threshold {at}: expected a number from 0 on")
        hits, counts = self._counts(np.array([at]))
        intervals = {} if bootstrap_seed is None else self._bootstrap(at, bootstrap_seed)
        total, columns = protocol.percentages(hits[0], counts)
        single = 100 * hits[0] / np.maximum(counts, 1)
        curve = self.curve() if protocol.limit is not None else None
        return ProtocolResult(
            protocol.name,
            at,
            None if curve is None else float(area_under_curve(curve.thresholds, curve.total)),
            Score(int(hits.sum()), int(counts.sum()), float(total), intervals.get("")),
            {
                name: Score(int(hits[0, i].sum()), int(counts[i].sum()), float(columns[name]), intervals.get(name))
                for name, i in protocol.column_indices().items()
            },
            {
                unit: Score(
                    int(hits[0, u]),
                    int(counts[u]),
                    float(single[u]) if counts[u] else float("nan"),
                    intervals.get(unit),
                )
                for u, unit in enumerate(protocol.units)
            },
            {name: self._total(extra) for name, extra in protocol.extras.items()},
        )

    def curve(self) -> Curve:
        """Return the percentages over 0, 0.01, ... to the protocol's limit (to its threshold where it has none)."""
        thresholds = threshold_grid(self.protocol.limit or self.protocol.threshold)
        hits, counts = self._counts(thresholds)
        total, columns = self.protocol.percentages(hits, counts)
        return Curve(thresholds, total, columns)

    def percent(self, threshold: float | None = None) -> float:
        """Return the total's percentage alone."""
        return self._total(self.protocol.threshold if threshold is None else threshold).percent

    def auc(self) -> float:
        """Return the area under the total's curve, percent."""
        curve = self.curve()
        return float(area_under_curve(curve.thresholds, curve.total))

    def per_person(self) -> NDArray[np.float64]:
        """Return each person's mean normalized error, capped at twice the threshold per unit; shape (N,).

        For ranking cases: NaN where nothing of a person is annotated.
        """
        capped = np.minimum(self.errors, 2 * self.protocol.threshold)
        known = ~np.isnan(capped)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, capped, 0).sum(axis=1) / known.sum(axis=1))

    def _total(self, threshold: float) -> Score:
        hits, counts = self._counts(np.array([threshold]))
        return Score(int(hits.sum()), int(counts.sum()), float(self.protocol.percentages(hits[0], counts)[0]))

    def _counts(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        hits = hit_counts(self.errors, thresholds, strict=self.protocol.strict)
        return hits, np.asarray((~np.isnan(self.errors)).sum(axis=0))

    def _bootstrap(self, threshold: float, seed: int) -> dict[str, Interval]:
        """Return intervals per column and per unit, the total under ""; none for what is never annotated."""
        compare = np.less if self.protocol.strict else np.less_equal
        hit = compare(self.errors, threshold).astype(np.float64)
        known = (~np.isnan(self.errors)).astype(np.float64)
        people = len(hit)
        weights = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), BOOTSTRAP_ROUNDS)
        hits, counts = weights @ hit, weights @ known
        total, columns = self.protocol.percentages(hits, counts)
        with np.errstate(invalid="ignore"):
            single = 100 * hits / counts
        units = {unit: single[:, u] for u, unit in enumerate(self.protocol.units)}
        tail = 50 * (1 - _LEVEL)
        result = {}
        for name, values in {"": total, **columns, **units}.items():
            drawn = values[~np.isnan(values)]  # a round may have drawn only people without this joint
            if len(drawn):
                low, high = np.percentile(drawn, [tail, 100 - tail])
                result[name] = Interval(float(low), float(high), _LEVEL)
        return result


def measure(protocol: Protocol, predictions: Predictions, truth: Truth) -> Measurement:
    """Compare predictions with a ground truth under a protocol.

    Parameters
    ----------
    protocol : Protocol
        `cpm_port.evaluation.protocols.protocol_named(...)`.
    predictions : Predictions
        Of the truth's people (`matching.py` says how they are told); any convention that can become the protocol's. A
        joint that is not predicted, NaN, is a miss.
    truth : Truth
        Of the protocol's data set.

    Raises
    ------
    DataError
        Different numbers of people, names that contradict each other, parts that the protocol needs and one side lacks,
        a prediction that is infinite, none at all or fractions of the image instead of px, a centricity that cannot be
        converted, a normalizer that is missing or not positive, or nothing annotated at all.
    """
    xy, aligned = align(protocol, predictions, truth)
    return Measurement(protocol, errors_under(protocol, xy, aligned))


def align(protocol: Protocol, predictions: Predictions, truth: Truth) -> tuple[NDArray[np.float64], Truth]:
    """Check both sides and bring them to the protocol's convention.

    Returns
    -------
    xy : ndarray, shape (N, P, 2)
        The predictions, in the order of the truth's people; NaN where nothing is predicted.
    truth : Truth
        With its joints converted.

    Raises
    ------
    DataError
        As `measure`, except for what concerns the normalizer.
    """
    predictions = match(predictions, truth).predictions
    for side, joints, source in (
        ("predictions", predictions.joints, predictions.source),
        ("truth", truth.joints, truth.source),
    ):
        missing = [part for part in protocol.parts if part not in joints.convention.order.parts]
        if missing:
            raise DataError(
                f"{source}: {side} in order {joints.convention.order.name!r} lack {', '.join(missing)}, which "
                f"{protocol.name} counts"
            )
    aligned = replace(truth, joints=_converted(truth.joints, protocol.convention, truth.source))
    xy = _converted(predictions.joints, protocol.convention, predictions.source).xy
    _check_predicted(xy, aligned, protocol, predictions)
    return xy, aligned


def errors_under(protocol: Protocol, xy: NDArray[np.float64], truth: Truth) -> NDArray[np.float64]:
    """Return the normalized errors (N, U) of coordinates that already are in the protocol's convention.

    Raises
    ------
    DataError
        As `measure`: the normalizer is missing or not positive, nothing is annotated.
    """
    try:
        errors = protocol.measure(xy, truth)
    except DataError as error:
        raise DataError(f"{protocol.name}: {error}") from error
    if np.isnan(errors).all():
        raise DataError(f"{truth.source}: nothing that {protocol.name} counts is annotated")
    return errors


def _converted(joints: Joints, convention: Convention, source: str) -> Joints:
    try:
        return joints.to(convention)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def _check_predicted(xy: NDArray[np.float64], truth: Truth, protocol: Protocol, predictions: Predictions) -> None:
    """Refuse what no prediction in px can be: infinite coordinates, none at all, fractions of an image."""
    order = protocol.convention.order
    needed = [order.index(part) for part in protocol.parts]
    given = xy[:, needed]
    bad = np.argwhere(np.isinf(given).any(axis=2))
    if len(bad):
        person, part = bad[0]
        raise DataError(
            f"{predictions.source}: row {person} ({truth.names[person]}), {order.parts[needed[part]]}: prediction is "
            f"infinite ({len(bad)} such)"
        )
    if np.isnan(given).any(axis=2).all():
        raise DataError(f"{predictions.source}: not one joint that {protocol.name} counts is predicted")
    annotated = truth.joints.xy[:, needed]
    if np.isnan(annotated).all():
        return  # said later
    span, true_span = _span(given), _span(annotated)
    if 0 < span <= _FRACTIONS and true_span > _PIXELS:
        raise DataError(
            f"{predictions.source}: all coordinates lie within {span:.3g} of each other, the labels' within "
            f"{true_span:.0f} px: these are fractions of the image's size (or of half of it), expected pixels"
        )


def _span(xy: NDArray[np.float64]) -> float:
    return float(np.nanmax(xy) - np.nanmin(xy))
