"""Claim: `imresize` is MATLAB's. Oracles: pairs made by MATLAB itself, hand-worked weights, a plain NumPy reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging import resize
from cpm_port.imaging.resize import imresize, resized_length, taps

DOUBLE_TOLERANCE = 1e-12  # on values up to 255: a few last bits of sums of 4 to 20 products


def counted(side: int) -> np.ndarray:
    return np.arange(side * side, dtype=np.float64).reshape(side, side)


def corner(flip: bool) -> np.ndarray:
    image = np.zeros((4, 4))
    image[0, 0], image[1, 0], image[0, 1], image[0, 3] = 100, 10, 1, 100
    return image[::-1, ::-1].copy() if flip else image


MATLAB_DOUBLES = {
    "down_down_small": (lambda: counted(4), (3, 3), ("aa", "noaa")),
    "down_down": (lambda: counted(8), (3, 4), ("aa", "noaa")),
    "down_down_irregular": (lambda: counted(8), (5, 7), ("aa", "noaa")),
    "down_down_x2": (lambda: counted(8), (4, 4), ("aa",)),
    "down_down_x4": (lambda: counted(8), (2, 2), ("aa",)),
    "down_down_x3": (lambda: counted(15), (5, 5), ("aa",)),
    "down_down_x5": (lambda: counted(15), (3, 3), ("aa",)),
    "up_up_irregular": (lambda: counted(8), (11, 13), ("aa", "noaa")),
    "up_up_topleft": (lambda: corner(False), (5, 5), ("noaa",)),
    "up_up_bottomright": (lambda: corner(True), (5, 5), ("noaa",)),
    "down_down_butterfly_irregular": (None, (123, 234), ("aa", "noaa")),
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, (*_, options) in MATLAB_DOUBLES.items() for option in options]
)
def test_doubles_equal_matlabs(shared: Path, name: str, option: str) -> None:
    folder = shared / "matlab_imresize" / "double"
    make, size, _ = MATLAB_DOUBLES[name]
    image = make() if make else cv2.imread(str(folder / "butterfly.png"))[:, :, ::-1] / 255.0
    expected = scipy.io.loadmat(folder / f"{name}_{option}.mat")[f"{name}_{option}"]
    result = imresize(image, size, antialias=option == "aa")
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=0, atol=DOUBLE_TOLERANCE)


@pytest.mark.parametrize("kind", ["uint8", "double"])
def test_bytes_equal_matlabs_in_every_pixel(shared: Path, kind: str) -> None:
    folder = shared / "matlab_imresize"
    image = cv2.imread(str(folder / "lena_512x512.png"), cv2.IMREAD_UNCHANGED)
    expected = cv2.imread(str(folder / f"lena_123x234_{kind}.png"), cv2.IMREAD_UNCHANGED)
    result = imresize(image if kind == "uint8" else image.astype(np.float64), (123, 234))
    if kind == "double":  # MATLAB rounded at the very end
        result = np.clip(np.floor(result + 0.5), 0, 255).astype(np.uint8)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert int((result != expected).sum()) == 0


def test_doubling_weighs_four_neighbours_at_a_quarter() -> None:
    # The kernel with a = -0.5 at distances 1.25, 0.25, 0.75, 1.75: worked by hand in 128ths.
    index, weight = taps(10, 2.0, 9, 10)  # output sample 9 looks at (9 + 0.5) / 2 - 0.5 = 4.25
    assert index.tolist() == [[3, 4, 5, 6]]
    assert (weight * 128).tolist() == [[-9.0, 111.0, 29.0, -3.0]]


def test_halving_with_antialiasing_widens_the_kernel() -> None:
    # Distances 0.5, 1.5, 2.5, 3.5 px are 0.25, 0.75, 1.25, 1.75 on a kernel twice as wide and half as high.
    index, weight = taps(20, 0.5, 5, 6)  # looks at (5 + 0.5) * 2 - 0.5 = 10.5
    assert index.tolist() == [list(range(7, 15))]
    assert (weight * 256).tolist() == [[-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0]]


def test_borders_mirror_half_sample() -> None:
    index, _ = taps(3, 1 / 3, 0, 1)
    # The one output sample looks at 1, the middle; its kernel reaches less than six to each side and is 0 three away:
    # samples -4, -3, -1, 0, 1, 2, 3, 5, 6.
    assert index[0].tolist() == [2, 2, 0, 0, 1, 2, 2, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("size", "factor"),
    [((7, 9), 0.31), ((40, 23), 0.5), ((17, 18), 1.0), ((16, 33), 1.7), ((5, 1), 3.0), ((1, 1), 2.0), ((3, 64), 0.1)],
)
def test_the_kernel_equals_the_readable_reference(
    dtype: type, channels: int, size: tuple[int, int], factor: float
) -> None:
    random = np.random.default_rng(5)
    image = (random.random((*size, channels)) * 255).astype(dtype)
    rows = taps(size[0], factor, 0, resized_length(size[0], factor))
    columns = taps(size[1], factor, 0, resized_length(size[1], factor))
    fast = resize._resample(image, rows, columns)
    plain = resize._resample_reference(image, rows, columns)
    assert fast.shape == plain.shape
    assert fast.dtype == plain.dtype == dtype
    if dtype == np.uint8:
        assert (fast == plain).all()
    else:  # the same products in the same order
        np.testing.assert_allclose(fast, plain, rtol=0, atol=0 if dtype == np.float32 else DOUBLE_TOLERANCE)


def test_halves_round_up_after_each_pass() -> None:
    # At phase 0.5 without antialiasing the weights are (-1, 9, 9, -1) / 16: 0, 1, 0, 1 gives exactly a half.
    column = np.tile(np.array([[0], [1], [0], [1]], np.uint8), (1, 4))
    assert imresize(column, (1, 4), antialias=False)[0].tolist() == [1, 1, 1, 1]
    # Both passes: rounding after the first gives 1, so the second sees a constant; rounding once would have seen 0.5.
    assert imresize(column, (1, 1), antialias=False).tolist() == [[1]]


def test_overshoot_saturates() -> None:
    edge = np.repeat(np.array([[0, 0, 0, 255, 255, 255]], np.uint8), 4, axis=0)
    result = imresize(edge, factor=3.0)
    as_double = imresize(edge.astype(np.float64), factor=3.0)
    assert as_double.min() < -1
    assert as_double.max() > 256
    assert result.min() == 0
    assert result.max() == 255


@pytest.mark.parametrize(("size", "rows_first"), [((5, 20), True), ((19, 5), False), ((9, 9), False), ((10, 15), True)])
def test_the_dimension_that_shrinks_more_goes_first_rows_on_a_tie(size: tuple[int, int], rows_first: bool) -> None:
    image = np.random.default_rng(2).integers(0, 256, (20, 30), dtype=np.uint8)
    result = imresize(image, size)
    by_rows = imresize(imresize(image, (size[0], 30)), size)
    by_columns = imresize(imresize(image, (20, size[1])), size)
    assert (by_rows != by_columns).any()  # rounding between the passes tells the orders apart
    assert (result == (by_rows if rows_first else by_columns)).all()


@pytest.mark.parametrize("factor", [0.37, 1.6])
@pytest.mark.parametrize("window", [(0, 3, 0, 4), (2, 7, 3, 9), (4, 4, 0, 5), (6, 9, 1, 2)])
def test_a_window_is_cut_out_of_the_whole(factor: float, window: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (26, 31, 3), dtype=np.uint8)
    top, bottom, left, right = window
    whole = imresize(image, factor=factor)
    assert (imresize(image, factor=factor, window=window) == whole[top:bottom, left:right]).all()


def test_factor_one_changes_nothing_and_constants_stay() -> None:
    image = np.random.default_rng(4).integers(0, 256, (11, 7, 3), dtype=np.uint8)
    assert (imresize(image, factor=1.0) == image).all()
    for factor in (0.23, 0.5, 0.9, 1.3, 2.0):
        assert (imresize(np.full((13, 8), 77, np.uint8), factor=factor) == 77).all()


def test_any_layout_and_read_only_memory_are_taken() -> None:
    image = np.random.default_rng(6).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    expected = imresize(image, factor=0.6)
    frozen = image.copy()
    frozen.setflags(write=False)
    assert (imresize(frozen, factor=0.6) == expected).all()
    assert (imresize(np.asfortranarray(image), factor=0.6) == expected).all()
    assert (imresize(image[:, :, ::-1], factor=0.6)[:, :, ::-1] == expected).all()


@pytest.mark.parametrize(
    ("length", "factor", "expected"),
    [(10, 0.5, 5), (10, 0.51, 6), (360, 0.5694444444444445, 205), (1, 0.001, 1), (7, 3.0, 21)],
)
def test_lengths_round_up_but_for_noise(length: int, factor: float, expected: int) -> None:
    assert resized_length(length, factor) == expected


@pytest.mark.parametrize(
    ("image", "arguments", "error", "message"),
    [
        (np.zeros((0, 4), np.uint8), {"factor": 1.0}, ShapeError, r"image is \(0, 4\)"),
        (np.zeros(4, np.uint8), {"factor": 1.0}, ShapeError, r"image is \(4,\)"),
        (np.zeros((4, 4), np.int32), {"factor": 1.0}, ShapeError, "int32"),
        (np.zeros((4, 4)), {}, UsageError, "either size or factor"),
        (np.zeros((4, 4)), {"factor": 1.0, "size": (2, 2)}, UsageError, "either size or factor"),
        (np.zeros((4, 4)), {"factor": float("nan")}, UsageError, "resize by nan"),
        (np.zeros((4, 4)), {"factor": 1e-4}, UsageError, "expected a factor"),
        (np.zeros((4, 4)), {"factor": -1.0}, UsageError, "expected a factor"),
        (np.zeros((4, 4)), {"factor": 1.0, "window": (0, 5, 0, 4)}, ShapeError, "leaves the output"),
    ],
)
def test_bad_input_is_refused(image: np.ndarray, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        imresize(image, **arguments)
