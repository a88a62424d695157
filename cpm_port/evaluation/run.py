"""Predictions and ground truth in, a score beside what others found out: the whole way, as `cpm-port evaluate` goes it.

    protocol = protocol_named("lsp-pc")
    scored = evaluate(protocol, read_subject(protocol, "predictions.mat", "joints.mat"))
    print(scored.result.total.percent)

JOINTS -> METRICS -> REPORT. No torch: what a model finds on a data set comes as a `Subject` from
`cpm_port.inference.dataset.predict_dataset`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cpm_port.evaluation.diagnose import Diagnosis, diagnose, diagnose_normalizer
from cpm_port.evaluation.matching import match
from cpm_port.evaluation.measure import Measurement, measure
from cpm_port.evaluation.protocols import PROTOCOLS, Protocol
from cpm_port.evaluation.recorded import recorded_row
from cpm_port.evaluation.reference import load_all, matching_rows, published_elsewhere
from cpm_port.evaluation.scores import ProtocolResult
from cpm_port.evaluation.tables import Reference, Row
from cpm_port.evaluation.truth import Truth, read_truth
from cpm_port.evaluation.viewpoints import by_view
from cpm_port.files.atomic import atomic_path
from cpm_port.files.digest import file_sha256
from cpm_port.parts import Centricity, PartOrder
from cpm_port.predictions.files import read_predictions
from cpm_port.predictions.values import Predictions

__all__ = ["Evaluation", "Subject", "evaluate", "read_subject"]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is scored.

    Attributes
    ----------
    predictions : Predictions
    truth : Truth
        Of the same people.
    hashes : mapping of str to str
        "truth", and "predictions" or "weights" -> SHA-256 of the files that they came from.
    whole : bool
        Whether these are all people of the data set: a part of them has no published row.
    absent : int
        How many further people the data set has whose images are not there.
    mirrored : bool
        Whether the model also looked at the mirror images: such a score is recorded by itself.
    """

    predictions: Predictions
    truth: Truth
    hashes: Mapping[str, str]
    whole: bool = True
    absent: int = 0
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A score, and what it is held against.

    Attributes
    ----------
    measurement : Measurement
    result : ProtocolResult
    rows : tuple of Row
        Published results to compare with.
    recorded : Row or None
        What the default model's record says, where its weights made the predictions.
    diagnoses : tuple of Diagnosis
        Slips that fit the predictions.
    notes : tuple of str
        How predictions were matched with people, and what was not predicted, where there is anything to say.
    people : str
        Which people these are, where it is not everybody.
    views : mapping of str to ProtocolResult
        Viewpoint -> the score of its people, where that was asked for.
    """

    measurement: Measurement
    result: ProtocolResult
    rows: tuple[Row, ...]
    recorded: Row | None
    diagnoses: tuple[Diagnosis, ...]
    notes: tuple[str, ...] = ()
    people: str = ""
    views: Mapping[str, ProtocolResult] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all numbers: the result's, `curve`, `references`, `diagnoses`, `notes`; None for an empty share.

        With viewpoints also `views`, each a result.
        """
        curve = self.measurement.curve()
        content: dict[str, Any] = _without_nan(
            {
                **self.result.to_json(),
                "curve": {
                    "thresholds": curve.thresholds.tolist(),
                    "total": curve.total.tolist(),
                    "parts": {name: values.tolist() for name, values in curve.parts.items()},
                },
                "references": [_row_json(row) for row in self.rows],
                "diagnoses": [{"slip": found.slip, "text": str(found)} for found in self.diagnoses],
                "notes": list(self.notes),
                **({"people": self.people} if self.people else {}),
                **({"views": {name: view.to_json() for name, view in self.views.items()}} if self.views else {}),
            }
        )
        return content

    def write(self, path: Path) -> None:
        """Write `to_json` to a file."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_subject(
    protocol: Protocol,
    predictions: Path,
    truth: Path,
    *,
    order: PartOrder | None = None,
    base: Literal[0, 1] | None = None,
    centric: Centricity | None = None,
    images: Path | None = None,
    limit: int | None = None,
) -> Subject:
    """Read a prediction file and the labels that it is scored against.

    Parameters
    ----------
    protocol : Protocol
    predictions, truth : Path
        Of the files.
    order, base, centric
        As of `read_predictions`, where the file does not say; a MATLAB file's parts are the protocol's own way round.
    images : Path, optional
        Folder of the images, for pictures of people.
    limit : int, optional
        The first so many people only.

    Raises
    ------
    MissingFileError, DataError, UsageError
        As of the readers.
    """
    convention = protocol.convention
    centric = centric or (convention.centric if predictions.suffix == ".mat" else None)
    found = read_predictions(predictions, order=order, base=base, centric=centric)
    labels = read_truth(protocol.dataset, truth, images=images, centric=convention.centric)
    if limit is not None:
        found, labels = match(found, labels).predictions.first(limit), labels.first(limit)
    files = {"predictions": predictions, "truth": truth}
    hashes = {kind: file_sha256(path) for kind, path in files.items() if path.is_file()}
    return Subject(found, labels, hashes, limit is None)


def evaluate(
    protocol: Protocol,
    subject: Subject,
    *,
    threshold: float | None = None,
    bootstrap_seed: int | None = None,
    compared_with: str | None = None,
    by_viewpoint: bool = False,
) -> Evaluation:
    """Score predictions under a protocol, and hold the score against what is known.

    Predictions in an order that has all limbs but no head top or neck (COCO's, OpenPose's) are scored on the limbs'
    joints, under a name that says so (`Protocol.of_limbs`).

    Parameters
    ----------
    protocol : Protocol
    subject : Subject
    threshold : float, optional
        Instead of the protocol's own.
    bootstrap_seed : int, optional
        Add 95 % intervals, resampling people.
    compared_with : str, optional
        The published model to compare with; by default told by the files' hashes.
    by_viewpoint : bool
        Also score the people of every viewpoint by themselves.

    Raises
    ------
    DataError
        Predictions and truth do not fit the protocol or each other, or the labels know no viewpoints.
    UsageError
        A negative threshold.
    """
    matched = match(subject.predictions, subject.truth)
    subject = replace(subject, predictions=matched.predictions)
    comparable = subject.whole and protocol.name in PROTOCOLS
    if _lacks_only_the_head(protocol, subject.predictions):
        protocol, comparable = protocol.of_limbs(), False
    measurement = measure(protocol, subject.predictions, subject.truth)
    result = measurement.result(threshold, bootstrap_seed=bootstrap_seed)
    references = load_all() if comparable else []
    rows = matching_rows(references, protocol.name, result.threshold, subject.hashes, compared_with)
    weights = subject.hashes.get("weights", "")
    recorded = recorded_row(weights, protocol.name, result.threshold, result.total.count, mirrored=subject.mirrored)
    slips = (
        *diagnose(protocol, subject.predictions, subject.truth),
        *(_lengths(protocol, subject, result, rows, references) if comparable else ()),
    )
    notes = (*matched.notes, *_unpredicted(measurement))
    count = len(subject.truth)
    people = f"{count} of {count + subject.absent} people, those whose images are there" if subject.absent else ""
    views = by_view(measurement, subject.truth, threshold) if by_viewpoint else {}
    return Evaluation(measurement, result, tuple(rows), recorded, slips, notes, people, views)


def _lacks_only_the_head(protocol: Protocol, predictions: Predictions) -> bool:
    missing = set(protocol.parts) - set(predictions.joints.convention.order.parts)
    return bool(missing) and missing <= {"head_top", "neck"} and set(protocol.parts) == set(protocol.units)


def _unpredicted(measurement: Measurement) -> tuple[str, ...]:
    missed, counted = np.isinf(measurement.errors), ~np.isnan(measurement.errors)
    if not missed.any() or set(measurement.protocol.parts) != set(measurement.protocol.units):
        return ()
    return (f"{missed.sum()} of {counted.sum()} joints are not predicted: they count as misses",)


def _lengths(
    protocol: Protocol, subject: Subject, result: ProtocolResult, rows: Sequence[Row], references: Sequence[Reference]
) -> list[Diagnosis]:
    """Look for wrong normalizers: of the matching rows, and of those that other protocols have of these predictions."""
    predictions, truth = subject.predictions, subject.truth
    other = published_elsewhere(references, protocol.name, result.threshold, subject.hashes.get("predictions", ""))
    tried = [(row, "") for row in rows] + [(row, row.protocol) for row in other]
    found = [
        diagnose_normalizer(protocol, predictions, truth, row.published, result.threshold, under)
        for row, under in tried
    ]
    return [diagnosis for diagnosis in found if diagnosis is not None]


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "model": row.model,
        "source": row.source,
        "published": dict(row.published),
        "target": dict(row.target),
    }


def _without_nan(value: Any) -> Any:
    """Return the content with null where a percentage of nothing stands: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
