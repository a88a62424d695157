"""What a run tells the world: lines on the console, one JSON object per line in a file, and TensorBoard.

Flow: the loop's numbers -> **console, `.jsonl`, TensorBoard**. Every record has `kind` ("train", "test",
"validation", "snapshot") and `iteration`; the other keys depend on the kind. A resumed run drops the records that it
will write again, so the file reads as if the run had never stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

from cpm_port.errors import DataError, MissingDependencyError
from cpm_port.files.atomic import atomic_path, writing
from cpm_port.files.json_text import parse_json
from cpm_port.training.caffe_log import headed

__all__ = ["Clock", "Progress", "read_metrics"]


class Progress:
    """Where a run's records go; with every place left out, nowhere.

    Parameters
    ----------
    console : text stream or None
    metrics : path-like or None
        The `.jsonl` file; its folder is created now, the file touched with the first record: a run that cannot start
        leaves that of an earlier run alone.
    tensorboard : path-like or None
        A folder of TensorBoard events.
    start : int
        The iteration that the run starts at.
    like_caffe : bool
        The console gets the lines that Caffe logs (`caffe_log.py`).

    Raises
    ------
    MissingDependencyError
        TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        *,
        console: TextIO | None = None,
        metrics: str | os.PathLike[str] | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        start: int = 0,
        like_caffe: bool = False,
    ) -> None:
        self._like_caffe = like_caffe
        self.metrics = None if metrics is None else Path(metrics)
        self._console = console
        self._start = start
        self._file: TextIO | None = None
        self._board: Any = None
        if self.metrics is not None:
            self.metrics.parent.mkdir(parents=True, exist_ok=True)
        if tensorboard is not None:
            self._board = _open_board(tensorboard, start)

    def say(self, text: str, caffe: Sequence[str] | None = None) -> None:
        """Print a line, if there is any text; in Caffe's log instead the lines `caffe`, where they are given."""
        if self._console is None:
            return
        lines = [text] if text else []
        if self._like_caffe:
            lines = [headed(line) for line in (text.splitlines() if caffe is None else caffe)]
        for line in lines:
            print(line, file=self._console, flush=True)

    def record(self, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        """Write one record; numbers, also inside nested mappings, become TensorBoard scalars."""
        if self.metrics is not None:
            if self._file is None:
                _drop_records_from(self.metrics, self._start)
                self._file = self.metrics.open("a", encoding="utf-8")
            with writing(self.metrics):
                print(json.dumps({"kind": kind, "iteration": iteration, **values}), file=self._file, flush=True)
        if self._board is not None:
            for name, value in _scalars(values):
                self._board.add_scalar(f"{kind}/{name}", value, iteration)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        with suppress(OSError) if kind is not None else nullcontext():  # one error is told, the first
            self.close()

    def close(self) -> None:
        """Flush and close every place; leaving a `with` block does the same."""
        if self._file is not None and self.metrics is not None:
            with writing(self.metrics):
                self._file.close()
        if self._board is not None:
            self._board.close()


class Clock:
    """Rate and remaining time: the rate since the last look, the rest from the whole run's pace."""

    def __init__(self, iteration: int) -> None:
        self._start = self._last = (iteration, time.perf_counter())

    def look(self, iteration: int, max_iter: int, at: float | None = None) -> tuple[float, float]:
        """Return (iterations per second since the last look, seconds left); zeros when no iteration has passed.

        Parameters
        ----------
        iteration, max_iter : int
            How many are done, and how many there will be.
        at : float, optional
            When they were done, by `time.perf_counter`; now by default. Iterations may be looked at two at a time.
        """
        now = (iteration, time.perf_counter() if at is None else at)
        recent = (now[0] - self._last[0]) / max(now[1] - self._last[1], 1e-9)
        overall = (now[0] - self._start[0]) / max(now[1] - self._start[1], 1e-9)
        self._last = now
        return recent, (max_iter - iteration) / overall if overall else 0.0

    def pause(self, seconds: float) -> None:
        """Take time that was not spent on iterations (a test, a snapshot) out of the account."""
        self._start = (self._start[0], self._start[1] + seconds)
        self._last = (self._last[0], self._last[1] + seconds)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a `.jsonl` of records; an unfinished last line, of a run that was killed, is left out.

    Raises
    ------
    DataError
        Another line is not a JSON object with `kind` and `iteration`.
    """
    lines = Path(path).read_bytes().splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line, f"{path}:{number}")
            known = isinstance(record, dict) and isinstance(record.get("kind"), str)
            if not known or not isinstance(record.get("iteration"), int):
                raise ValueError("no object with 'kind' and 'iteration'")
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}:{number}: not a metrics record ({error})") from error
        records.append(record)
    return records


def _drop_records_from(path: Path, start: int) -> None:
    """Rewrite the file, if there is one, without what a run that starts at `start` will write again."""
    if not path.is_file():
        return
    records = read_metrics(path)
    kept = [r for r in records if r["iteration"] < start or (r["kind"] == "snapshot" and r["iteration"] == start)]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


def _open_board(folder: str | os.PathLike[str], start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "TensorBoard is not installed: pip install 'cpm_port[tensorboard]', or leave --tensorboard out"
        ) from error
    return SummaryWriter(os.fspath(folder), purge_step=start)


def _scalars(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((prefix + name, value))
    return found
