"""LMDBs in the layout of the release's training code: records in and out, and a check that lists what is wrong in one.

FILES <-> RECORDS. One Datum per person: channels 4, the image as planes blue, green, red, and a fourth plane whose rows
carry the annotation:

====================  =============  ==================================================================================
row                   bytes          content
====================  =============  ==================================================================================
0                     0..            data set's name, zero-terminated
1                     0-3, 4-7       image height and width as annotated (float32, like every number below unless said)
2                     0, 1, 2        validation flag, number of others, person's number in the image (signed bytes)
2                     3-6 7-10 11-14 image's number, number of the record, number of records
3                     0-7            objpos x, y
4                     0-3            scale
5, 6, 7               4 i            x, y, visible of joint i
8 + p                 0-7            objpos of other person p
8 + n                 4 p            their scales (n others)
9 + n + 3 p ..+2      4 i            x, y, visible of other p's joints
====================  =============  ==================================================================================

Conventions: numbers are little-endian, coordinates 1-based in the file and 0-based in a `Record`; keys are "%07d" from
0, which is also the reading order. The layout does not hold the number of joints: the reader must know it (16,
FLIC 9).

Quirks kept: images narrower than 64 px are padded on the right with 128, while the annotated width stays; what stands
in rows and columns between the numbers has no meaning (zero, when written here).

*Source*: shihenw/caffe@d154e89 `data_transformer.cpp` (reading) and the release's `genLMDB.py` (writing).
Differs knowingly: where the original would read beyond the Datum, `DataError` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cpm_port.caffe import message_class
from cpm_port.errors import DataError, MissingDependencyError, MissingFileError, UsageError
from cpm_port.files.atomic import partial_folder, writing
from cpm_port.files.lmdb_pages import PageFile
from cpm_port.records.record import Annotation, Record
from cpm_port.release import PAD_VALUE

__all__ = [
    "MIN_WIDTH",
    "LmdbRecords",
    "ReadOnlyEnvironment",
    "check_lmdb",
    "decode_datum",
    "encode_datum",
    "write_lmdb",
]

MIN_WIDTH = 64
_HEADER_ROWS = 8  # name, size, numbers, objpos, scale, joints' x, y and visible


class LmdbRecords:
    """The records of one LMDB, in key order.

    Parameters
    ----------
    path : path
        The LMDB's folder.
    num_joints : int
        Joints per person: the layer's `np_in_lmdb`.

    Attributes
    ----------
    keys : list of bytes

    Raises
    ------
    MissingFileError
        There is no such folder, or no LMDB in it.
    DataError
        It is not an LMDB, or an empty one.
    """

    def __init__(self, path: str | os.PathLike[str], num_joints: int = 16) -> None:
        self._path = Path(path)
        self._num_joints = num_joints
        self._environment = ReadOnlyEnvironment.shared(self._path)
        self.keys = self._environment.keys()
        if not self.keys:
            raise DataError(f"{path}: an LMDB without records")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Record:
        key = self.keys[index]
        where = f"{self._path}: record {key.decode('latin-1')}"
        return decode_datum(self._environment.get(key), self._num_joints, where)


class ReadOnlyEnvironment:
    """An LMDB opened for reading, without a lock file; `shared` opens each but once in a process.

    Parameters
    ----------
    path : path
        The LMDB's folder.

    Raises
    ------
    DataError
        It is not an LMDB, damaged, or its end is missing.
    """

    _open: ClassVar[weakref.WeakValueDictionary[tuple[int, int], ReadOnlyEnvironment]] = weakref.WeakValueDictionary()

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = PageFile(Path(path) / "data.mdb", os.fspath(path))

    @classmethod
    def shared(cls, path: str | os.PathLike[str]) -> ReadOnlyEnvironment:
        """Open, or return the one that is open.

        Raises
        ------
        MissingFileError
            There is no such folder, or no LMDB in it.
        DataError
            As the class itself.
        """
        data = Path(path) / "data.mdb"
        if not data.is_file() and (Path(path) / "CURRENT").is_file() and any(Path(path).glob("MANIFEST-*")):
            raise DataError(
                f"{path}: a LevelDB; expected an LMDB. Four lines of Python copy it, record by record "
                "(docs/training_data.md, LevelDB), or Caffe's convert tools write an LMDB with --backend lmdb"
            )
        if not data.is_file():
            raise MissingFileError(f"{path}: no LMDB there; expected a folder that holds data.mdb")
        status = data.stat()
        key = (status.st_dev, status.st_ino)
        found = cls._open.get(key)
        if found is None:
            found = cls._open[key] = cls(path)
        return found

    def keys(self) -> list[bytes]:
        """Return all keys, in order."""
        return list(self._file.places)

    def get(self, key: bytes) -> bytes:
        """Return a key's value.

        Raises
        ------
        KeyError
            There is no such key.
        DataError
            The file ends before it: it was cut since it was opened.
        """
        return self._file.read(self._file.places[key])


def decode_datum(value: bytes, num_joints: int = 16, where: str = "datum") -> Record:
    """Read one record.

    Parameters
    ----------
    value : bytes
        A serialized Datum. Without `data` its `float_data` would give the image, but the annotation is in `data`.
    num_joints : int
        Joints per person.
    where : str
        What messages, and the record's `name`, begin with.

    Raises
    ------
    DataError
        Not a Datum, an encoded one, not four planes of the stated size, or too few rows or columns for the annotation.
    """
    datum = _parse_datum(value, where)
    height, width = datum.height, datum.width
    stored = np.frombuffer(datum.data, np.uint8).reshape(4, height, width)
    plane = stored[3]
    others = int(plane[2, 1:2].view(np.int8)[0])
    needed = _rows_needed(max(others, 0))
    if height < needed or width < 4 * num_joints or others < 0:
        raise DataError(
            f"{where}: {num_joints} joints and {others} other people need {needed} rows and {4 * num_joints} columns; "
            f"the datum is {width} x {height}"
        )
    rows = plane[:, : width // 4 * 4].copy().view("<f4")
    numbers = plane[2, 3:15].copy().view("<f4")
    dataset = bytes(plane[0]).split(b"\0", 1)[0].decode("latin-1")
    first_other = _HEADER_ROWS + others + 1

    def person(objpos_row: int, scale: float, joints_row: int) -> Annotation:
        joints = np.ascontiguousarray(rows[joints_row : joints_row + 3, :num_joints].T)
        joints[:, :2] -= np.float32(1)
        return Annotation(rows[objpos_row, :2] - np.float32(1), scale, joints)

    read_others = [
        person(_HEADER_ROWS + p, float(rows[_HEADER_ROWS + others, p]), first_other + 3 * p) for p in range(others)
    ]
    target = person(3, float(rows[4, 0]), 5)
    floats = [rows[1, :2], numbers, [target.scale], target.objpos, target.joints.ravel()]
    floats += [part for other in read_others for part in (other.objpos, other.joints.ravel())]
    if not np.isfinite(np.concatenate(floats)).all():
        raise DataError(f"{where}: the annotation holds a number that is not finite")
    annolist_index, write_number, total = (int(number) for number in numbers)
    return Record(
        f"{where} ({dataset} image {annolist_index}, person {int(plane[2, 2:3].view(np.int8)[0])})",
        dataset,
        stored[:3],
        (int(rows[1, 1]), int(rows[1, 0])),
        target,
        tuple(read_others),
        bool(plane[2, 0]),
        annolist_index,
        int(plane[2, 2:3].view(np.int8)[0]),
        write_number,
        total,
    )


def encode_datum(record: Record) -> bytes:
    """Write one record as a serialized Datum, padding images narrower than `MIN_WIDTH`.

    Raises
    ------
    DataError
        The annotation does not fit: too many joints or people for the image's size, or for the bytes that count them.
    """
    height, width = record.planes.shape[1:]
    padded = max(width, MIN_WIDTH)
    people = (record.person, *record.others)
    joints = len(record.person.joints)
    needed = _rows_needed(len(record.others))
    if any(len(person.joints) != joints for person in people):
        raise DataError(f"{record.name}: people with different numbers of joints")
    if height < needed or padded < 4 * max(joints, len(record.others)) or len(record.others) > 127:
        raise DataError(
            f"{record.name}: {joints} joints and {len(record.others)} other people (at most 127) need {needed} rows "
            f"and {4 * joints} columns; the image is {width} x {height}"
        )
    if not -128 <= record.people_index <= 127:
        raise DataError(f"{record.name}: person number {record.people_index} does not fit a signed byte")
    planes = np.full((4, height, padded), PAD_VALUE, np.uint8)
    planes[:3, :, :width] = record.planes
    plane = planes[3]
    plane[:] = 0
    name = record.dataset.encode("latin-1")
    plane[0, : len(name)] = np.frombuffer(name, np.uint8)
    plane[2, :3] = np.array([record.is_validation, len(record.others), record.people_index], np.int8).view(np.uint8)

    def put(row: int, values: Any, column: int = 0) -> None:
        stored = np.asarray(values, "<f4").view(np.uint8)
        plane[row, column : column + stored.size] = stored

    put(1, record.image_size[::-1])
    put(2, [record.annolist_index, record.write_number, record.total_write_number], 3)
    rows = _HEADER_ROWS
    for p, person in enumerate(people):
        put(3 if p == 0 else rows + p - 1, person.objpos + np.float32(1))
        first = 5 if p == 0 else rows + len(record.others) + 1 + 3 * (p - 1)
        for k in range(3):
            put(first + k, person.joints[:, k] + np.float32(1 if k < 2 else 0))
    put(4, [record.person.scale])
    if record.others:
        put(rows + len(record.others), [other.scale for other in record.others])
    datum = message_class("Datum")(channels=4, height=height, width=padded, data=planes.tobytes(), label=0)
    return bytes(datum.SerializeToString())


def write_lmdb(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write records as an LMDB that the fork can train on; return their number.

    The records are numbered as they come, so shuffle them before (the release does, once): the original reads in key
    order and never shuffles. The folder appears whole or not at all.

    Parameters
    ----------
    path : path
        The LMDB's folder; it must not exist.
    records : iterable of Record
        Their `write_number` and `total_write_number` must count 0, 1, 2, ... and their total.

    Raises
    ------
    UsageError
        The folder exists.
    DataError
        No records, a record that does not fit its image, or one that is numbered otherwise.
    WriteError
        It cannot be written: a full disk.
    """
    target = Path(path)
    if target.exists():
        raise UsageError(f"{target}: it exists; an LMDB is written to a new folder")
    with writing(target, _lmdb().Error):
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(target.parent) as folder:
            count = _write_records(folder / target.name, target, records)
            os.rename(folder / target.name, target)
    return count


def _write_records(folder: Path, target: Path, records: Iterable[Record]) -> int:
    """Write a new LMDB; errors name the `target` that it is for."""
    folder.mkdir()
    count = total = 0
    with contextlib.closing(_lmdb().open(os.fspath(folder), map_size=1 << 26, subdir=True)) as environment:
        for count, record in enumerate(records, start=1):
            if record.write_number != count - 1 or (count > 1 and record.total_write_number != total):
                raise DataError(
                    f"{record.name}: numbered {record.write_number} of {record.total_write_number}; "
                    f"expected {count - 1} of {total or record.total_write_number}"
                )
            total = record.total_write_number
            _put(environment, f"{count - 1:07d}".encode(), encode_datum(record))
    if count == 0 or count != total:
        raise DataError(f"{target}: {count} records written, expected {total} by their annotations")
    return count


def check_lmdb(path: str | os.PathLike[str], num_joints: int = 16) -> Iterator[str]:
    """Read a whole LMDB and say, one line per finding, what is wrong or odd in it; nothing where all is well.

    Looked at: keys, the Datum's form, sizes against annotation, numbering, people without a single usable joint or
    with a scale that is not positive, centers outside the image, padding, and whether the last joints stand in no
    record. Parameters and errors are those of `LmdbRecords`.
    """
    store = LmdbRecords(path, num_joints)
    total, known = len(store), 0
    for index, key in enumerate(store.keys):
        where = f"record {key.decode('latin-1')}"
        if key != f"{index:07d}".encode():
            yield f"{where}: expected key {index:07d} (keys count up from 0000000)"
        try:
            record = store[index]
        except DataError as error:
            yield str(error).removeprefix(f"{path}: ")
            continue
        if (record.write_number, record.total_write_number) != (index, total):
            yield f"{where}: numbered {record.write_number} of {record.total_write_number}; expected {index} of {total}"
        yield from (f"{where}: {finding}" for finding in _odd(record))
        known = max(known, *(_last_joint(person) for person in (record.person, *record.others)))
    if 0 < known < num_joints:
        yield f"no record has joints {known + 1} to {num_joints}; expected {num_joints} joints, are they {known}?"


def _last_joint(person: Annotation) -> int:
    """Return which joint, from 1, is the last whose stored numbers are not all zero; 0 where there is none."""
    stored = (person.joints != (-1, -1, 0)).any(axis=1)
    return int(np.flatnonzero(stored)[-1]) + 1 if stored.any() else 0


def _odd(record: Record) -> Iterator[str]:
    height, width = record.planes.shape[1:]
    annotated_width, annotated_height = record.image_size
    if not record.dataset.isprintable() or not record.dataset:
        yield f"data set's name {record.dataset!r}"
    if annotated_height != height or max(annotated_width, MIN_WIDTH) != width:
        yield f"image of {width} x {height}, annotated as {annotated_width} x {annotated_height}"
    for who, person in (("the person", record.person), *((f"other {p + 1}", o) for p, o in enumerate(record.others))):
        visible = person.joints[:, 2]
        if not np.isin(visible, (0, 1)).all():
            yield f"{who} has a visibility that is neither 0 nor 1: {visible[~np.isin(visible, (0, 1))][0]:g}"
    x, y = record.person.joints[:, :2].T
    center_x, center_y = record.person.objpos
    if not record.person.scale > 0:
        yield f"scale {record.person.scale:g}; training divides by it"
    if not ((x >= 0) & (y >= 0) & (x < annotated_width) & (y < annotated_height)).any():
        yield "no joint of the person lies in the image: its labels will be empty"
    if not (0 <= center_x < annotated_width and 0 <= center_y < annotated_height):
        yield f"the person's objpos ({center_x:g}, {center_y:g}) lies outside the image"


def _parse_datum(value: bytes, where: str) -> Any:
    datum = message_class("Datum")()
    try:
        datum.ParseFromString(value)
    except Exception as error:  # protobuf's own class of error moved between its versions
        raise DataError(f"{where}: not a Datum ({error})") from error
    if datum.encoded:
        raise DataError(f"{where}: an encoded image; the layout keeps planes")
    if not datum.data and datum.float_data:
        raise DataError(
            f"{where}: the image is in float_data, and the bytes that would hold the annotation are missing"
        )
    size = 4 * datum.height * datum.width
    if datum.channels != 4 or datum.height < _rows_needed(0) or len(datum.data) != size or datum.width < 15:
        raise DataError(
            f"{where}: {datum.channels} x {datum.height} x {datum.width} with {len(datum.data)} bytes; expected four "
            f"planes of at least {_rows_needed(0)} rows and {MIN_WIDTH} columns, and as many bytes"
        )
    return datum


def _lmdb() -> Any:
    """Return the library: only writing needs it."""
    try:
        import lmdb
    except ImportError as error:
        raise MissingDependencyError(
            "writing an LMDB needs lmdb, which is not installed: pip install 'cpm_port[lmdb]'"
        ) from error
    return lmdb


def _rows_needed(others: int) -> int:
    return _HEADER_ROWS + (1 + 4 * others if others else 1)


def _put(environment: Any, key: bytes, value: bytes) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                transaction.put(key, value, append=True)
            return
        except _lmdb().MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
