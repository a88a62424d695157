"""Reference results as they lie in files: the published tables, what recomputing gives, and what it must give.

One JSON file per published table in `reference_results/` (the wheel carries them). Three things never mix:

- `published`: typed once from a source, which is named with its place;
- `target`: what recomputing from files must give, with its tolerance;
- `measured`: counts, command, date and SHA-256 of the inputs, written only by `cpm-port regress --record`.

A row's `status` follows: *published* (cited, and no file can recompute it), *recomputed* (inputs exist and are hashed),
*measured here* (on data that this package makes itself, `embedded.py`).

`default_model.json` is no table but the record of the model that ships; `recorded.py` reads it.

Paths of inputs are relative to the data folder (`--data`), or to `reference_results/` where they begin with
`embedded/`.

Where in the flow: read here as they stand, without the metrics; `reference.py` holds them against the protocols.

Differs from the usual zoo table: a mismatch stays in the table with its `explanation`; values keep the digits that the
source prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError
from cpm_port.files.json_text import read_json
from cpm_port.parts import CENTRICITIES, Centricity
from cpm_port.resources import resource_dir

__all__ = ["SCHEMA", "STATUSES", "Fact", "Inputs", "Reference", "Row", "read_table", "read_tables", "reference_dir"]

SCHEMA = 1
STATUSES = ("published", "recomputed", "measured here")
_NO_TABLES = ("default_model.json",)


@dataclass(frozen=True)
class Inputs:
    """Files that a row is recomputed from, and how the predictions are read.

    Attributes
    ----------
    predictions, truth : str
        Relative paths.
    images : str or None
        Folder of the images, where some exist, for the pictures of the report.
    centric : {"person", "observer"} or None
        What the predictions are stated to be; None: the kind's own.
    slip : str or None
        A slip put into the predictions on purpose, for rows that record its score.
    """

    predictions: str
    truth: str
    images: str | None = None
    centric: Centricity | None = None
    slip: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    id : str
        Unique over all files.
    model, split, protocol : str
        What was scored on what and how; `protocol` may be one that this package does not compute.
    threshold : float or None
        Fraction of the normalizer.
    status : str
        One of `STATUSES`.
    published : dict of str to float
        Values as printed by `source`; columns, "total", "auc". Empty where nothing was published.
    source : str
        Work and place.
    target : dict of str to float
        What recomputing must give: as `published`, and "total hits" or "<column> hits", which are exact.
    tolerance : float
        Of the target, percent points.
    inputs : Inputs or None
        None: it cannot be recomputed.
    measured : dict
        `command`, `inputs` (path -> SHA-256), `values` and `counts`, as recorded; empty before.
    explanation : str
        Why numbers differ, or cannot be had.
    """

    id: str
    model: str
    split: str
    protocol: str
    threshold: float | None
    status: str
    published: Mapping[str, float]
    source: str
    target: Mapping[str, float]
    tolerance: float
    inputs: Inputs | None
    measured: Mapping[str, Any]
    explanation: str


@dataclass(frozen=True)
class Fact:
    """A finding that is no row of a table: a sentence in our words, its numbers, status (*published*) and source."""

    id: str
    status: str
    statement: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Reference:
    """One file: a table's rows, or findings."""

    file: Path
    title: str
    dataset: str
    rows: tuple[Row, ...] = ()
    facts: tuple[Fact, ...] = field(default=())


def reference_dir() -> Path:
    """Return the folder of the reference results."""
    return resource_dir("reference_results")


def read_tables(folder: Path | None = None) -> list[Reference]:
    """Read every table of the folder, by default of the package's own, in the order of their names.

    Raises
    ------
    DataError
        As of `read_table`, or two rows have one id.
    """
    files = sorted((folder or reference_dir()).glob("*.json"))
    references = [read_table(path) for path in files if path.name not in _NO_TABLES]
    seen: dict[str, Path] = {}
    for reference in references:
        for name in (*(row.id for row in reference.rows), *(fact.id for fact in reference.facts)):
            if name in seen:
                raise DataError(f"{reference.file}: id {name!r} is in {seen[name].name} too")
            seen[name] = reference.file
    return references


def read_table(path: Path) -> Reference:
    """Read one file.

    Raises
    ------
    DataError
        Not JSON, a key missing or unknown, or a value of another kind.
    """
    content = read_json(path)
    checked = _keys(content, {"schema": int, "title": str, "dataset": str}, {"rows": list, "facts": list}, str(path))
    if checked["schema"] != SCHEMA:
        raise DataError(f"{path}: schema is {checked['schema']}, expected {SCHEMA}")
    return Reference(
        path,
        checked["title"],
        checked["dataset"],
        tuple(_row(row, f"{path}: row {i + 1}") for i, row in enumerate(checked.get("rows", []))),
        tuple(_fact(fact, f"{path}: fact {i + 1}") for i, fact in enumerate(checked.get("facts", []))),
    )


_ROW_REQUIRED = {"id": str, "model": str, "split": str, "protocol": str, "status": str, "source": str}
_ROW_OPTIONAL = {
    "threshold": float, "published": dict, "target": dict, "tolerance": float, "inputs": dict, "measured": dict,
    "explanation": str,
}  # fmt: skip


def _row(content: Any, where: str) -> Row:
    row = _keys(content, _ROW_REQUIRED, _ROW_OPTIONAL, where)
    where = f"{where} ({row['id']})"
    inputs = None
    if "inputs" in row:
        given = _keys(
            row["inputs"],
            {"predictions": str, "truth": str},
            {"images": str, "centric": str, "slip": str},
            f"{where}: inputs",
        )
        if given.get("centric", "person") not in CENTRICITIES:
            raise DataError(f"{where}: centric {given['centric']!r}")
        inputs = Inputs(**given)
    measured = _keys(
        row.get("measured", {}),
        {},
        {"command": str, "date": str, "inputs": dict, "values": dict, "counts": dict},
        f"{where}: measured",
    )
    return Row(
        row["id"], row["model"], row["split"], row["protocol"], row.get("threshold"), row["status"],
        _values(row.get("published", {}), f"{where}: published"), row["source"],
        _values(row.get("target", {}), f"{where}: target"), row.get("tolerance", 0.0), inputs, measured,
        row.get("explanation", ""),
    )  # fmt: skip


def _fact(content: Any, where: str) -> Fact:
    fact = _keys(content, {"id": str, "status": str, "statement": str, "values": dict, "source": str}, {}, where)
    if fact["status"] != "published":
        raise DataError(f"{where}: status {fact['status']!r}; findings are published ones")
    return Fact(fact["id"], fact["status"], fact["statement"], _values(fact["values"], where), fact["source"])


def _keys(content: Any, required: Mapping[str, type], optional: Mapping[str, type], where: str) -> dict[str, Any]:
    """Return an object whose keys and kinds are checked; whole numbers pass for float."""
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object, found {type(content).__name__}")
    missing = [name for name in required if name not in content]
    unknown = [name for name in content if name not in required and name not in optional]
    if missing or unknown:
        raise DataError(
            f"{where}: missing {', '.join(missing) or 'nothing'}; unknown {', '.join(unknown) or 'nothing'}"
        )
    for name, value in content.items():
        kind = required.get(name) or optional[name]
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise DataError(f"{where}: {name} is {type(value).__name__}, expected {kind.__name__}")
    return content


def _values(content: dict[str, Any], where: str) -> dict[str, float]:
    for name, value in content.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{where}: {name} is no number")
    return content
