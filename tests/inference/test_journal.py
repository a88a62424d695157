"""The journal loses nothing that was written and trusts nothing that was torn. Oracle: what the tests wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port.errors import DataError, ShapeError, UsageError
from cpm_port.inference.journal import Entry, Journal, open_journal, read_entries

RUN = {"net": "a", "weights": "b"}


def _entry(seed: int) -> Entry:
    draw = np.random.default_rng(seed)
    return Entry(draw.normal(0, 100, (14, 2)), draw.random(14))


def test_entries_are_read_back_exactly_from_all_processes(tmp_path: Path) -> None:
    open_journal(tmp_path, RUN)
    for process in (0, 1):
        with Journal(tmp_path, process) as journal:
            for k in range(3):
                journal.append(f"{process}-{k}", _entry(10 * process + k))
    found = read_entries(tmp_path)
    assert set(found) == {f"{p}-{k}" for p in (0, 1) for k in range(3)}
    assert np.array_equal(found["1-2"].joints, _entry(12).joints)
    assert np.array_equal(found["1-2"].scores, _entry(12).scores)


def test_wherever_a_line_is_torn_the_whole_ones_stay(tmp_path: Path) -> None:
    open_journal(tmp_path, RUN)
    with Journal(tmp_path, 0) as journal:
        journal.append("a", _entry(0))
        journal.append("b", _entry(1))
    path = tmp_path / "0.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in (0, 1, first - 1, first, first + 1, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:length])
        kept = set() if length < first else {"a"} if length < len(whole) else {"a", "b"}
        assert set(read_entries(tmp_path)) == kept
        with Journal(tmp_path, 0) as journal:
            journal.append("c", _entry(2))
        assert set(read_entries(tmp_path)) == {*kept, "c"}


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    for line in (b"{\n", b'{"name": "a"}\n', b'{"name": "a", "joints": [[1, 2]], "scores": []}\n', b"\xff\n"):
        (tmp_path / "0.jsonl").write_bytes(line)
        with pytest.raises(DataError, match=r"0\.jsonl:1: not a prediction"):
            read_entries(tmp_path)


def test_two_answers_for_one_person_are_an_error_two_equal_ones_are_not(tmp_path: Path) -> None:
    for process, seed in ((0, 0), (1, 0)):
        with Journal(tmp_path, process) as journal:
            journal.append("a", _entry(seed))
    assert set(read_entries(tmp_path)) == {"a"}
    with Journal(tmp_path, 2) as journal:
        journal.append("a", _entry(1))
    with pytest.raises(DataError, match="'a' was predicted differently"):
        read_entries(tmp_path)


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path, RUN)
    open_journal(tmp_path, RUN)
    with pytest.raises(UsageError, match=r"of another run \(weights differ\)"):
        open_journal(tmp_path, {**RUN, "weights": "c"})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        open_journal(tmp_path, RUN)


def test_a_file_in_use_is_refused_and_a_wrong_shape_too(tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        with pytest.raises(UsageError, match="is in use"):
            Journal(tmp_path, 0)
        with pytest.raises(ShapeError, match=r"joints \(14, 2\) and scores \(3,\)"):
            journal.append("a", Entry(np.zeros((14, 2)), np.zeros(3)))
    with Journal(tmp_path, 0):
        pass
