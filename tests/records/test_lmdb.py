"""Claim: LMDBs in the release's layout are read and written as its tools do, and the check says what is wrong in one.

Oracles: LMDBs that the release's way of writing made, with their annotations as JSON (`shared`); a Datum laid out by
hand here; write then read is the identity.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from cpm_port.caffe import message_class
from cpm_port.errors import DataError, MissingDependencyError, MissingFileError, UsageError
from cpm_port.records.lmdb import LmdbRecords, ReadOnlyEnvironment, check_lmdb, decode_datum, encode_datum, write_lmdb
from cpm_port.records.record import Annotation, Record

COORDINATE_TOLERANCE = 1e-4  # the layout keeps float32 of hundreds of px
SETS = [("mpi_lmdb", 16), ("flic_lmdb", 9), ("test184_lmdb", 16)]


def annotation(seed: int, joints: int = 16) -> Annotation:
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.integers(0, 60, (joints, 2)), rng.integers(0, 2, joints)]).astype(np.float32)
    return Annotation(rng.integers(1, 60, 2).astype(np.float32), float(np.float32(rng.uniform(0.5, 2))), points)


def record(number: int = 0, total: int = 1, *, others: int = 0, width: int = 70, joints: int = 16) -> Record:
    planes = np.random.default_rng(number).integers(0, 256, (3, 66, width), dtype=np.uint8)
    people = tuple(annotation(number + k, joints) for k in range(1, others + 1))
    own = annotation(number, joints)
    return Record("r", "MPI", planes, (width, 66), own, people, True, 17, 3, number, total)


def same(found: Record, expected: Record) -> None:
    for field in ("dataset", "image_size", "is_validation", "annolist_index", "people_index", "write_number"):
        assert getattr(found, field) == getattr(expected, field), field
    assert found.total_write_number == expected.total_write_number
    assert len(found.others) == len(expected.others)
    for a, b in zip((found.person, *found.others), (expected.person, *expected.others), strict=True):
        np.testing.assert_array_equal(a.objpos, b.objpos)
        np.testing.assert_array_equal(a.joints, b.joints)
        assert a.scale == b.scale


@pytest.mark.parametrize(("name", "joints"), SETS)
def test_the_releases_records_are_read(shared: Path, name: str, joints: int) -> None:
    folder = shared / "golden/caffe/transformer"
    store = LmdbRecords(folder / name, joints)
    truth = json.loads((folder / f"{name}.json").read_text())
    assert len(store) == len(truth)
    for index, expected in enumerate(truth):
        found = store[index]
        stored = np.array(expected["joints"])
        assert (found.dataset, found.write_number, len(found.others)) == (
            expected["dataset"],
            index,
            len(expected["others"]),
        )
        assert found.image_size == (int(expected["img_width"]), int(expected["img_height"]))
        np.testing.assert_allclose(found.person.joints[:, :2] + 1, stored[:, :2], atol=COORDINATE_TOLERANCE)
        np.testing.assert_array_equal(found.person.joints[:, 2], stored[:, 2])
        np.testing.assert_allclose(found.person.objpos + 1, expected["objpos"], atol=COORDINATE_TOLERANCE)
        assert found.person.scale == np.float32(expected["scale"])
        assert found.annolist_index == expected["annolist_index"]
    assert not list(check_lmdb(folder / name, joints))


@pytest.mark.parametrize(("name", "joints"), SETS)
def test_writing_a_record_of_the_release_gives_its_bytes(shared: Path, name: str, joints: int) -> None:
    path = shared / "golden/caffe/transformer" / name
    store = LmdbRecords(path, joints)
    environment = ReadOnlyEnvironment.shared(path)
    for index, key in enumerate(store.keys):
        written, stored = (np.frombuffer(b, np.uint8) for b in (encode_datum(store[index]), environment.get(key)))
        assert written.shape == stored.shape
        # 1 is taken from a coordinate in float32 and added again: its last bit may go
        assert (written != stored).sum() <= 1


def test_the_layout_is_the_original_readers() -> None:
    """A Datum laid out by hand, from the table of rows and bytes."""
    height, width = 20, 64
    plane = np.zeros((height, width), np.uint8)

    def put(row: int, column: int, *values: float) -> None:
        data = struct.pack(f"<{len(values)}f", *values)
        plane[row, column : column + len(data)] = list(data)

    plane[0, :5] = list(b"LEEDS")
    put(1, 0, 20, 61)
    plane[2, :3] = [1, 1, 255]
    put(2, 3, 5, 6, 7)
    put(3, 0, 11.5, 12.25)
    put(4, 0, 0.75)
    for k, values in enumerate(((1, 2), (3, 4), (0, 1))):
        put(5 + k, 0, *values)
        put(10 + k, 0, *(value + 10 for value in values))
    put(8, 0, 21, 22)
    put(9, 0, 1.25)
    image = np.arange(3 * height * width).astype(np.uint8)
    datum = message_class("Datum")(channels=4, height=height, width=width, data=image.tobytes() + plane.tobytes())
    found = decode_datum(datum.SerializeToString(), 2)
    assert (found.dataset, found.image_size, found.is_validation) == ("LEEDS", (61, 20), True)
    assert (found.people_index, found.annolist_index, found.write_number, found.total_write_number) == (-1, 5, 6, 7)
    assert (found.person.objpos.tolist(), found.person.scale) == ([10.5, 11.25], 0.75)
    assert found.person.joints.tolist() == [[0, 2, 0], [1, 3, 1]]
    assert (found.others[0].objpos.tolist(), found.others[0].scale) == ([20, 21], 1.25)
    assert found.others[0].joints.tolist() == [[10, 12, 10], [11, 13, 11]]
    np.testing.assert_array_equal(found.planes.ravel(), image)


@pytest.mark.parametrize("others", [0, 1, 3])
@pytest.mark.parametrize("joints", [9, 14, 16])
def test_write_then_read_is_the_identity(others: int, joints: int) -> None:
    expected = record(others=others, joints=joints)
    found = decode_datum(encode_datum(expected), joints)
    same(found, expected)
    np.testing.assert_array_equal(found.planes, expected.planes)


def test_a_narrow_image_is_padded_and_its_annotated_width_stays() -> None:
    found = decode_datum(encode_datum(record(width=50)))
    assert found.planes.shape == (3, 66, 64)
    assert found.image_size == (50, 66)
    assert (found.planes[:, :, 50:] == 128).all()


def test_a_written_database_is_read_back_and_has_no_findings(tmp_path: Path) -> None:
    records = [record(number, 5, others=number % 2) for number in range(5)]
    assert write_lmdb(tmp_path / "db", records) == 5
    store = LmdbRecords(tmp_path / "db")
    assert [key.decode() for key in store.keys] == [f"{number:07d}" for number in range(5)]
    for number, expected in enumerate(records):
        same(store[number], expected)
    assert not list(check_lmdb(tmp_path / "db"))
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_the_check_tells_a_database_of_fewer_joints(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [record(joints=9, others=1)])
    assert not list(check_lmdb(tmp_path / "db", 9))
    (found,) = check_lmdb(tmp_path / "db")
    assert found == "no record has joints 10 to 16; expected 16 joints, are they 9?"


def test_a_database_grows_as_needed(tmp_path: Path) -> None:
    large = replace(record(), planes=np.zeros((3, 2000, 3000), np.uint8), image_size=(3000, 2000))
    records = [replace(large, write_number=number, total_write_number=4) for number in range(4)]
    assert write_lmdb(tmp_path / "db", records) == 4  # 96 MB, the map starts with 64


def test_a_database_may_be_open_twice(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [record()])
    first, second = LmdbRecords(tmp_path / "db"), LmdbRecords(tmp_path / "db", 9)
    assert len(first[0].person.joints) == 16
    assert len(second[0].person.joints) == 9


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "0 records written"),
        ([record(0, 2)], "1 records written, expected 2 by their annotations"),
        ([record(1, 2)], "numbered 1 of 2; expected 0 of 2"),
        ([record(0, 2), record(1, 3)], "numbered 1 of 3; expected 1 of 2"),
        ([replace(record(), planes=np.zeros((3, 8, 70), np.uint8))], "need 9 rows"),
        ([record(others=15)], "need 69 rows"),
        ([replace(record(), people_index=128)], "128 does not fit a signed byte"),
        ([replace(record(), others=(annotation(1, 9),))], "different numbers of joints"),
    ],
)
def test_records_that_do_not_fit_are_refused_and_leave_nothing(
    tmp_path: Path, records: list[Record], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_lmdb(tmp_path / "db", records)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it exists"):
        write_lmdb(tmp_path, [record()])


def datum_bytes(**fields: object) -> bytes:
    datum = message_class("Datum")()
    datum.ParseFromString(encode_datum(record()))
    for name, value in fields.items():
        datum.float_data.extend(value) if name == "float_data" else setattr(datum, name, value)
    return datum.SerializeToString()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff\xff\xff", "not a Datum"),
        (datum_bytes(encoded=True), "an encoded image"),
        (datum_bytes(data=b"", float_data=[1.0]), "the image is in float_data"),
        (datum_bytes(data=b"123"), "4 x 66 x 70 with 3 bytes"),
        (datum_bytes(channels=3), "3 x 66 x 70"),
        (datum_bytes(height=3, data=bytes(4 * 3 * 70)), "4 x 3 x 70"),
        (datum_bytes(height=2**31 - 1, width=2**31 - 1), "bytes"),
    ],
)
def test_a_value_that_is_no_record_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{message}"):
        decode_datum(value, where="here")


def corrupted(change: Callable[[np.ndarray], None]) -> bytes:
    datum = message_class("Datum")()
    datum.ParseFromString(encode_datum(record()))
    planes = np.frombuffer(datum.data, np.uint8).reshape(4, 66, 70).copy()
    change(planes[3])
    datum.data = planes.tobytes()
    return bytes(datum.SerializeToString())


def set_bytes(row: int, column: int, data: bytes) -> Callable[[np.ndarray], None]:
    def change(plane: np.ndarray) -> None:
        plane[row, column : column + len(data)] = list(data)

    return change


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="100 other people need 409 rows"):
        decode_datum(corrupted(set_bytes(2, 1, b"\x64")))
    with pytest.raises(DataError, match="not finite"):
        decode_datum(corrupted(set_bytes(5, 0, struct.pack("<f", np.nan))))
    with pytest.raises(DataError, match="20 joints and 0 other people need 9 rows and 80 columns"):
        decode_datum(encode_datum(record()), 20)


FINDINGS: dict[str, tuple[bytes, bytes]] = {
    "expected key 0000000": (b"000000", encode_datum(record())),
    "not a Datum": (b"0000000", b"\xff\xff\xff"),
    "numbered 4 of 9; expected 0 of 1": (b"0000000", encode_datum(record(4, 9))),
    "image of 70 x 66, annotated as 30 x 66": (b"0000000", corrupted(set_bytes(1, 4, struct.pack("<f", 30)))),
    "data set's name ''": (b"0000000", corrupted(set_bytes(0, 0, b"\0"))),
    "scale 0; training divides": (b"0000000", corrupted(set_bytes(4, 0, struct.pack("<f", 0)))),
    "no joint of the person lies in the image": (
        b"0000000",
        corrupted(set_bytes(5, 0, struct.pack("<16f", *[-9] * 16))),
    ),
    "visibility that is neither 0 nor 1: 5": (b"0000000", corrupted(set_bytes(7, 0, struct.pack("<f", 5)))),
    r"objpos \(999, ": (b"0000000", corrupted(set_bytes(3, 0, struct.pack("<f", 1000)))),
}


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_check_names_what_is_wrong(tmp_path: Path, finding: str) -> None:
    key, value = FINDINGS[finding]
    with lmdb.open(str(tmp_path / "db")) as environment, environment.begin(write=True) as transaction:
        transaction.put(key, value)
    found = list(check_lmdb(tmp_path / "db"))
    assert len(found) == 1, found
    assert found[0].startswith(f"record {key.decode()}: ")
    assert re.search(finding, found[0])


def test_a_database_whose_end_is_missing_is_refused(tmp_path: Path) -> None:
    """Reading one is a memory fault, which would end the process without a word."""
    write_lmdb(tmp_path / "db", [record(number, 3) for number in range(3)])
    whole = (tmp_path / "db" / "data.mdb").read_bytes()
    (tmp_path / "cut").mkdir()
    for size in (len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut" / "data.mdb").write_bytes(whole[:size])
        with pytest.raises(DataError, match=f"data.mdb has {size} bytes, its pages take {len(whole)}: truncated"):
            LmdbRecords(tmp_path / "cut")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no LMDB there"):
        LmdbRecords(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"nothing" * 1000)
    with pytest.raises(DataError, match="not an LMDB"):
        LmdbRecords(tmp_path)
    with lmdb.open(str(tmp_path / "empty")):
        pass
    with pytest.raises(DataError, match="without records"):
        LmdbRecords(tmp_path / "empty")


def test_without_the_library_writing_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingDependencyError, match="writing an LMDB needs lmdb, which is not installed"):
        write_lmdb(tmp_path / "new", [])
    assert not list(tmp_path.iterdir())
