"""Claim: pictures of examples show the crop, the center and every peak where it is. Oracle: blobs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cpm_port.errors import ShapeError
from cpm_port.report.batch_pictures import _GAP, _STRIP, example_picture


def blobs() -> tuple[np.ndarray, np.ndarray]:
    data = np.full((4, 80, 96), -0.25, np.float32)  # grey level 64
    data[3] = 0
    data[3, 40, 48] = 1
    label = np.zeros((6, 10, 12), np.float32)
    label[0, 2, 3] = label[3, 2, 3] = 1
    label[4, 7, 9] = 1
    return data, label


def test_three_panels_show_center_person_and_everybody() -> None:
    picture = example_picture(*blobs(), "a name")
    assert picture.shape == (80 + 2 * _STRIP, 3 * 96 + 2 * _GAP, 3)
    panels = [picture[_STRIP:-_STRIP, at : at + 96].astype(int) for at in (0, 96 + _GAP, 2 * (96 + _GAP))]
    corner = panels[0][79, 0]
    assert (corner == round(64 * 0.8)).all()
    colored = [np.abs(panel - corner).sum(axis=2) > 60 for panel in panels]
    assert np.argwhere(colored[0]).tolist() == [[40, 48]]
    assert colored[1][20, 28]
    assert not colored[1][60, 76]
    assert colored[2][20, 28]
    assert colored[2][60, 76]
    first, second = panels[2][20, 28], panels[2][60, 76]
    assert np.abs(first - second).max() > 100  # parts have colors of their own


def test_a_part_that_is_not_there_is_not_drawn() -> None:
    data, label = blobs()
    picture = example_picture(data, np.zeros_like(label))
    panel = picture[_STRIP:-_STRIP, 96 + _GAP : 2 * 96 + _GAP]
    assert (panel == panel[0, 0]).all()


@pytest.mark.parametrize(("first", "second"), [((3, 8, 8), (6, 1, 1)), ((4, 8, 8), (5, 1, 1)), ((4, 8, 8), (2, 1, 1))])
def test_other_blobs_are_refused(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(4, H, W\) and \(2 P \+ 2, h, w\)"):
        example_picture(np.zeros(first, np.float32), np.zeros(second, np.float32))
