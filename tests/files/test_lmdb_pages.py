"""An LMDB's records are found where the LMDB library put them; damaged files are refused. Oracle: the lmdb package."""

from __future__ import annotations

import os
import random
from pathlib import Path

import lmdb
import pytest

from cpm_port.errors import DataError
from cpm_port.files.lmdb_pages import PageFile
from cpm_port.records.lmdb import ReadOnlyEnvironment, check_lmdb
from tests.support import GOLDEN


def written(folder: Path, records: dict[bytes, bytes], *, dupsort: bool = False) -> Path:
    with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
        if dupsort:
            environment.open_db(b"named", transaction, dupsort=True)
    return folder / "data.mdb"


def read_all(path: Path) -> dict[bytes, bytes]:
    file = PageFile(path, "here")
    return {key: file.read(place) for key, place in file.places.items()}


@pytest.mark.parametrize("seed", range(6))
def test_all_records_are_read_in_the_librarys_order(seed: int, tmp_path: Path) -> None:
    """Of one page to a tree of three levels; values within pages and in pages of their own; deleted and overwritten."""
    draw = random.Random(seed)
    size = (3, 40, 400, 2000, 5000, 20)[seed]
    largest = (10, 3000, 100, 30, 60, 200_000)[seed]
    records = {draw.randbytes(draw.randrange(1, 40)): draw.randbytes(draw.randrange(largest)) for _ in range(size)}
    path = written(tmp_path, records)
    with lmdb.open(str(tmp_path)) as environment:
        for _ in range(3):
            with environment.begin(write=True) as transaction:
                for key in draw.sample(sorted(records), min(5, size // 2)):
                    transaction.delete(key)
                    transaction.put(key + b"more", b"new")
        with environment.begin() as transaction:
            expected = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    found = read_all(path)
    assert found == expected
    assert list(found) == list(expected)


def test_an_empty_one_has_no_records(tmp_path: Path) -> None:
    assert read_all(written(tmp_path, {})) == {}


def test_one_with_named_databases_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=2) as environment:
        environment.open_db(b"named")
    with pytest.raises(DataError, match="a damaged LMDB"):
        read_all(tmp_path / "data.mdb")


def test_the_file_that_ended_the_process_is_refused() -> None:
    folder = GOLDEN / "faults" / "lmdb_sigbus" / "db"
    with pytest.raises(DataError, match="a damaged LMDB"):
        list(check_lmdb(folder))


def test_a_file_that_shrinks_while_it_is_open_gives_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, {b"a": b"x" * 100_000})
    environment = ReadOnlyEnvironment.shared(tmp_path)
    with path.open("r+b") as file:
        file.truncate(20_000)
    with pytest.raises(DataError, match=r"data\.mdb ends at 20000 bytes"):
        environment.get(b"a")


def test_spoiled_bytes_give_records_or_our_error(tmp_path: Path) -> None:
    draw = random.Random(1)
    whole = written(tmp_path / "whole", {b"%05d" % i: draw.randbytes(i % 50 * 100) for i in range(300)}).read_bytes()
    used = len(whole) // 4096
    path = tmp_path / "data.mdb"
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            page = draw.randrange(used) * 4096
            content[page + draw.randrange(200)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read_all(path)
        except DataError:
            refused += 1
    assert 0 < refused < 300


def test_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.mdb")
    with pytest.raises(DataError, match="not an LMDB"):
        PageFile(tmp_path / "data.mdb", "here")
