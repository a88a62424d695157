"""Predictions kept as they are made: a run that is killed at any moment continues where it stopped and loses nothing.

Where in the flow: between `predict_person` and the prediction file of a whole data set. One folder per run:

- `run.json`: what the run is of (hashes of net, weights and labels), written whole before anything else; a folder of
  another run is refused;
- `<process>.jsonl`: one line per person, appended and flushed to the disk before the next person is begun. Each
  process of a sharded run has its own file, locked while it is open.

A line that a kill tore is ignored and cut off when its file is next opened. Any number of processes may continue what
any other number began: all files are read, and a person predicted twice must have been predicted alike.

Conventions: joints are `(x, y)`, 0-based image px; numbers are written so that they are read back exactly.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, ShapeError, UsageError
from cpm_port.files.atomic import atomic_path, writing
from cpm_port.files.json_text import parse_json, read_json

__all__ = ["Entry", "Journal", "open_journal", "read_entries"]

_RUN = "run.json"


@dataclass(frozen=True, eq=False)
class Entry:
    """One person's joints (P, 2) and scores (P,)."""

    joints: NDArray[np.float64]
    scores: NDArray[np.float64]

    def same(self, other: Entry) -> bool:
        """Whether two entries hold the same joints."""
        return np.array_equal(self.joints, other.joints)


def open_journal(folder: Path, identity: Mapping[str, str]) -> None:
    """Make the folder a run's, or check that it is this run's.

    Raises
    ------
    UsageError
        It belongs to another run; the message says what differs.
    DataError
        Its `run.json` is not readable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RUN
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(dict(identity), indent=1) + "\n", encoding="utf-8")
        return
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: not what a run is of; remove {folder} to begin again")
    if found != dict(identity):
        differing = [key for key in {*found, *identity} if found.get(key) != identity.get(key)]
        raise UsageError(
            f"{folder} holds predictions of another run ({', '.join(sorted(differing))} differ); remove it, "
            "or save elsewhere"
        )


def read_entries(folder: Path) -> dict[str, Entry]:
    """Read what all processes of all starts have predicted so far, by name.

    Raises
    ------
    DataError
        A line in the middle of a file is broken, or a person was predicted twice and differently.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.jsonl")):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            name, entry = _parse(line, f"{path}:{number}")
            if name in entries and not entries[name].same(entry):
                raise DataError(f"{path}:{number}: {name!r} was predicted differently before; remove {folder}")
            entries.setdefault(name, entry)
    return entries


class Journal:
    """One process's file, open for appending.

    Parameters
    ----------
    folder : Path
        The run's, after `open_journal`.
    process : int
        Which process this is; its file is locked against another with the same number.

    Raises
    ------
    UsageError
        The file is locked: another run is writing.
    """

    def __init__(self, folder: Path, process: int) -> None:
        self._path = folder / f"{process}.jsonl"
        self._file: IO[bytes] = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(f"{self._path} is in use: is another run of the same evaluation going on?") from error
        self._cut_torn_line()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else writing(self._path):  # one error is told, the first
            self._file.close()

    def append(self, name: str, entry: Entry) -> None:
        """Write one person and wait until the disk has it.

        Raises
        ------
        ShapeError
            Joints and scores are not (P, 2) and (P,).
        WriteError
            The disk is full.
        """
        if entry.joints.ndim != 2 or entry.joints.shape != (len(entry.scores), 2):
            raise ShapeError(
                f"{name}: joints {entry.joints.shape} and scores {entry.scores.shape}; expected (P, 2) and (P,)"
            )
        line = {"name": name, "joints": entry.joints.tolist(), "scores": entry.scores.tolist()}
        with writing(self._path):
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _cut_torn_line(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)


def _parse(line: bytes, where: str) -> tuple[str, Entry]:
    try:
        content = parse_json(line, where)
        name, joints, scores = content["name"], np.array(content["joints"], float), np.array(content["scores"], float)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: not a prediction ({error})") from error
    if not isinstance(name, str) or joints.shape != (len(scores), 2):
        raise DataError(f"{where}: not a prediction")
    return name, Entry(joints, scores)
