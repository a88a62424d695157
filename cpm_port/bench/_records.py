"""Recorded benches: one JSON file each in `reference_results/benchmarks`, written only by `cpm-port bench --record`.

A file holds what `--json` writes for one bench: `command`, `date`, `machine` (processor, cores, threads, load before,
versions, commit) and `results`, bench -> what its `run` returned. The reader of the reference tables
(`evaluation/reference.py`) looks at no subfolder, so it does not read these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.json_text import read_json
from cpm_port.resources import resource_dir

__all__ = ["BenchRecord", "checkout", "read_records", "records_folder", "write_results"]


@dataclass(frozen=True)
class BenchRecord:
    """One bench as it was recorded: its name, command and date, the machine, and what `run` returned."""

    name: str
    command: str
    date: str
    machine: Mapping[str, Any]
    result: Mapping[str, Any]


def checkout() -> Path:
    """Return the checkout's folder: what is recorded belongs in the repository.

    Raises
    ------
    UsageError
        The package runs from an installation.
    """
    folder = resource_dir("reference_results").parent
    if not (folder / "pyproject.toml").is_file():
        raise UsageError(f"{folder} is no checkout: benches are recorded, and reported, in the repository")
    return folder


def records_folder() -> Path:
    """Return where the checkout keeps its records."""
    return checkout() / "reference_results" / "benchmarks"


def write_results(path: Path, command: str, machine: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write benches' results as JSON."""
    date = datetime.now(UTC).date().isoformat()
    content = {"command": command, "date": date, "machine": machine, "results": results}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_records(folder: Path) -> dict[str, BenchRecord]:
    """Read all records of a folder, by bench.

    Raises
    ------
    DataError
        A file is none of ours.
    """
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = read_json(path)
            result = content["results"][path.stem]
            record = BenchRecord(path.stem, content["command"], content["date"], content["machine"], result)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not what `cpm-port bench {path.stem} --record` writes ({error!r})") from error
        records[path.stem] = record
    return records
