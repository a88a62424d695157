"""Claim: resize and warp are OpenCV 4's, to the bit, whichever OpenCV is installed.

Oracles: OpenCV 4.14's own outputs (`tests/golden/opencv4`), the installed `cv2` where it is a 4, the plain NumPy twins.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging import warp
from cpm_port.imaging.warp import Window, resize_and_warp, resize_cubic, resized_size, warp_affine_cubic
from tests.support import load_golden

GOLDEN = load_golden("opencv4/warp.npz")
IMAGES = ("37x29", "24x40", "9x5")
SIZES = ((37, 29), (64, 50), (1, 5), (2, 2), (7, 3), (8, 8), (40, 1))  # height, width
SCALES = (0.53, 0.7, 1.0, 1.0003, 1.17, 1.5, 2.7)
DEGREES = (0.0, 13.0, 90.0, -170.3, 45.0)

needs_opencv_4 = pytest.mark.skipif(
    not cv2.__version__.startswith("4."), reason=f"OpenCV {cv2.__version__} has other resize and warp code"
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def planes_of(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


def turn(size: tuple[int, int], degree: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degree, 1)
    matrix[:, 2] += (2.5, 1.25)
    return matrix


@pytest.fixture
def cv2_without_ipp() -> object:
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(used)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("scale", [0.53, 0.8, 1.0, 1.17, 1.5, 2.7])
def test_resize_is_opencv_4s(name: str, scale: float) -> None:
    found = resize_cubic(planes_of(GOLDEN[f"{name}/image"]), scale)
    np.testing.assert_array_equal(found, planes_of(GOLDEN[f"{name}/resize/{scale}"]))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("degree", [0.0, 13.0, 90.0, -170.3])
def test_warp_is_opencv_4s(name: str, degree: float) -> None:
    expected = planes_of(GOLDEN[f"{name}/warp/{degree}"])
    window = Window(0, 0, expected.shape[2], expected.shape[1])
    found = warp_affine_cubic(planes_of(GOLDEN[f"{name}/image"]), GOLDEN[f"{name}/matrix/{degree}"], window)
    np.testing.assert_array_equal(found, expected)


@needs_opencv_4
@pytest.mark.usefixtures("cv2_without_ipp")
@pytest.mark.parametrize("size", SIZES)
def test_both_are_the_installed_opencv_4s(size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(noise(*size).transpose(1, 2, 0))
    for scale in (s for s in SCALES if round(min(size) * s) > 0):
        found = resize_cubic(planes_of(image), scale)
        expected = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(found, planes_of(expected))
    for degree in DEGREES:
        matrix, wanted = turn(size[::-1], degree), (size[1] + 9, size[0] + 4)
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (128, 128, 128)}
        expected = cv2.warpAffine(image, matrix, wanted, flags=cv2.INTER_CUBIC, **border)
        found = warp_affine_cubic(planes_of(image), matrix, Window(0, 0, *wanted))
        np.testing.assert_array_equal(found, planes_of(expected))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_resize_kernel_equals_its_readable_twin(size: tuple[int, int], scale: float) -> None:
    planes = noise(*size)
    np.testing.assert_array_equal(resize_cubic(planes, scale), warp._resize_reference(planes, scale))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("border", [0, 128, 255])
def test_the_warp_kernel_equals_its_readable_twin(size: tuple[int, int], degree: float, border: int) -> None:
    planes, matrix, wanted = noise(*size), turn(size[::-1], degree), (size[1] + 9, size[0] + 4)
    found = warp_affine_cubic(planes, matrix, Window(0, 0, *wanted), border)
    np.testing.assert_array_equal(found, warp._warp_reference(planes, matrix, wanted, border))


@pytest.mark.parametrize("values", ["black and white", "white"])
def test_sums_that_leave_the_bytes_are_held_at_their_ends(values: str) -> None:
    planes = np.full((3, 21, 19), 255, np.uint8)
    if values == "black and white":
        planes[:, ::2, 1::2] = planes[:, 1::2, ::2] = 0
    np.testing.assert_array_equal(resize_cubic(planes, 1.37), warp._resize_reference(planes, 1.37))
    matrix = turn((19, 21), 31)
    found = warp_affine_cubic(planes, matrix, Window(0, 0, 25, 25), 0)
    np.testing.assert_array_equal(found, warp._warp_reference(planes, matrix, (25, 25), 0))


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.9])
@pytest.mark.parametrize("seed", range(6))
def test_a_window_of_a_resize_equals_that_part_of_the_whole(scale: float, seed: int) -> None:
    planes = noise(40, 33)
    whole = resize_cubic(planes, scale)
    draw = np.random.default_rng(seed)
    (x0, x1), (y0, y1) = (np.sort(draw.integers(0, side + 1, 2)) for side in (whole.shape[2], whole.shape[1]))
    part = resize_cubic(planes, scale, Window(x0, y0, x1 - x0, y1 - y0))
    np.testing.assert_array_equal(part, whole[:, y0:y1, x0:x1])


@pytest.mark.parametrize("seed", range(12))
def test_resize_and_warp_at_once_equals_one_after_the_other(seed: int) -> None:
    draw = np.random.default_rng(seed)
    planes = noise(int(draw.integers(5, 60)), int(draw.integers(5, 60)), seed)
    scale = float(draw.uniform(0.4, 2.2))
    resized = resize_cubic(planes, scale)
    size = resized.shape[2] + 7, resized.shape[1] + 3
    matrix = turn((resized.shape[2], resized.shape[1]), float(draw.uniform(-180, 180)))
    window = Window(*draw.integers(-40, 60, 2).tolist(), *draw.integers(1, 60, 2).tolist())
    margin = 200
    whole = np.pad(
        warp_affine_cubic(resized, matrix, Window(0, 0, *size)),
        ((0, 0), (margin, margin), (margin, margin)),
        constant_values=128,
    )
    expected = whole[
        :, margin + window.y : margin + window.y + window.height, margin + window.x : margin + window.x + window.width
    ]
    np.testing.assert_array_equal(resize_and_warp(planes, scale, matrix, size, window), expected)


def test_an_image_of_interleaved_channels_is_taken_as_it_is() -> None:
    planes = noise(20, 30)
    image = np.ascontiguousarray(planes.transpose(1, 2, 0))
    np.testing.assert_array_equal(resize_cubic(planes_of(image), 1.3), resize_cubic(planes, 1.3))


def test_a_read_only_image_is_taken_as_it_is() -> None:
    planes = noise(20, 30)
    expected = resize_cubic(planes, 1.3), warp_affine_cubic(planes, turn((30, 20), 5), Window(0, 0, 30, 20))
    planes.flags.writeable = False
    np.testing.assert_array_equal(resize_cubic(planes, 1.3), expected[0])
    np.testing.assert_array_equal(warp_affine_cubic(planes, turn((30, 20), 5), Window(0, 0, 30, 20)), expected[1])


@pytest.mark.parametrize(("side", "scale", "expected"), [(5, 0.5, 2), (7, 0.5, 4), (3, 1.5, 4), (9, 0.5, 4)])
def test_sizes_round_halves_to_even(side: int, scale: float, expected: int) -> None:
    assert resized_size(side, side, scale) == (expected, expected)


def test_far_positions_show_the_border() -> None:
    planes = noise(8, 8)
    far = np.array([[1.0, 0, 1e12], [0, 1, -1e12]])
    assert (warp_affine_cubic(planes, far, Window(0, 0, 4, 4), 7) == 7).all()


def test_a_matrix_without_inverse_looks_at_one_point_as_opencv_does() -> None:
    planes = noise(8, 8)
    found = warp_affine_cubic(planes, np.zeros((2, 3)), Window(0, 0, 3, 3))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], found.shape))


WRONG: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "planes of shape": (ShapeError, lambda: resize_cubic(np.zeros((4, 4, 3), np.uint8), 2.0)),
    "type uint8, found": (
        ShapeError,
        lambda: resize_cubic(np.zeros((3, 4, 4), np.float32), 2.0),
    ),
    "expected at most 32764 px a side": (ShapeError, lambda: resize_cubic(np.zeros((3, 1, 40000), np.uint8), 0.5)),
    "a positive number": (UsageError, lambda: resize_cubic(noise(4, 4), -1.0)),
    "is 0 x 0": (UsageError, lambda: resize_cubic(noise(4, 4), 0.1)),
    "is not inside": (UsageError, lambda: resize_cubic(noise(4, 4), 1.0, Window(1, 0, 4, 4))),
    "finite 2 x 3 matrix": (
        UsageError,
        lambda: warp_affine_cubic(noise(4, 4), np.full((2, 3), np.nan), Window(0, 0, 1, 1)),
    ),
    "expected 0 to 255": (UsageError, lambda: warp_affine_cubic(noise(4, 4), np.eye(2, 3), Window(0, 0, 1, 1), 256)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_makes_no_sense_is_refused(message: str) -> None:
    leaf, call = WRONG[message]
    with pytest.raises(leaf, match=message):
        call()
