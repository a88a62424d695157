"""Claim: the pictures show the joints and maps where they are. Oracle: colours at hand-computed pixels."""

from __future__ import annotations

import numpy as np
import pytest

from cpm_port.errors import ShapeError
from cpm_port.inference.interface import numbered_parts
from cpm_port.parts import CPM14, PartOrder
from cpm_port.report.drawing import CELL_SIDE, LEFT, MIDDLE, RIGHT, draw_joints, map_grid, map_window

PAIR = PartOrder("pair", ("right_wrist", "right_elbow", "left_wrist", "neck"), (("right_wrist", "right_elbow"),))


def grey_image(height: int = 900, width: int = 1000) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def test_limbs_and_joints_lie_where_they_are_in_the_colour_of_their_side() -> None:
    image = grey_image()
    joints = np.array([[100.0, 200.0], [400.0, 200.0], [700.0, 500.0], [800.0, 100.0]])
    picture = draw_joints(image, joints, PAIR)
    assert picture.shape == image.shape
    assert tuple(picture[200, 250]) == RIGHT  # the middle of the limb
    assert tuple(picture[500, 700]) == LEFT
    assert tuple(picture[100, 800]) == MIDDLE
    assert (picture[500:, :400] == 90).all()
    assert (image == 90).all()  # the input is left alone


def test_a_small_images_pixels_stay_and_the_joints_lie_where_they_say() -> None:
    joints = np.array([[10.0, 20.0], [40.0, 20.0], [70.0, 50.0], [80.0, 10.0]])
    picture = draw_joints(grey_image(90, 100), joints, PAIR)
    assert picture.shape == (90, 100, 3)
    assert tuple(picture[20, 25]) == RIGHT


def test_joints_that_are_nan_are_left_out_with_their_limbs() -> None:
    nothing = np.full((14, 2), np.nan)
    assert (draw_joints(grey_image(), nothing, CPM14) == 90).all()
    one = nothing.copy()
    one[0] = 500, 450
    assert (draw_joints(grey_image(), one, CPM14) != 90).any(axis=2).sum() < 200


def test_joints_beyond_the_image_do_no_harm() -> None:
    joints = np.array([[-1e4, 20.0], [400.0, 1e4], [70.0, -50.0], [1e5, 1e5]])
    assert draw_joints(grey_image(), joints, PAIR).shape == (900, 1000, 3)


def test_nameless_joints_get_their_number() -> None:
    joints = np.array([[300.0, 300.0]])
    picture = draw_joints(grey_image(), joints, numbered_parts(1))
    assert (picture[285:310, 305:325] == 255).any()  # white digits beside the dot


@pytest.mark.parametrize(
    ("size", "center", "side"),
    [((360, 640), (320.0, 180.0), 300.0), ((20, 30), (10.0, 10.0), 500.0), ((400, 400), (-50.0, 900.0), 10.0)],
)
def test_the_window_lies_in_the_image(size: tuple[int, int], center: tuple[float, float], side: float) -> None:
    rows, columns = map_window(size, center, side)
    for picked, length in ((rows, size[0]), (columns, size[1])):
        assert 1 <= len(picked) <= CELL_SIDE
        assert picked[0] >= 0
        assert picked[-1] < length
        assert (np.diff(picked) > 0).all()
    assert max(len(rows), len(columns)) == min(CELL_SIDE, max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)


def test_the_grid_has_a_row_per_stage_and_a_column_per_part() -> None:
    image = grey_image(200, 200)
    window = map_window((200, 200), (100.0, 100.0), 150.0)
    maps = np.zeros((150, 150, 5), np.float32)
    one = map_grid(image, window, {1: maps}, PAIR, 1.0)
    three = map_grid(image, window, {1: maps, 2: maps, 3: maps}, PAIR, 1.0)
    assert three.shape[0] - one.shape[0] == 2 * (one.shape[0] - 34)
    assert one.shape[1] == 62 + 5 * (CELL_SIDE + 4)


def test_a_belief_is_brightest_at_its_peak_and_capped_at_the_limit() -> None:
    image = grey_image(200, 200)
    window = map_window((200, 200), (100.0, 100.0), 150.0)
    maps = np.zeros((150, 150, 5), np.float32)
    maps[60:80, 30:50, 1] = 2.0
    half = map_grid(image, window, {1: maps}, PAIR, 4.0)
    full = map_grid(image, window, {1: maps}, PAIR, 2.0)
    over = map_grid(image, window, {1: maps}, PAIR, 1.0)
    left, top = 62 + 1 * (CELL_SIDE + 4), 34
    at = (top + 75, left + 45)  # inside the square, off the cross at its first corner
    assert int(full[at].sum()) > int(half[at].sum()) > int(full[top + 100, left + 100].sum())
    assert (over[at] == full[at]).all()
    assert full[top + 60, left + 30].min() > 240  # the cross


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"joints are \(3, 2\)"):
        draw_joints(grey_image(), np.zeros((3, 2)), PAIR)
    window = map_window((200, 200), (100.0, 100.0), 150.0)
    with pytest.raises(ShapeError, match=r"stage 2: maps are \(150, 150, 4\)"):
        map_grid(grey_image(200, 200), window, {2: np.zeros((150, 150, 4), np.float32)}, PAIR, 1.0)
