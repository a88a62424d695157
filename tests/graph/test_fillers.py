"""Fillers draw from the distributions that Caffe's filler.hpp states (oracle: their formulas; a hand-worked kernel)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cpm_port.caffe import parse_net
from cpm_port.errors import LayerError
from cpm_port.graph import load_net

FAN_IN, FAN_OUT, OUTPUTS = 20 * 9, 40 * 9, 40


def drawn(filler: str, outputs: int = OUTPUTS, inputs: int = 20, kernel: int = 3) -> Tensor:
    """Return a convolution's weight, shape (outputs, inputs, kernel, kernel)."""
    torch.manual_seed(0)
    net = load_net(
        parse_net(f"""
        input: "data" input_shape {{ dim: 1 dim: {inputs} dim: 9 dim: 9 }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{
            num_output: {outputs} kernel_size: {kernel} weight_filler {{ {filler} }} }} }}""")
    )
    assert (net.params["conv"][1] == 0).all(), "a bias without a filler is zero"
    return net.params["conv"][0].detach()


def test_constant() -> None:
    assert (drawn('type: "constant" value: 0.75') == 0.75).all()
    assert (drawn("") == 0).all(), "the default"


def test_uniform() -> None:
    weight = drawn('type: "uniform" min: -1 max: 3')
    assert -1 <= weight.min() < -0.98
    assert 2.98 < weight.max() <= 3
    assert abs(weight.mean() - 1) < 0.05


def test_gaussian() -> None:
    weight = drawn('type: "gaussian" mean: 2 std: 0.5')
    assert abs(weight.mean() - 2) < 0.02
    assert abs(weight.std() - 0.5) < 0.02


def test_sparse_gaussian_keeps_that_many_of_the_outputs_for_each_input() -> None:
    weight = drawn('type: "gaussian" std: 1 sparse: 10')
    kept = (weight != 0).float().mean()
    assert abs(kept - 10 / OUTPUTS) < 0.02
    assert abs(weight[weight != 0].std() - 1) < 0.05


@pytest.mark.parametrize(("norm", "n"), [("FAN_IN", FAN_IN), ("FAN_OUT", FAN_OUT), ("AVERAGE", (FAN_IN + FAN_OUT) / 2)])
def test_xavier_and_msra_scale_by_the_fan(norm: str, n: float) -> None:
    weight = drawn(f'type: "xavier" variance_norm: {norm}')
    bound = math.sqrt(3 / n)
    assert 0.98 * bound < weight.abs().max() <= bound
    assert abs(weight.mean()) < 0.05 * bound
    weight = drawn(f'type: "msra" variance_norm: {norm}')
    assert weight.std() == pytest.approx(math.sqrt(2 / n), rel=0.03)


def test_positive_unitball_rows_sum_to_one() -> None:
    weight = drawn('type: "positive_unitball"')
    assert (weight >= 0).all()
    assert torch.allclose(weight.sum(dim=(1, 2, 3)), torch.ones(OUTPUTS))


def test_bilinear_kernels_interpolate_by_two_and_by_three() -> None:
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(drawn('type: "bilinear"', 1, 1, kernel=4)[0, 0], row[:, None] * row)
    row = torch.tensor([1, 2, 3, 2, 1]) / 3
    assert torch.allclose(drawn('type: "bilinear"', 1, 1, kernel=5)[0, 0], row[:, None] * row)


def test_the_seed_repeats_the_draws() -> None:
    assert torch.equal(drawn('type: "msra"'), drawn('type: "msra"'))


def test_an_unknown_filler_is_an_error() -> None:
    with pytest.raises(LayerError, match="layer 'conv': filler type is 'magic', expected bilinear, constant"):
        drawn('type: "magic"')


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ('type: "Scale"', [1.0]),
        ('type: "Scale" scale_param { bias_term: true }', [1.0, 0.0]),
        ('type: "Scale" scale_param { filler { value: 3 } }', [3.0]),
        ('type: "Bias"', [0.0]),
        ('type: "PReLU"', [0.25]),
        ('type: "PReLU" prelu_param { filler { value: 0.1 } }', [0.1]),
        ('type: "BatchNorm"', [0.0, 0.0, 0.0]),
    ],
)
def test_layers_start_where_caffe_starts_them(layer: str, expected: list[float]) -> None:
    net = load_net(
        parse_net(f"""
        input: "data" input_shape {{ dim: 1 dim: 2 dim: 3 dim: 3 }}
        layer {{ name: "l" bottom: "data" top: "l" {layer} }}""")
    )
    assert len(net.params["l"]) == len(expected)
    for blob, value in zip(net.params["l"], expected, strict=True):
        assert torch.equal(blob.detach(), torch.full_like(blob, value))
