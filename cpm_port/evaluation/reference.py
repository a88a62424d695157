"""Reference results held against this package's protocols: which rows can be recomputed, and which belong to a score.

The files and their fields are `tables.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cpm_port.errors import DataError
from cpm_port.evaluation.diagnose import SLIPS
from cpm_port.evaluation.protocols import PROTOCOLS
from cpm_port.evaluation.tables import STATUSES, Reference, Row, read_table, read_tables

__all__ = ["load_all", "load_file", "matching_rows", "published_elsewhere"]


def load_all(folder: Path | None = None) -> list[Reference]:
    """Read and check every table of the folder, by default of the package's own, in the order of their names.

    Raises
    ------
    DataError
        As of `load_file`, or two rows have one id.
    """
    return [_checked(reference) for reference in read_tables(folder)]


def load_file(path: Path) -> Reference:
    """Read and check one file.

    Raises
    ------
    DataError
        Not JSON, a key missing or unknown, a value of another kind, or a status that its fields contradict.
    """
    return _checked(read_table(path))


def _checked(reference: Reference) -> Reference:
    """Return a table whose rows do not contradict themselves or the protocols."""
    for number, row in enumerate(reference.rows, 1):
        _check_row(row, f"{reference.file}: row {number} ({row.id})")
    return reference


def _check_row(row: Row, where: str) -> None:
    if row.inputs is not None and row.inputs.slip is not None and row.inputs.slip not in SLIPS:
        raise DataError(f"{where}: slip {row.inputs.slip!r} is none of {', '.join(SLIPS)}")
    if row.status not in STATUSES:
        raise DataError(f"{where}: status {row.status!r} is none of {', '.join(STATUSES)}")
    if row.status == "published":
        wrong = "inputs, target or measured" if row.inputs or row.target or row.measured else ""
        if wrong or not row.published:
            raise DataError(f"{where}: a published row has published values alone{f', not {wrong}' if wrong else ''}")
        return
    if row.inputs is None or not row.target or row.threshold is None or not row.tolerance > 0:
        raise DataError(f"{where}: a {row.status} row needs inputs, target, threshold and a tolerance above 0")
    if row.protocol not in PROTOCOLS:
        raise DataError(f"{where}: protocol {row.protocol!r} is not one of ours: {', '.join(PROTOCOLS)}")
    scores = (*PROTOCOLS[row.protocol].columns, "total")
    known = {*scores, *(f"{name} hits" for name in scores), "auc"}
    strange = [name for name in (*row.target, *row.published) if name not in known]
    if strange:
        raise DataError(f"{where}: {', '.join(strange)}: {row.protocol} has {', '.join(sorted(known))}")
    recorded = row.measured.get("inputs", {})
    needed = {row.inputs.predictions, row.inputs.truth}
    keys = {"command", "date", "inputs", "values", "counts"}
    if row.measured and (set(row.measured) != keys or set(recorded) != needed):
        raise DataError(
            f"{where}: measured needs command, date, values, counts and the hashes of {', '.join(sorted(needed))}"
        )


def published_elsewhere(
    references: Iterable[Reference], protocol: str, threshold: float, predictions_hash: str
) -> list[Row]:
    """Return rows that were published for these very predictions, at this threshold, under another protocol.

    Of the same data set and columns, so that a different length or label set is all that can part the two.
    """
    own = PROTOCOLS[protocol]
    return [
        row
        for reference in references
        for row in reference.rows
        if row.published and row.inputs is not None and row.protocol != protocol and row.protocol in PROTOCOLS
        if PROTOCOLS[row.protocol].dataset == own.dataset and PROTOCOLS[row.protocol].columns == own.columns
        if row.threshold is not None and abs(row.threshold - threshold) < 1e-9
        if row.measured.get("inputs", {}).get(row.inputs.predictions) == predictions_hash
    ]


def matching_rows(
    references: Iterable[Reference], protocol: str, threshold: float, hashes: Mapping[str, str], model: str | None
) -> list[Row]:
    """Return the rows to hold a score against.

    Parameters
    ----------
    references : iterable of Reference
    protocol, threshold
        Of the score.
    hashes : dict of str to str
        "predictions" and "truth" -> SHA-256 of the scored files.
    model : str or None
        Only rows of this model.

    Returns
    -------
    list of Row
        Rows recorded from these very files, if any are; else those of the same ground truth or cited ones, without
        rows that record a slip or synthetic data.
    """
    rows = [
        row
        for reference in references
        for row in reference.rows
        if row.protocol == protocol and row.threshold is not None and abs(row.threshold - threshold) < 1e-9
        if row.status != "measured here" and (model is None or row.model == model)
        if row.inputs is None or row.inputs.slip is None
    ]

    def recorded(row: Row, kind: str) -> bool:
        name = "" if row.inputs is None else getattr(row.inputs, kind)
        return bool(row.measured.get("inputs", {}).get(name) == hashes.get(kind, ""))

    exact = [row for row in rows if recorded(row, "predictions") and recorded(row, "truth")]
    return exact or [row for row in rows if row.inputs is None or row.inputs.centric is None]
