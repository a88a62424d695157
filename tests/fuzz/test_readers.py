"""Whatever a file holds, every public reader gives a value or a leaf of CpmPortError, soon, and in bounded memory.

`make fuzz COUNT=N` tries N inputs a reader; the suite tries a few. Each is a sound file with up to eight edits that
hypothesis draws: bytes overwritten, removed, repeated, put in or cut off, numbers and words exchanged, and pieces of
another sound file. What is found is shrunk to few edits, and tried again first in the next run. Drawing takes longer
than reading: in a long run each draw is made at several places of several files.

Bounds: 5 seconds of processor time; twice the file and a constant of memory.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cpm_port.errors import CpmPortError
from tests.fuzz import counts
from tests.fuzz.readers import READERS, Reader, prepared_folder

COUNT = int(os.environ.get("CPM_PORT_FUZZ", "15"))
SPREAD = 16 if COUNT >= 1000 else 1  # inputs from one draw
SECONDS = 5.0
MEMORY = 512 << 20
HANGS = 300  # seconds after which a reader that does not return ends the process, and says where it was
NUMBERS = (
    0, 1, 2, 7, 127, 128, 255, 256, 1000, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1,
)  # fmt: skip
WORDS = (
    b"-1", b"0", b"4294967295", b"1e999", b"nan", b"NaN", b"{", b"}", b"[", b"]", b'"', b"null", b"true", b"[[[[",
    b"MAX", b"layer", b"dim:", b"axis:", b"#", b"9" * 400, b"\0", b"\xff\xfe", b"-0.0", b"1.5", b"{}", b"[]", b'"a"',
    b"\\ud800",
)  # fmt: skip
PLACE = st.integers(0, 2**20 - 1)  # of the file's length
STEP = 648_055  # 2**20 times the golden ratio: multiples of it lie evenly in the file, wherever one begins
EDITS = st.one_of(
    st.tuples(st.just("put"), PLACE, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("number"), PLACE, st.tuples(st.sampled_from(NUMBERS), st.sampled_from((1, 2, 4, 8)))),
    st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("word"), PLACE, st.sampled_from(WORDS)),
    st.tuples(st.just("remove"), PLACE, st.integers(1, 64)),
    st.tuples(st.just("repeat"), PLACE, st.integers(1, 64)),
    st.tuples(st.just("cut"), PLACE, st.none()),
    st.tuples(st.just("other"), PLACE, st.tuples(st.integers(0, 99), PLACE, st.integers(1, 200))),
)
SEPARATORS = b" \n\t,:"


def spoil(content: bytes, edits: list[tuple[str, int, object]], seeds: list[bytes]) -> bytes:
    """Apply edits, one after the other."""
    for kind, share, how in edits:
        at = share * len(content) >> 20
        if kind == "put":
            content = content[:at] + how + content[at + len(how) :]
        elif kind == "number":
            value, size = how
            piece = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            content = content[:at] + piece + content[at + size :]
        elif kind == "insert":
            content = content[:at] + how + content[at:]
        elif kind == "word":  # in the place of the one that stands there
            end = next((i for i in range(at, min(at + 40, len(content))) if content[i] in SEPARATORS), at + 1)
            content = content[:at] + how + content[end:]
        elif kind == "remove":
            content = content[:at] + content[at + how :]
        elif kind == "repeat":
            content = content[: at + how] + content[at:]
        elif kind == "cut":
            content = content[:at]
        else:
            which, start, size = how
            other = seeds[which % len(seeds)]
            start = start * len(other) >> 20
            content = content[:at] + other[start : start + size] + content[at + size :]
    return content


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANGS + 10 * COUNT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def peak_memory() -> int | None:
    """Return the most memory since it was last asked, in bytes; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize("name", READERS)
def test_the_sound_files_read(name: str) -> None:
    reader = READERS[name]
    for content in reader.seeds():
        with prepared_folder(reader) as folder:
            (folder / reader.file).write_bytes(content)
            reader.read(reader.target(folder))


@pytest.mark.filterwarnings("ignore")  # of what stands in the files
@pytest.mark.parametrize("name", READERS)
def test_a_spoiled_file_gives_a_value_or_our_error_soon_and_in_bounded_memory(name: str) -> None:
    reader = READERS[name]
    seeds = reader.seeds()
    tally = counts.Tally()

    with prepared_folder(reader) as folder:

        @settings(
            max_examples=COUNT // SPREAD,
            deadline=None,
            derandomize=COUNT < 100,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(0, len(seeds) - 1), st.lists(EDITS, min_size=1, max_size=8))
        def attempt(seed: int, edits: list[tuple[str, int, object]]) -> None:
            for shift in range(SPREAD):
                moved = [(kind, (place + shift * STEP) % 2**20, how) for kind, place, how in edits]
                try_one(reader, folder, spoil(seeds[(seed + shift) % len(seeds)], moved, seeds), tally)

        attempt()
    counts.TALLIES[name] = tally


def try_one(reader: Reader, folder: Path, content: bytes, tally: counts.Tally) -> None:
    (folder / reader.file).write_bytes(content)
    before, start = peak_memory(), time.process_time()
    before = peak_memory()  # the first asking set it back
    error = None
    try:
        reader.read(reader.target(folder))
    except CpmPortError as raised:
        error = raised
    seconds, after = time.process_time() - start, peak_memory()
    memory = 0 if before is None or after is None else after - before
    tally.add(error is not None, seconds, memory)
    assert type(error) is not CpmPortError, "a leaf is raised"
    assert seconds < SECONDS
    assert memory < 2 * len(content) + MEMORY


def leak(path: Path) -> object:
    return int(path.read_bytes())


def waste(path: Path) -> object:
    return (b"y" * (256 << 20)).count(b"x")


@pytest.mark.parametrize(
    ("read", "bound", "error"),
    [(leak, {}, ValueError), (waste, {"SECONDS": 0.0}, AssertionError), (waste, {"MEMORY": 0}, AssertionError)],
)
def test_a_reader_that_breaks_a_bound_is_found(read, bound, error, tmp_path: Path, monkeypatch) -> None:
    for name, value in bound.items():
        monkeypatch.setitem(globals(), name, value)
    if "MEMORY" in bound and peak_memory() is None:
        pytest.skip("the system does not say how much memory a process took")
    gc.collect()  # what is freed while a reader runs would hide what it takes
    with pytest.raises(error):
        try_one(Reader(list, read, "a"), tmp_path, b"no number", counts.Tally())
