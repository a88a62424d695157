"""The 1 x 1 convolution equals the direct one. Oracle: torch's conv2d, ReLU and max-pooling in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cpm_port.engine.fft import Pool
from cpm_port.engine.pointwise import PointwiseConv
from cpm_port.errors import ShapeError

TOLERANCE = 1e-6  # of the largest output


@pytest.mark.parametrize("pool", [Pool(), Pool(2, 2)])
@pytest.mark.parametrize(
    ("count", "channels", "outputs", "height", "width"),
    [(1, 5, 15, 3, 3), (2, 128, 15, 7, 9), (1, 64, 96, 13, 5), (1, 16, 48, 4, 4), (1, 1, 1, 1, 1)],
)
def test_equals_direct_convolution(
    count: int, channels: int, outputs: int, height: int, width: int, pool: Pool
) -> None:
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(count, channels, height, width, generator=generator)
    weight, bias = torch.randn(outputs, channels, 1, 1, generator=generator), torch.randn(outputs, generator=generator)
    plain = F.conv2d(x.double(), weight.double(), bias.double())
    expected = F.max_pool2d(plain.relu(), pool.kernel, pool.stride, ceil_mode=True)
    found = PointwiseConv(weight, bias)(x, True, pool)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * plain.abs().max()
    unrectified = PointwiseConv(weight, None)(x)
    assert (unrectified + bias[:, None, None] - plain).abs().max() <= TOLERANCE * plain.abs().max()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"expected \(O, C, 1, 1\)"):
        PointwiseConv(torch.zeros(4, 4, 3, 3), None)
    with pytest.raises(ShapeError, match=r"expected \(N, 4, H, W\)"):
        PointwiseConv(torch.zeros(4, 4, 1, 1), None)(torch.zeros(1, 5, 2, 2))
