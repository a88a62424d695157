"""Claim: each data set's rule for where and how large to look. Oracle: the note's formulas, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging import pyramid
from cpm_port.imaging.boxing import box_geometry, crop_to_box
from cpm_port.imaging.pyramid import build_pyramid


def test_lsp_takes_the_image_for_the_person() -> None:
    search = pyramid.lsp_search((184, 100))
    assert search.center_xy == (49.0, 91.0)  # (50, 92) in MATLAB's coordinates
    assert search.base_scale == pytest.approx(1.6)
    assert search.multipliers == pytest.approx((0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), abs=1e-15)
    assert search.scales[0] == pytest.approx(1.12)


def test_mpii_divides_the_target_by_the_persons_scale() -> None:
    search = pyramid.mpii_search((593.0, 120.0), 3.0)
    assert search.center_xy == (593.0, 120.0)
    assert search.base_scale == pytest.approx(41 / 105)


def test_flic_goes_by_the_torso() -> None:
    search = pyramid.flic_search((10.0, 20.0, 30.0, 120.0))
    assert search.center_xy == pytest.approx((20.0, 50.0))
    assert search.base_scale == pytest.approx((41 / 35) / 1.1)


def test_a_box_of_200_px_is_a_person_of_mpii_scale_1() -> None:
    search = pyramid.box_search((10.0, 20.0, 60.0, 200.0))
    assert search.center_xy == (40.0, 120.0)
    assert search.base_scale == pytest.approx(41 / 35)


def test_a_box_goes_by_its_longer_side_for_people_also_lie() -> None:
    lying = pyramid.box_search((10.0, 20.0, 200.0, 60.0))
    assert lying.center_xy == (110.0, 50.0)
    assert lying.base_scale == pytest.approx(41 / 35)


def test_smaller_boxes_look_at_smaller_scales() -> None:
    box = (0.0, 0.0, 50.0, 90.0)
    for large, small in (
        (pyramid.lsp_search((90, 70)), pyramid.lsp_search((90, 70), 184)),
        (pyramid.mpii_search((1.0, 2.0), 1.3), pyramid.mpii_search((1.0, 2.0), 1.3, 184)),
        (pyramid.flic_search(box), pyramid.flic_search(box, 184)),
        (pyramid.box_search(box), pyramid.box_search(box, 184)),
        (pyramid.demo_search((90, 70), box), pyramid.demo_search((90, 70), box, 184)),
    ):
        assert small.center_xy == large.center_xy
        np.testing.assert_allclose(small.scales, np.array(large.scales) / 2, rtol=1e-12)


def test_the_demo_clips_its_rectangle_to_the_image() -> None:
    search = pyramid.demo_search((101, 201), (-50.0, 80.0, 100.0, 1000.0))
    assert search.center_xy == (25.0, 90.0)
    assert search.base_scale == 1.0
    assert search.multipliers == pyramid.demo_multipliers(101, 20.0)
    assert search.multipliers[0] == pytest.approx(368 / (3.6 * 20))
    assert search.multipliers[-1] <= 368 / (0.96 * 20)


def test_the_demo_steps_a_sixth_of_an_octave() -> None:
    steps = np.array(pyramid.demo_multipliers(400, 250.0))
    assert len(steps) == 12  # log2(3.75) * 6 = 11.4
    np.testing.assert_allclose(steps[1:] / steps[:-1], 2 ** (1 / 6))


def test_a_range_that_ends_on_a_step_includes_its_end() -> None:
    assert pyramid.octave_range(1.0, 4.0, 2) == pytest.approx((1.0, 2**0.5, 2.0, 2**1.5, 4.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pyramid.mpii_search((0, 0), 0.0), "MPII scale is 0.0"),
        (lambda: pyramid.mpii_search((0, 0), float("nan")), "MPII scale is nan"),
        (lambda: pyramid.flic_search((0, 5, 1, 5)), "torso box is 0"),
        (lambda: pyramid.box_search((0, 0, -1, 5)), "width of the box is -1"),
        (lambda: pyramid.box_search((0, 0, 1, 0)), "height of the box is 0"),
        (lambda: pyramid.demo_search((10, 10), (20, 2, 5, 5)), "nothing of it lies in the image, 10 x 10"),
    ],
)
def test_senseless_persons_are_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]


def test_the_pyramid_holds_each_scales_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    scales = (0.5, 0.9, 1.7, 2.5)
    built = build_pyramid(image, (12.0, 17.0), scales, 32)
    assert built.crops.shape == (4, 32, 32, 3)
    for crop, geometry, scale in zip(built.crops, built.geometries, scales, strict=True):
        assert geometry == box_geometry((30, 40), (12.0, 17.0), scale, 32)
        assert (crop == crop_to_box(image, geometry)).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "scales", "center", "error", "message"),
    [
        ((4, 4), np.uint8, (1.0,), (1, 1), ShapeError, r"expected \(H, W, 3\)"),
        ((4, 4, 4), np.uint8, (1.0,), (1, 1), ShapeError, r"\(4, 4, 4\)"),
        ((4, 4, 3), np.float32, (1.0,), (1, 1), ShapeError, "float32"),
        ((0, 4, 3), np.uint8, (1.0,), (1, 1), ShapeError, "not empty"),
        ((4, 4, 3), np.uint8, (), (1, 1), UsageError, "no scales"),
        ((4, 4, 3), np.uint8, (1.0, 1e-9), (1, 1), UsageError, "scale 1e-09"),
        ((4, 4, 3), np.uint8, (1.0, 2.0), (500, 1), UsageError, "no box about it touches the image"),
    ],
)
def test_bad_input_is_refused(
    shape: tuple[int, ...], dtype: type, scales: tuple, center: tuple, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_pyramid(np.zeros(shape, dtype), center, scales, 8)
