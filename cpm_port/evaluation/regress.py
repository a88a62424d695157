"""Recompute every reference result whose inputs are there, and say which of them still come out.

METRICS -> REPORT. The core of `cpm-port regress`: rows of `reference_results/` in, outcomes out. Files are read once
however many rows use them. A row's verdict:

- *pass*: every target is met within its tolerance (hits exactly), and every published value within the digits that
  leaderboards print;
- *fail*: one is not, or the inputs do not fit the protocol;
- *inputs missing*: a file is not there;
- *cited*: published values that no file can recompute.

Inputs whose SHA-256 is not the recorded one are named in the outcome: the numbers decide, the note explains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cpm_port.errors import CpmPortError
from cpm_port.evaluation.diagnose import PRINTED, Diagnosis, diagnose, diagnose_normalizer, with_slip
from cpm_port.evaluation.embedded import read_embedded
from cpm_port.evaluation.measure import Measurement, measure
from cpm_port.evaluation.protocols import Protocol, protocol_named
from cpm_port.evaluation.reference import published_elsewhere
from cpm_port.evaluation.scores import ProtocolResult
from cpm_port.evaluation.tables import Reference, Row
from cpm_port.evaluation.truth import Truth, read_truth
from cpm_port.files.atomic import atomic_path
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json
from cpm_port.predictions.files import read_predictions
from cpm_port.predictions.values import Predictions

__all__ = ["Cell", "RowOutcome", "Verdict", "cells_of", "outcome_json", "recompute", "record", "write_outcomes"]

Verdict = Literal["pass", "fail", "inputs missing", "cited"]


@dataclass(frozen=True)
class Cell:
    """One number of a row: what it is called, what was expected with which tolerance, and what came out."""

    name: str
    expected: float
    measured: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Measured less expected."""
        return self.measured - self.expected

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.difference) <= self.tolerance


@dataclass(frozen=True, eq=False)
class RowOutcome:
    """What became of one row.

    Attributes
    ----------
    row : Row
        The reference.
    verdict : str
        "pass", "fail", "inputs missing" or "cited".
    reason : str
        For anything but a clean pass: what is wrong or missing.
    cells, published : tuple of Cell
        Measured against the target, and against what was published.
    measurement, predictions, truth
        For the report's curves and pictures; None where nothing was recomputed.
    diagnoses : tuple of Diagnosis
        Slips that fit these predictions.
    """

    row: Row
    verdict: Verdict
    reason: str = ""
    cells: tuple[Cell, ...] = ()
    published: tuple[Cell, ...] = ()
    measurement: Measurement | None = None
    predictions: Predictions | None = None
    truth: Truth | None = None
    diagnoses: tuple[Diagnosis, ...] = field(default=())

    @cached_property
    def result(self) -> ProtocolResult | None:
        """The scores at the row's threshold."""
        return None if self.measurement is None else self.measurement.result(self.row.threshold)


def recompute(references: Sequence[Reference], data: Path | None) -> list[RowOutcome]:
    """Recompute every row.

    Parameters
    ----------
    references : sequence of Reference
        `cpm_port.evaluation.reference.load_all()`.
    data : path or None
        The folder that inputs are relative to; None: only what ships with the package is recomputed.

    Returns
    -------
    list of RowOutcome
        In the order of the rows.
    """
    files = _Files()
    return [_outcome(row, reference, data, files, references) for reference in references for row in reference.rows]


class _Files:
    """Files read so far."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, ...], Any] = {}
        self._hashes: dict[Path, str] = {}

    def predictions(self, path: Path, row: Row) -> Predictions:
        assert row.inputs is not None
        key = ("predictions", str(path), row.inputs.centric or "")
        if key not in self._read:
            embedded = row.inputs.predictions.startswith("embedded/")
            self._read[key] = read_embedded(path)[0] if embedded else read_predictions(path, centric=row.inputs.centric)
        read: Predictions = self._read[key]
        return with_slip(row.inputs.slip, read) if row.inputs.slip else read

    def truth(self, path: Path, row: Row, protocol: Protocol, images: Path | None) -> Truth:
        assert row.inputs is not None
        key = ("truth", str(path), protocol.dataset, protocol.convention.centric)
        if key not in self._read:
            embedded = row.inputs.truth.startswith("embedded/")
            self._read[key] = (
                read_embedded(path)[1]
                if embedded
                else read_truth(protocol.dataset, path, images=images, centric=protocol.convention.centric)
            )
        read: Truth = self._read[key]
        return read

    def sha256(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = file_sha256(path)
        return self._hashes[path]


def _outcome(
    row: Row, reference: Reference, data: Path | None, files: _Files, references: Sequence[Reference]
) -> RowOutcome:
    if row.inputs is None:
        return RowOutcome(row, "cited", row.explanation)
    paths = {name: _locate(name, reference, data) for name in (row.inputs.predictions, row.inputs.truth)}
    absent = [name for name, path in paths.items() if path is None or not path.is_file()]
    if absent:
        return RowOutcome(row, "inputs missing", f"{', '.join(absent)}: not in {data or 'the package (give --data)'}")
    predictions_path, truth_path = paths[row.inputs.predictions], paths[row.inputs.truth]
    assert predictions_path is not None
    assert truth_path is not None
    protocol = protocol_named(row.protocol)
    images = data / row.inputs.images if data is not None and row.inputs.images else None
    try:
        predictions = files.predictions(predictions_path, row)
        truth = files.truth(truth_path, row, protocol, images)
        measurement = measure(protocol, predictions, truth)
    except CpmPortError as error:
        return RowOutcome(row, "fail", str(error))
    result = measurement.result(row.threshold)
    cells = cells_of(row.target, result, row.tolerance)
    published = cells_of(row.published, result, PRINTED)
    diagnoses = list(diagnose(protocol, predictions, truth))
    missed = [cell for cell in (*cells, *published) if not cell.ok]
    assert row.threshold is not None  # load_file has checked it
    if missed:
        other = diagnose_normalizer(protocol, predictions, truth, row.published or row.target, row.threshold)
        diagnoses += [other] if other else []
    elsewhere = published_elsewhere(references, row.protocol, row.threshold, files.sha256(predictions_path))
    for rival in elsewhere if row.inputs.slip is None else ():
        other = diagnose_normalizer(protocol, predictions, truth, rival.published, row.threshold, rival.protocol)
        diagnoses += [other] if other else []
    reasons = [f"{cell.name} {cell.measured:.3f}, expected {cell.expected:g}" for cell in missed]
    recorded = row.measured.get("inputs", {})
    reasons += [
        f"{name} is not the recorded file"
        for name, path in paths.items()
        if name in recorded and path is not None and recorded[name] != files.sha256(path)
    ]
    return RowOutcome(
        row, "fail" if missed else "pass", "; ".join(reasons), cells, published, measurement, predictions, truth,
        tuple(diagnoses),
    )  # fmt: skip


def _locate(name: str, reference: Reference, data: Path | None) -> Path | None:
    if name.startswith("embedded/"):
        return reference.file.parent / name
    return None if data is None else data / name


def _value(name: str, result: ProtocolResult) -> float:
    if name == "auc":
        return float("nan") if result.auc is None else result.auc
    score_name, _, hits = name.partition(" hits") if name.endswith(" hits") else (name, "", None)
    score = result.total if score_name == "total" else result.parts[score_name]
    return score.percent if hits is None else float(score.hits)


def cells_of(expected: Mapping[str, float], result: ProtocolResult, tolerance: float) -> tuple[Cell, ...]:
    """Return what came out beside what was expected: a column, "total", "auc", or "<column> hits", which are exact."""
    return tuple(
        Cell(name, float(value), _value(name, result), 0.0 if name.endswith(" hits") else tolerance)
        for name, value in expected.items()
    )


def write_outcomes(path: Path, outcomes: Sequence[RowOutcome], data: Path | None) -> None:
    """Write all numbers as JSON: `data`, the folder that they were recomputed from, and `results`."""
    content = {"data": None if data is None else str(data), "results": [outcome_json(outcome) for outcome in outcomes]}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def outcome_json(outcome: RowOutcome) -> dict[str, Any]:
    """Return an outcome as plain data, for `--json`."""
    row, result = outcome.row, outcome.result

    def cells(group: Iterable[Cell]) -> dict[str, Any]:
        return {
            cell.name: {
                "expected": cell.expected,
                "measured": cell.measured,
                "difference": cell.difference,
                "tolerance": cell.tolerance,
                "ok": cell.ok,
            }
            for cell in group
        }

    return {
        "id": row.id,
        "model": row.model,
        "split": row.split,
        "protocol": row.protocol,
        "threshold": row.threshold,
        "status": row.status,
        "source": row.source,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "published": cells(outcome.published) if outcome.published else dict(row.published),
        "target": cells(outcome.cells) if outcome.cells else dict(row.target),
        "measured": None if result is None else result.to_json(),
        "diagnoses": [str(diagnosis) for diagnosis in outcome.diagnoses],
        "explanation": row.explanation,
    }


def record(references: Sequence[Reference], outcomes: Sequence[RowOutcome], data: Path | None) -> list[Path]:
    """Write what was measured into the reference files: command, date, hashes of the inputs, values and counts.

    Only rows that passed are written, so a regression cannot record itself.

    Returns
    -------
    list of Path
        The files that were rewritten.
    """
    passed = {outcome.row.id: outcome for outcome in outcomes if outcome.verdict == "pass"}
    written, today = [], datetime.now(UTC).date().isoformat()
    for reference in references:
        content = read_json(reference.file)
        for row, entry in zip(reference.rows, content.get("rows", []), strict=True):
            outcome = passed.get(row.id)
            if outcome is None or outcome.result is None or row.inputs is None:
                continue
            scores = {**outcome.result.parts, "total": outcome.result.total}
            values = {name: round(score.percent, 6) for name, score in scores.items()}
            if outcome.result.auc is not None:
                values["auc"] = round(outcome.result.auc, 6)
            hashes = {}
            for name in (row.inputs.predictions, row.inputs.truth):
                path = _locate(name, reference, data)
                assert path is not None
                hashes[name] = file_sha256(path)
            own = row.inputs.predictions.startswith("embedded/")
            entry["measured"] = {
                "command": "cpm-port regress" if own else "cpm-port regress --data ROOT",
                "date": today,
                "inputs": hashes,
                "values": values,
                "counts": {name: [score.hits, score.count] for name, score in scores.items()},
            }
        if any(row.id in passed for row in reference.rows):
            with atomic_path(reference.file) as temporary:
                temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(reference.file)
    return written
