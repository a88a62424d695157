"""The people whom a set of predictions gets best and worst, with their images where those exist.

METRICS -> REPORT. People are ranked by their mean normalized error, each joint's capped at twice the protocol's
threshold (so one joint far away counts as missed, not as a catastrophe).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.measure import Measurement, align
from cpm_port.evaluation.truth import Truth
from cpm_port.predictions.values import Predictions
from cpm_port.report.plots import Case

__all__ = ["extreme_cases", "pictured_cases"]


def extreme_cases(measurement: Measurement, predictions: Predictions, truth: Truth, count: int = 6) -> list[Case]:
    """Return the `count` best people, then the `count` worst (worst first)."""
    ranked = _ranking(measurement)
    half = min(count, len(ranked) // 2)
    places = [*range(half), *range(len(ranked) - 1, len(ranked) - 1 - half, -1)]
    return _cases(measurement, predictions, truth, ranked, places)


def pictured_cases(measurement: Measurement, predictions: Predictions, truth: Truth, count: int = 6) -> list[Case]:
    """Return the people whose image is there, best to worst; of more than `count`, the first and the last ones."""
    ranked = _ranking(measurement)
    places = [place for place, person in enumerate(ranked) if _image_path(truth, int(person)) is not None]
    if len(places) > count:
        places = [*places[: count // 2], *places[-(count - count // 2) :]]
    return _cases(measurement, predictions, truth, ranked, places)


def _ranking(measurement: Measurement) -> NDArray[np.int64]:
    errors = measurement.per_person()
    return np.array([i for i in np.argsort(errors, kind="stable") if not np.isnan(errors[i])], dtype=np.int64)


def _cases(
    measurement: Measurement, predictions: Predictions, truth: Truth, ranked: NDArray[np.int64], places: list[int]
) -> list[Case]:
    xy, aligned = align(measurement.protocol, predictions, truth)
    shown = []
    for place in places:
        person = int(ranked[place])
        errors = measurement.errors[person]
        known = ~np.isnan(errors)
        hits = int((errors[known] <= measurement.protocol.threshold).sum())
        path = _image_path(truth, person)
        shown.append(
            Case(
                _short(truth.names[person]),
                f"{hits} of {int(known.sum())}, rank {place + 1} of {len(ranked)}",
                None if path is None else _read_rgb(path),
                aligned.joints.xy[person],
                xy[person],
                measurement.protocol.convention.order,
            )
        )
    return shown


def _short(name: str) -> str:
    """Return a name that fits over a small picture: long ones lose their middle."""
    return name if len(name) <= 26 else f"{name[:13]}...{name[-10:]}"


def _image_path(truth: Truth, person: int) -> Path | None:
    path = truth.images[person]
    return path if path is not None and path.is_file() else None


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    from cpm_port.imaging.reading import read_image

    return read_image(path)[:, :, ::-1]
