"""The Fourier convolution equals the direct one. Oracle: torch's conv2d, ReLU and max-pooling in float64.

The tolerance is issue-wide (1e-5 of the largest value); the float32 transforms keep within 1e-6 of it.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cpm_port.compute.memory import Workspace
from cpm_port.engine.fft import TILE_SIZES, FourierConv, Pool, reference, tile_geometry
from cpm_port.errors import ShapeError

TOLERANCE = 1e-6  # of the largest output: float32 sums of some thousand terms


def make(count: int, channels: int, outputs: int, height: int, width: int, kernel: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(channels * 1000 + height)
    x = torch.randn(count, channels, height, width, generator=generator)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator) / (channels * kernel**2) ** 0.5
    return x, weight, torch.randn(outputs, generator=generator)


def direct(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pool: Pool) -> torch.Tensor:
    y = F.conv2d(x.double(), weight.double(), bias.double(), padding=weight.shape[2] // 2).relu()
    return F.max_pool2d(y, pool.kernel, pool.stride, ceil_mode=True)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


CASES = [
    pytest.param((1, 16, 16, 20, 20, 3), Pool(), id="one panel of 16"),
    pytest.param((2, 48, 32, 25, 46, 11), Pool(), id="two images, an odd number of tiles"),
    pytest.param((1, 3, 64, 61, 40, 9), Pool(3, 2), id="few channels, pooled"),
    pytest.param((3, 20, 48, 23, 37, 9), Pool(3, 2), id="channels that need padding, pooled"),
    pytest.param((1, 16, 32, 30, 31, 5), Pool(2, 2), id="pooled without overlap"),
    pytest.param((1, 16, 16, 1, 7, 3), Pool(), id="a single row"),
]


@pytest.mark.parametrize("size", TILE_SIZES)
@pytest.mark.parametrize(("shape", "pool"), CASES)
def test_equals_direct_convolution(shape: tuple[int, ...], pool: Pool, size: int) -> None:
    x, weight, bias = make(*shape)
    if tile_geometry(shape[3], shape[4], shape[5], size, pool) is None:
        pytest.skip(f"tiles of {size} hold no output of this kernel and pooling")
    convolve = FourierConv(weight, bias, size=size)
    assert relative_error(convolve(x, True, pool), direct(x, weight, bias, pool)) < TOLERANCE


@pytest.mark.parametrize("size", TILE_SIZES)
def test_reference_equals_direct_convolution(size: int) -> None:
    x, weight, bias = make(2, 5, 7, 23, 40, 9)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=4)
    assert relative_error(reference(x, weight, bias, size), expected) < TOLERANCE


@pytest.mark.parametrize("workspace", [1, 1 << 20])
def test_a_small_workspace_changes_nothing(workspace: int) -> None:
    x, weight, bias = make(2, 16, 32, 40, 33, 9)
    convolve = FourierConv(weight, bias, size=16)
    assert torch.equal(convolve(x, workspace=Workspace(workspace)), convolve(x))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    x, weight, bias = make(2, 16, 32, 40, 33, 9)
    convolve = FourierConv(weight, bias, size=16)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        got = convolve(x)
        torch.set_num_threads(1)
        assert torch.equal(got, convolve(x))
    finally:
        torch.set_num_threads(before)


def test_memory_layout_of_the_input_does_not_matter() -> None:
    x, weight, bias = make(2, 32, 16, 17, 21, 5)
    convolve = FourierConv(weight, bias, size=24)
    wide = torch.zeros(2, 32, 17, 30)
    wide[..., 4:25] = x
    expected = convolve(x)
    assert torch.equal(convolve(x.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(convolve(wide[..., 4:25]), expected)


def test_output_is_channels_last_and_the_weights_are_a_copy() -> None:
    x, weight, bias = make(1, 16, 16, 20, 20, 3)
    convolve = FourierConv(weight, bias, size=16)
    before = convolve(x)
    weight.zero_()
    bias.zero_()
    assert before.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(convolve(x), before)


def test_a_nan_in_the_input_is_not_rectified_away() -> None:
    x, weight, bias = make(1, 16, 16, 20, 20, 3)
    x[0, 0, 3, 3] = float("nan")
    assert torch.isnan(FourierConv(weight, bias, size=16)(x, True)[0, :, 3, 3]).all()


@pytest.mark.parametrize(
    ("weight_shape", "x_shape", "message"),
    [
        ((15, 16, 3, 3), (1, 16, 20, 20), "O a multiple of 16"),
        ((16, 16, 4, 4), (1, 16, 20, 20), "K odd"),
        ((16, 16, 3, 5), (1, 16, 20, 20), "O, C, K, K"),
        ((16, 16, 3, 3), (1, 15, 20, 20), r"expected \(N, 16, H, W\)"),
        ((16, 16, 3, 3), (16, 20, 20), r"expected \(N, 16, H, W\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    weight_shape: tuple[int, ...], x_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        FourierConv(torch.zeros(weight_shape), None, size=16)(torch.zeros(x_shape))
