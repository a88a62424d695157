"""HDF5 is read from the file itself, as far as its size allows, by every reader of it. Oracle: what h5py wrote."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cpm_port.annotations.flic import read_flic_h5
from cpm_port.annotations.mpii import read_mpii_hourglass
from cpm_port.caffe import read_solverstate, read_weights
from cpm_port.errors import CaffeFormatError, CpmPortError, DataError
from cpm_port.files.hdf5 import create_hdf5, open_hdf5
from cpm_port.files.hdf5_strings import check_attribute
from cpm_port.predictions.files import read_predictions
from tests.support import GOLDEN

FAULTS = GOLDEN / "faults"
READERS: tuple[Callable[[Path], object], ...] = (
    read_predictions, read_mpii_hourglass, read_flic_h5, read_weights, read_solverstate,
)  # fmt: skip


@pytest.mark.parametrize("path", sorted(FAULTS.glob("h5_predictions*/*.h5")), ids=lambda path: path.stem)
@pytest.mark.parametrize("read", READERS)
def test_a_strange_file_is_refused(read: Callable[[Path], object], path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CpmPortError, match=path.name):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # KiB


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("external_link", "is a ExternalLink; expected data in the file itself"),
        ("external_storage", "its data lie in another file"),
        ("virtual", "its data lie in another file"),
        ("zipbomb", "claims more than the 0 bytes"),
        ("fill_bomb_huge", "claims more than the 0 bytes"),
    ],
)
def test_predictions_say_why(name: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"{name}\.h5: .*{reason}"):
        read_predictions(FAULTS / "h5_predictions_unchecked" / f"{name}.h5")


def test_a_models_name_counts_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.solverstate.h5"
    with h5py.File(path, "w") as file:
        file["iter"], file["current_step"] = np.array([1], "<i4"), np.array([1], "<i4")
        text = np.array([b"a" * 40_000_000])
        file.create_dataset("learned_net", data=text, chunks=(1,), compression="gzip")
        file.create_group("history")
    with pytest.raises(CaffeFormatError, match=r"learned_net: is .S40000000 of shape .* expected one string"):
        read_solverstate(path)


def test_groups_that_are_linked_from_everywhere_are_walked_once(tmp_path: Path) -> None:
    """A chain of groups, each linked twice from the one before: 2 to the power of its length ways lead through it."""
    path = tmp_path / "graph.caffemodel.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/layer")
        for _ in range(25):
            below = group.create_group("0")
            group["1"] = below
            group = below
    with pytest.raises(CaffeFormatError, match="a group that is linked more than once"):
        read_weights(path)


@pytest.mark.parametrize("heap", [b"", b"\0" * 16, b"\1\0" + b"\0" * 6 + b"\xff" * 8])
def test_strings_whose_heap_leads_nowhere_are_refused(heap: bytes, tmp_path: Path) -> None:
    """The HDF5 library never returns from a heap whose first free object has no length."""
    path = tmp_path / "heap.h5"
    with h5py.File(path, "w") as file:
        file.attrs["order"] = "a string of varying length"
    content = path.read_bytes()
    start = content.index(b"GCOL")
    path.write_bytes(content[: start + 16] + heap + content[start + 16 + len(heap) :])
    with open_hdf5(path) if not heap else pytest.raises(DataError, match="impossible length"):
        if heap:
            with open_hdf5(path):
                pytest.fail("it opened")


def with_length(content: bytes, length: int) -> bytes:
    """Give another length to the string whose descriptor is the last one that points into the file's first heap."""
    heap = struct.pack("<Q", content.index(b"GCOL"))
    at = content.rindex(heap)
    return content[: at - 4] + struct.pack("<I", length) + content[at:]


LONG = 1 << 30
STRINGS = {
    "contiguous": {},
    "chunked": {"chunks": (2,)},
    "filtered": {"chunks": (2,), "compression": "gzip", "shuffle": True},
}


@pytest.mark.parametrize("layout", STRINGS)
def test_a_string_longer_than_its_file_is_refused_before_memory_is_asked_for(layout: str, tmp_path: Path) -> None:
    """The HDF5 library takes the length as it stands: 1 GiB here."""
    path = tmp_path / "a.h5"
    names = ["one", "two", "three"]
    with h5py.File(path, "w") as file:
        file.create_dataset("names", data=names, dtype=h5py.string_dtype(), **STRINGS[layout])
    with open_hdf5(path) as file:
        assert file.texts("names", 3) == names
    if layout == "filtered":
        descriptor = struct.pack("<IQI", LONG, 4096, 1)
        with h5py.File(path, "r+") as file:
            file["names"].id.write_direct_chunk((0,), zlib.compress(2 * descriptor), filter_mask=1)
    else:
        path.write_bytes(with_length(path.read_bytes(), LONG))
    with (
        pytest.raises(DataError, match=f"a string of {LONG} bytes, which are more than the file has"),
        open_hdf5(path) as file,
    ):
        file.texts("names", 3)


def test_strings_that_went_through_another_filter_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        names = file.create_dataset("names", (2,), h5py.string_dtype(), **STRINGS["filtered"])
        names.id.write_direct_chunk((0,), zlib.compress(bytes(32)))
    with (
        pytest.raises(DataError, match="the filter b'shuffle'; expected deflate"),
        open_hdf5(tmp_path / "a.h5") as file,
    ):
        file.texts("names", 2)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_an_attribute_longer_than_its_file_is_refused_before_memory_is_asked_for(version: str, tmp_path: Path) -> None:
    """The latest version has a checksum, too, which the library finds wrong here."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version) as file:
        file.attrs["order"] = "a string of varying length"
    check_attribute("order", path)
    path.write_bytes(with_length(path.read_bytes(), LONG))
    with pytest.raises(OSError, match=f"a string of {LONG} bytes, which are more than the file has"):
        check_attribute("order", path)
    with pytest.raises(DataError, match=r"more than the file has|checksum"), open_hdf5(path) as file:
        file.attribute("order")


@pytest.mark.parametrize(
    ("value", "found"),
    [("text", "text"), (np.bytes_(b"bytes"), "bytes"), (3, 3), (1.5, None), ([1, 2], None), ([b"a", b"b"], None)],
)
def test_an_attribute_is_one_string_or_one_whole_number(value: object, found: object, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["a"] = value
    if found is None:
        with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(DataError, match="attribute 'a'"):
            file.attribute("a")
        return
    with open_hdf5(tmp_path / "a.h5") as file:
        assert file.attribute("a") == found
        assert file.attribute("b") is None


def test_strings_of_varying_length_are_counted_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("names", data=["x" * 1000] * 3, dtype=h5py.string_dtype())
    with open_hdf5(path) as file:
        assert file.texts("names", 3) == ["x" * 1000] * 3
    monkeypatch.setattr("cpm_port.files.hdf5.FREE_BYTES", 2000)
    monkeypatch.setattr("cpm_port.files.hdf5.MAX_TOTAL_INFLATION", 0)
    with open_hdf5(path) as file, pytest.raises(DataError, match="too many bytes in all"):
        file.texts("names", 3)


def test_an_error_while_a_file_is_written_leaves_nothing(tmp_path: Path) -> None:
    def fail_midway() -> None:
        with create_hdf5(tmp_path / "a.h5") as file:
            file["a"] = 1
            raise KeyError("midway")

    with pytest.raises(KeyError, match="midway"):
        fail_midway()
    assert list(tmp_path.iterdir()) == []
