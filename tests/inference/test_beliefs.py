"""Claim: two matrix products give what the release's steps give. Oracle: those steps in a row, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpm_port.errors import ShapeError
from cpm_port.imaging import _kernels
from cpm_port.imaging.boxing import BoxGeometry, box_geometry
from cpm_port.imaging.resize import taps
from cpm_port.inference import beliefs as room
from cpm_port.inference.beliefs import back_matrices, bands, image_maps

TOLERANCE = 3e-6  # float32 products of about 50 terms, on sums of up to about 10

CASES = {
    "padded on all sides": ((19, 12), (5.5, 9.0), (0.6, 1.1)),
    "cropped on all sides": ((40, 60), (30.0, 20.0), (2.0, 3.5)),
    "cropped left, padded right": ((30, 90), (80.0, 15.0), (0.9, 1.0, 1.3)),
    "shrunk far": ((200, 160), (90.0, 70.0), (0.11, 0.3)),
    "a box that misses the image": ((20, 20), (45.0, 10.0), (0.5, 3.0)),
    "one pixel high": ((1, 33), (16.0, 0.0), (1.0, 2.0)),
}


def geometries_of(name: str, box_size: int = 64) -> list[BoxGeometry]:
    image_size, center, scales = CASES[name]
    return [box_geometry(image_size, center, scale, box_size) for scale in scales]


def random_beliefs(levels: int, channels: int = 4, cells: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(levels).normal(size=(levels, channels, *cells)).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cells", [(8, 8), (9, 7)])
def test_maps_equal_the_release_steps(name: str, cells: tuple[int, int]) -> None:
    geometries = geometries_of(name)
    values = random_beliefs(len(geometries), cells=cells)
    expected = room._image_maps_reference(values, geometries)
    result = image_maps(torch.from_numpy(values), geometries)
    assert result.dtype == torch.float32
    assert tuple(result.shape) == expected.shape == (*CASES[name][0], 4)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=TOLERANCE)


def test_background_alone_lies_where_the_box_had_cut_the_image_off() -> None:
    geometry = box_geometry((40, 40), (20.0, 20.0), 4.0, 64)  # the box sees the middle 16 px
    maps = image_maps(torch.zeros(1, 3, 8, 8), [geometry]).numpy()
    assert (maps[..., :2] == 0).all()
    np.testing.assert_allclose(maps[0, 0, 2], 1.0)
    np.testing.assert_allclose(maps[20, 20, 2], 0.0, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_rows_and_columns_are_picked_from_the_whole(name: str) -> None:
    geometries = geometries_of(name)
    values = torch.from_numpy(random_beliefs(len(geometries)))
    height, width = CASES[name][0]
    rows, columns = np.arange(0, height, 3), np.arange(min(2, width - 1), width, 5)
    whole = image_maps(values, geometries)
    part = image_maps(values, geometries, rows=rows, columns=columns)
    np.testing.assert_allclose(part.numpy(), whole.numpy()[rows][:, columns], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("budget", [1, 700, 1 << 24])
def test_bands_of_any_height_make_up_the_whole(name: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    geometries = geometries_of(name)
    values = torch.from_numpy(random_beliefs(len(geometries)))
    whole = torch.cat([band for _, band in bands(values, geometries)])
    monkeypatch.setitem(room.BAND_VALUES, "cpu", budget)
    found = list(bands(values, geometries))
    assert [first for first, _ in found] == list(np.cumsum([0, *(len(band) for _, band in found)])[:-1])
    assert all(band.numel() <= max(budget, band[0].numel()) for _, band in found)
    np.testing.assert_allclose(torch.cat([band for _, band in found]).numpy(), whole.numpy(), rtol=0, atol=TOLERANCE)


def test_matrices_keep_constants_inside_the_box() -> None:
    rows, columns = back_matrices(box_geometry((30, 50), (25.0, 15.0), 1.0, 64), (8, 8))
    assert rows.shape == (30, 8)
    assert columns.shape == (50, 8)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(columns.sum(axis=1), 1.0, atol=1e-12)


def test_the_band_product_kernel_equals_numpy() -> None:
    index, weight = taps(11, 1.7, 0, 19)
    matrix = np.random.default_rng(0).normal(size=(11, 5))
    matrix.setflags(write=False)
    result = np.empty((19, 5))
    _kernels.band_product(index, weight, matrix, result)
    np.testing.assert_allclose(result, (weight[:, :, None] * matrix[index]).sum(axis=1), rtol=0, atol=1e-14)


def test_levels_and_geometries_must_match() -> None:
    geometries = geometries_of("padded on all sides")
    with pytest.raises(ShapeError, match="one level per geometry"):
        image_maps(torch.zeros(3, 4, 8, 8), geometries)
    with pytest.raises(ShapeError, match="different sizes"):
        image_maps(torch.zeros(2, 4, 8, 8), [geometries[0], geometries_of("shrunk far")[0]])


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_gives_the_same_even_where_tf32_is_on(name: str) -> None:
    geometries = geometries_of(name)
    values = random_beliefs(len(geometries))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        result = image_maps(torch.from_numpy(values).cuda(), geometries)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert result.is_cuda
    np.testing.assert_allclose(
        result.cpu().numpy(), room._image_maps_reference(values, geometries), rtol=0, atol=TOLERANCE
    )
