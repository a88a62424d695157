"""Arrays that inflate to many times their file are refused. Oracle: what NumPy wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpm_port.errors import DataError, MissingFileError
from cpm_port.files.npz import read_npz


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", b=np.eye(3), a=np.arange(4, dtype=np.uint8))
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["b"], np.eye(3))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(300 << 20, np.uint8))
    with pytest.raises(DataError, match=r"a\.npz: its arrays take 314572\d* bytes; expected at most 268435456"):
        read_npz(tmp_path / "a.npz")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([None], object))
    with pytest.raises(DataError, match=r"a\.npz: not a whole \.npz of plain arrays"):
        read_npz(tmp_path / "a.npz")


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_npz(tmp_path / "none.npz")
    np.save(tmp_path / "a.npy", np.eye(2))
    with pytest.raises(DataError, match="one array without a name"):
        read_npz(tmp_path / "a.npy")
