"""Claim: boxes lie where the release puts them. Oracles: hand-worked pads, the release's order of steps, inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging import boxing
from cpm_port.imaging.boxing import box_geometry, crop_to_box, round_half_away, unbox


def test_pads_follow_from_the_rounded_one_based_center() -> None:
    # Centre 38, 96.5 in MATLAB's coordinates of a 76 x 193 image, scale 1: y rounds up to 97; b/2 = 184.
    geometry = box_geometry((193, 76), (37.0, 95.5), 1.0, 368)
    assert geometry.scaled_size == (193, 76)
    assert geometry.pad == (184 - 97, 184 - 38, 184 - (193 - 97), 184 - (76 - 38))


@pytest.mark.parametrize(("value", "expected"), [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (-1.2, -1), (3.49, 3)])
def test_halves_round_away_from_zero(value: float, expected: int) -> None:
    assert round_half_away(value) == expected


def test_a_crop_of_an_unscaled_image_is_a_padded_slice() -> None:
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    geometry = box_geometry((5, 6), (0.0, 1.0), 1.0, 4)  # 1-based centre (1, 2): pads up 0, left 1
    assert geometry.pad == (0, 1, -1, -3)
    box = crop_to_box(image, geometry)
    assert (box[:, 0] == 128).all()
    assert (box[:, 1:] == image[:4, :3]).all()


GEOMETRIES = st.builds(
    box_geometry,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(-10, 50), st.floats(-10, 50)),
    st.floats(0.2, 3.0),
    st.sampled_from([2, 8, 32]),
)


@settings(max_examples=60, deadline=None)
@given(GEOMETRIES)
def test_crop_equals_resizing_all_then_padding_then_cropping(geometry: boxing.BoxGeometry) -> None:
    up, left, down, right = geometry.pad
    image = np.random.default_rng(1).integers(0, 256, (*geometry.image_size, 3), dtype=np.uint8)
    box = crop_to_box(image, geometry)
    side = geometry.box_size
    assert box.shape == (side, side, 3)
    assert up + down + geometry.scaled_size[0] == side
    assert left + right + geometry.scaled_size[1] == side
    top, bottom, first, last = geometry.window
    if top < bottom and first < last:
        assert (box == boxing._crop_to_box_reference(image, geometry)).all()
    else:
        assert (box == 128).all()


@settings(max_examples=60, deadline=None)
@given(GEOMETRIES)
def test_unbox_undoes_the_crop_where_the_box_saw_the_image(geometry: boxing.BoxGeometry) -> None:
    up, left, _, _ = geometry.pad
    side = geometry.box_size
    places = np.arange(side * side, dtype=np.float64).reshape(side, side)
    scaled = unbox(places, geometry, fill=-1.0)
    assert scaled.shape == geometry.scaled_size
    for y in range(0, scaled.shape[0], 3):
        for x in range(0, scaled.shape[1], 3):
            inside = 0 <= y + up < side and 0 <= x + left < side
            assert scaled[y, x] == ((y + up) * side + x + left if inside else -1.0)


@settings(max_examples=60, deadline=None)
@given(GEOMETRIES, st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_to_image_inverts_to_box(geometry: boxing.BoxGeometry, point: tuple[float, float]) -> None:
    back = geometry.to_image(geometry.to_box(np.array(point)))
    np.testing.assert_allclose(back, point, atol=1e-9)


def test_to_box_finds_a_bright_pixel() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[25, 12] = 255
    geometry = box_geometry((40, 40), (15.0, 20.0), 3.0, 64)
    y, x = np.unravel_index(crop_to_box(image, geometry, fill=0)[:, :, 0].argmax(), (64, 64))
    np.testing.assert_allclose(geometry.to_box(np.array([12, 25])), [x, y], atol=0.51)


@pytest.mark.parametrize(
    ("center", "scale", "box_size", "message"),
    [
        ((0.0, 0.0), 1.0, 7, "box size is 7"),
        ((0.0, 0.0), 1.0, 0, "box size is 0"),
        ((float("nan"), 0.0), 1.0, 8, "center"),
        ((0.0, 0.0), float("inf"), 8, "scale"),
        ((0.0, 0.0), 0.0, 8, "scale 0"),
        ((0.0, 0.0), 65536.0, 8, "larger than 65536 px"),
    ],
)
def test_senseless_geometry_is_refused(center: tuple[float, float], scale: float, box_size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        box_geometry((4, 5), center, scale, box_size)


def test_arrays_of_other_sizes_are_refused() -> None:
    geometry = box_geometry((4, 5), (2.0, 2.0), 1.0, 8)
    with pytest.raises(ShapeError, match=r"image is \(5, 4\)"):
        crop_to_box(np.zeros((5, 4, 3), np.uint8), geometry)
    with pytest.raises(ShapeError, match=r"map is \(4, 4\)"):
        unbox(np.zeros((4, 4)), geometry)
