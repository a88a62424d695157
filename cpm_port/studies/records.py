"""Recorded studies: one JSON file each, as `cpm-port study NAME` writes them.

A file holds `study`, `command`, `date`, `machine` (processor, cores, threads, system, versions), `cpu_minutes`, `size`
(`StudySize`, its seed that of the first run) and `runs`: what the study's `run` returned for every seed, with its
`seed`. The checkout's own lie in `reference_results/studies`; `cpm-port study report` draws and tells them.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.checkout import checkout
from cpm_port.files.json_text import read_json

__all__ = ["fingerprint", "read_record", "studies_folder", "write_record"]

_KEYS = ("study", "command", "date", "machine", "cpu_minutes", "size", "runs")
_LIST_OF_NUMBERS = re.compile(r"\[\s+([^\[\]{}\"]+?)\s+\]")


def studies_folder() -> Path:
    """Return where the checkout keeps its studies."""
    return checkout() / "reference_results" / "studies"


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, with every list of numbers on a line of its own."""
    text = _LIST_OF_NUMBERS.sub(
        lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(record, indent=1, allow_nan=False)
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    DataError
        The file is no record of a study.
    """
    record = read_json(path)
    if not isinstance(record, dict) or tuple(record) != _KEYS or not record["runs"]:
        raise DataError(f"{path}: not what `cpm-port study` writes; expected the keys {', '.join(_KEYS)}, and a run")
    return record


def fingerprint(record: dict[str, Any]) -> str:
    """Return a digest of a record's content, however its file is laid out."""
    return f"sha256:{hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()}"
