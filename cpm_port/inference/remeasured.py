"""The model that ships, measured again on photographs and held against its record: rows for `cpm-port regress`.

Where in the flow: `predict_dataset`, then the protocol, then `reference_results/default_model.json`
(`cpm_port.evaluation.recorded`). Hits must be the recorded ones to the last joint. A part of the people is held against
the recorded hits of the same people, so that a few seconds tell as well as many minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpm_port.errors import CpmPortError, MissingFileError
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.recorded import default_record, row_of
from cpm_port.evaluation.regress import RowOutcome, cells_of
from cpm_port.inference.dataset import predict_dataset

__all__ = ["remeasure_default"]

_TOLERANCE = 0.006  # percent points: half of the last digit that the record keeps, and a little


def remeasure_default(data: Path | None, limit: int | None = None) -> list[RowOutcome]:
    """Measure every recorded score of the default model that has its photographs under a folder.

    Parameters
    ----------
    data : path or None
        Holds the data sets' folders as the record names them (`datasets/lsp`, ...); None: nothing is measured.
    limit : int, optional
        The first so many people of each only.

    Returns
    -------
    list of RowOutcome
        One per recorded score that knows its data set: pass, fail, or inputs missing. A model without a record (a
        checkout from which it was taken out) has none.
    """
    scores = (default_record() or {"scores": []})["scores"]
    return [_outcome(score, data, limit) for score in scores if "data" in score]


def _outcome(score: Mapping[str, Any], data: Path | None, limit: int | None) -> RowOutcome:
    row, protocol = row_of(score), protocol_named(score["protocol"])
    if data is None or not (data / score["data"]).is_dir():
        return RowOutcome(row, "inputs missing", f"{score['data']}: not in {data or 'the package (give --data)'}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            subject = predict_dataset(protocol, data / score["data"], Path(folder, "found.h5"), limit=limit)
        if subject is None:
            return RowOutcome(row, "inputs missing", "another process of torchrun measures it")
        measurement = measure(protocol, subject.predictions, subject.truth)
    except MissingFileError as error:
        return RowOutcome(row, "inputs missing", str(error))
    except CpmPortError as error:
        return RowOutcome(row, "fail", str(error))
    result = measurement.result(row.threshold)
    people, recorded = len(subject.truth), score["hits_by_person"]
    expected = {"total hits": sum(recorded[:people]), **(score["values"] if people == len(recorded) else {})}
    cells = cells_of(expected, result, _TOLERANCE)
    missed = [cell for cell in cells if not cell.ok]
    reasons = [f"{cell.name} {cell.measured:g}, expected {cell.expected:g}" for cell in missed]
    if people < len(recorded):
        reasons.append(f"the first {people} of {len(recorded)} people")
    return RowOutcome(
        row, "fail" if missed else "pass", "; ".join(reasons), cells, (), measurement, subject.predictions,
        subject.truth,
    )  # fmt: skip
