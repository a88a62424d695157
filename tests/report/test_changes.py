"""The picture of cleaned labels. Oracle: which people it must show, by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_port.annotations.cleaning import Change
from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError, UsageError
from cpm_port.parts import LSP14
from cpm_port.report.changes import choose_changes, write_changes


def changes(swapped: int, dropped: int, masked: int, filled: int) -> list[Change]:
    found = [Change(f"s{i}", swapped=True) for i in range(swapped)]
    found += [Change(f"d{i}", dropped=True) for i in range(dropped)]
    found += [Change(f"m{i}", masked=("neck",)) for i in range(masked)]
    return found + [Change(f"f{i}", filled=("neck",)) for i in range(filled)]


def test_every_kind_of_change_is_shown_alike_and_spread_over_its_people() -> None:
    names = [change.name for change in choose_changes(changes(100, 100, 100, 100), 40)]
    assert [sum(name[0] == kind for name in names) for kind in "sdmf"] == [10, 10, 10, 10]
    assert [name for name in names if name[0] == "s"] == [f"s{10 * i}" for i in range(10)]


def test_a_rare_kind_leaves_its_place_to_the_others() -> None:
    names = [change.name for change in choose_changes(changes(2, 0, 100, 100), 40)]
    assert [sum(name[0] == kind for name in names) for kind in "sdmf"] == [2, 0, 19, 19]


def test_the_picture_has_a_pair_for_each(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 40, 3), 90, np.uint8))
    person = Person(np.linspace(5, 35, 28).reshape(14, 2), np.ones(14, bool))
    sample = Sample("LSPET", "s0", image, "train", LSP14, "person", person)
    write_changes(tmp_path / "out.png", [sample], [sample], changes(1, 0, 0, 0))
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture.shape[0] > 200
    assert picture.shape[1] > 5 * 2 * 180
    with pytest.raises(DataError, match="no label changed"):
        write_changes(tmp_path / "none.png", [sample], [sample], [])
    with pytest.raises(UsageError, match="expected a suffix of a picture"):
        write_changes(tmp_path / "out.text", [sample], [sample], changes(1, 0, 0, 0))
