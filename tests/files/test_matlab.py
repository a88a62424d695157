"""MATLAB's files are read as SciPy reads them, and hostile ones are refused. Oracle: scipy.io's loadmat and savemat."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from cpm_port.annotations.flic import read_flic, read_flic_raw_test
from cpm_port.annotations.lsp import read_lsp, read_lspet
from cpm_port.annotations.mpii import read_mpii, read_mpii_detections, read_mpii_validation
from cpm_port.annotations.scored import read_scored
from cpm_port.errors import CpmPortError, DataError
from cpm_port.files.matlab import field, load_matlab, variable_names
from cpm_port.predictions.files import read_predictions
from tests.support import GOLDEN

FAULTS = GOLDEN / "faults" / "mat_loadmat_crash"
READERS: tuple[Callable[[Path], object], ...] = (
    read_predictions, read_mpii, read_mpii_validation, read_mpii_detections, read_flic, read_flic_raw_test, read_lsp,
    read_lspet,
)  # fmt: skip
CLASSES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
POINT = np.array([[(1.5, "a")]], dtype=[("x", object), ("name", object)])
VALUES: dict[str, Any] = {
    **{f"class_{name.replace('?', 'logical')}": np.arange(12).reshape(3, 4).astype(name) for name in CLASSES},
    "axes": np.arange(24.0).reshape(2, 3, 4),
    "none": np.zeros((0, 3)),
    "text": "im0001.jpg",
    "accents": "ŝäß",
    "rows": np.array(["ab ", "cde"]),
    "empty_text": "",
    "cells": np.array([[np.arange(3.0), "x"], [np.zeros((0, 0)), POINT]], dtype=object),
    "struct": POINT,
    "structs": np.array([[(1.0, POINT), ("b", np.eye(2))]], dtype=[("one", object), ("two", object)]),
}


def same(found: Any, expected: Any, where: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype.names == expected.dtype.names, where
    if not found.size and not expected.size:
        return
    assert found.shape == expected.shape, where
    if found.dtype.names:
        for name in found.dtype.names:
            same(found[name], expected[name], f"{where}.{name}")
    elif found.dtype == object:
        for index, pair in enumerate(zip(found.ravel(), expected.ravel(), strict=True)):
            same(*pair, f"{where}({index})")
    else:
        assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, where)


def held_together(path: Path) -> None:
    expected = {k: v for k, v in loadmat(path, mat_dtype=True).items() if not k.startswith("__")}
    found = load_matlab(path)
    assert set(found) == set(expected) == variable_names(path)
    for name in expected:
        same(found[name], expected[name], name)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_kind_of_variable_reads_as_scipy_reads_it(name: str, compressed: bool, tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {name: VALUES[name], "other": 1.0}, do_compression=compressed)
    held_together(tmp_path / "a.mat")


@pytest.mark.parametrize("value", [np.arange(6.0).reshape(2, 3), np.eye(2, dtype="u1"), "some text"])
def test_format_4_reads_as_scipy_reads_it(value: NDArray[Any], tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"x": value, "y": np.ones((1, 1))}, format="4")
    expected = loadmat(tmp_path / "a.mat")
    found = load_matlab(tmp_path / "a.mat")
    assert set(found) == {"x", "y"} == variable_names(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["x"], expected["x"])


def test_the_data_sets_files_read_as_scipy_reads_them(shared: Path) -> None:
    files = sorted((shared / "datasets").glob("*/*.mat"))
    assert files
    for path in files:
        held_together(path)


@pytest.mark.parametrize("path", sorted(FAULTS.glob("*.mat")), ids=lambda path: path.stem)
@pytest.mark.parametrize("read", READERS)
def test_a_strange_file_is_refused(read: Callable[[Path], object], path: Path) -> None:
    """SciPy's reader ends the process on one of them."""
    with pytest.raises(CpmPortError, match=path.name):
        read(path)


@pytest.mark.parametrize("read", [*READERS, lambda path: read_scored("MPI", path)])
@pytest.mark.parametrize("begins", [b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM", b"\x89HDF\r\n\x1a\n".ljust(200)])
def test_version_7_3_is_named_by_everything_that_reads(
    begins: bytes, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "new.mat"
    path.write_bytes(begins.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" * 100)
    with pytest.raises(DataError, match=r"new\.mat: saved with -v7\.3, which is not read here; save it again with -v7"):
        read(path)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content.ljust((len(content) + 7) // 8 * 8, b"\0")


def matrix(flags: int, dims: tuple[int, ...], content: bytes) -> bytes:
    head = element(6, struct.pack("<II", flags, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, b"x") + content)


def nested(depth: int) -> bytes:
    inner = matrix(6, (1, 1), element(9, struct.pack("<d", 1.0)))
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner)
    return inner


DOUBLE, CELL, CHAR, COMPLEX = 6, 1, 4, 0x806
HOSTILE = {
    "more values than bytes": (matrix(DOUBLE, (2**30, 2), element(9, b"\0" * 8)), "8 bytes for a matrix of"),
    "a negative size": (matrix(DOUBLE, (-1, 1), element(9, b"")), "a matrix of"),
    "more cells than bytes": (matrix(CELL, (2**30, 2), b""), "members in 0 bytes"),
    "cells within cells": (nested(200), "deeper than 32"),
    "characters that are none": (matrix(CHAR, (1, 4), element(16, b"\xff\xff\xff\xff")), "utf-8"),
    "half a character": (matrix(CHAR, (1, 1), element(4, b"\0\xd8")), "utf-16"),
    "complex numbers": (matrix(COMPLEX, (1, 1), element(9, b"\0" * 8) * 2), "holds complex numbers"),
    "a length beyond the file": (struct.pack("<II", 14, 2**31), "claims 2147483648 bytes"),
    "an unknown kind": (element(77, b"12345678"), "a variable of type 77"),
    "a bomb": (element(15, zlib.compress(b"\0" * (300 << 20), 9)), "cut short, or none|take too many bytes"),
    "no zlib": (element(15, b"12345678"), "header"),
    "twice the same": (matrix(DOUBLE, (1, 1), element(9, b"\0" * 8)) * 2, "comes twice"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_lies_is_refused(kind: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[kind]
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + content)
    with pytest.raises(DataError, match=rf"a\.mat: .*({reason})"):
        load_matlab(tmp_path / "a.mat")


def test_every_truncation_is_refused_or_has_all_its_values(tmp_path: Path) -> None:
    savemat(tmp_path / "whole.mat", {"structs": VALUES["structs"]})
    content = (tmp_path / "whole.mat").read_bytes()
    for size in range(129, len(content)):
        (tmp_path / "cut.mat").write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut\.mat"):
            load_matlab(tmp_path / "cut.mat")


def test_an_element_that_the_file_left_empty_is_no_struct() -> None:
    with pytest.raises(DataError, match="person 3: expected a struct with field 'x', found nothing"):
        field(None, "x", "person 3")
