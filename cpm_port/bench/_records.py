"""Recorded benches: one JSON file each in `reference_results/benchmarks`, written only by `cpm-port bench --record`.

What was measured on a GPU lies in `gpu/<device>` below it: it never takes the place of a CPU's record.

A file holds what `--json` writes for one bench: `command`, `date`, `machine` (processor, cores, threads, load before,
versions, commit) and `results`, bench -> what its `run` returned. The reader of the reference tables
(`evaluation/reference.py`) looks at no subfolder, so it does not read these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.checkout import checkout
from cpm_port.files.json_text import read_json

__all__ = ["BenchRecord", "device_folder", "read_records", "record_path", "records_folder", "write_results"]


@dataclass(frozen=True)
class BenchRecord:
    """One bench as it was recorded: its name, command and date, the machine, and what `run` returned."""

    name: str
    command: str
    date: str
    machine: Mapping[str, Any]
    result: Mapping[str, Any]


def records_folder() -> Path:
    """Return where the checkout keeps its records."""
    return checkout() / "reference_results" / "benchmarks"


def record_path(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """Return the file of a bench's record below `records_folder()`; a GPU's has a folder for itself.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.bench._records import record_path
    >>> [record_path(Path(), "train", {"device": device}).as_posix() for device in ("CPU", "NVIDIA H200")]
    ['train.json', 'gpu/nvidia-h200/train.json']
    """
    device = result.get("device", "CPU")
    return (folder if device == "CPU" else folder / "gpu" / device_folder(device)) / f"{name}.json"


def device_folder(device: str) -> str:
    """Return the name of a GPU's folder."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


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
