"""Writers that are broken off leave nothing half-written, and say which file it was. Oracle: the folder's listing.

Broken off by a limit on a file's size (as anybody may set), by a full disk (a file system of 256 KiB, where the tests
may mount one), and by a kill.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cpm_port.errors import WriteError
from cpm_port.files.atomic import atomic_path
from cpm_port.inference.journal import Entry, Journal, open_journal, read_entries
from cpm_port.training.progress import Progress, read_metrics
from tests.files.writers import WRITERS
from tests.support import ROOT


@pytest.fixture
def limited_files() -> Iterator[None]:
    """No file may grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_grow_is_named_and_does_not_appear(name: str, tmp_path: Path, limited_files: None) -> None:
    with pytest.raises(WriteError, match=name.replace(".", r"\.")):
        WRITERS[name][0](tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_with_the_files_name(name: str, small_disk: Path) -> None:
    with pytest.raises(WriteError, match=name.replace(".", r"\.")):
        WRITERS[name][0](small_disk / name)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_before_a_kill_is_whole_and_the_rest_goes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    command = [sys.executable, "-m", "tests.files.writers", name, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(random.Random(name).uniform(0.05, 0.4))
        child.kill()
    for written in (p for p in tmp_path.iterdir() if not p.name.startswith(".partial-")):
        WRITERS[name][1](written)
    with atomic_path(tmp_path / "next"):
        pass
    assert not list(tmp_path.glob(".partial-*"))


def test_the_partial_file_of_a_living_process_stays(tmp_path: Path) -> None:
    code = "import sys\nfrom cpm_port.files.atomic import atomic_path\n"
    code += f"with atomic_path({str(tmp_path / 'slow')!r}) as path:\n print('ready', flush=True)\n sys.stdin.read()\n"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as slow:
        assert slow.stdout is not None
        assert slow.stdin is not None
        slow.stdout.readline()
        with atomic_path(tmp_path / "quick"):
            pass
        assert len(list(tmp_path.glob(".partial-*"))) == 1
        slow.stdin.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quick", "slow"]


def test_a_journal_that_cannot_grow_is_named_and_keeps_what_it_has(tmp_path: Path, limited_files: None) -> None:
    entry = Entry(np.ones((1000, 2)), np.ones(1000))
    open_journal(tmp_path / "run", {})

    def fill() -> None:
        with Journal(tmp_path / "run", 0) as journal:
            for number in range(100):
                journal.append(f"person {number}", entry)

    with pytest.raises(WriteError, match=r"0\.jsonl: cannot be written: File too large"):
        fill()
    kept = read_entries(tmp_path / "run")
    assert list(kept) == [f"person {number}" for number in range(len(kept))]
    assert kept


def test_metrics_that_cannot_grow_are_named_and_keep_what_they_have(tmp_path: Path, limited_files: None) -> None:
    def fill() -> None:
        with Progress(metrics=tmp_path / "m.jsonl") as progress:
            for number in range(10_000):
                progress.record("train", number, {"loss": 0.5})

    with pytest.raises(WriteError, match=r"m\.jsonl: cannot be written: File too large"):
        fill()
    kept = read_metrics(tmp_path / "m.jsonl")
    assert [record["iteration"] for record in kept] == list(range(len(kept)))
    assert len(kept) > 100
