"""The readable modules compute what the Caffe nets compute: oracles, real Caffe's outputs and `load_net`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import cpm_port
from cpm_port.caffe import parse_net
from cpm_port.errors import ShapeError, WeightsError
from cpm_port.models import (
    ARCHITECTURES,
    CPM,
    Widths,
    architecture,
    build,
    caffe_names,
    deploy_text,
    from_caffe,
    to_caffe,
)

WIDTH = 8
SAME_SUMS = 1e-6  # the two forms run the same convolutions; only views and concatenations differ
REAL_CAFFE = 1e-5  # float32 sums in another order


def seeded(name: str, width: int = WIDTH) -> torch.nn.Module:
    net = build(architecture(name, width=width))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in net.parameters():
            fan_in = parameter[0].numel() if parameter.ndim == 4 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return net.eval()


def caffe_recipe(names: dict[str, str], shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Return the reference runs' weights (tests/golden/models/provenance.json) as a state dict."""
    draw = np.random.RandomState(seed)
    state = {}
    for path in names:
        shape = shapes[f"{path}.weight"]
        weight = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        bias = draw.standard_normal(shape[0]) * 0.1
        state[f"{path}.weight"] = torch.from_numpy(weight.astype(np.float32))
        state[f"{path}.bias"] = torch.from_numpy(bias.astype(np.float32))
    return state


def largest_relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(80, 80), (64, 96)])
def test_every_stage_of_the_module_equals_the_caffe_net(name: str, size: tuple[int, int]) -> None:
    net = architecture(name, width=WIDTH)
    module = seeded(name)
    twin = cpm_port.load_net(parse_net(deploy_text(net)), to_caffe(module.state_dict(), net))
    data = torch.randn(2, net.channels, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = module(data)
        blobs = twin({net.input_name: data}, blobs=list(net.outputs))
    assert len(ours) == net.stages
    for beliefs, blob in zip(ours, net.outputs, strict=True):
        assert largest_relative(beliefs.numpy(), blobs[blob].numpy()) <= SAME_SUMS, blob


def test_every_stage_of_the_flic_net_equals_real_caffe(golden: Callable[[str], dict[str, np.ndarray]]) -> None:
    expected = golden("models/flic_small.npz")
    net = architecture("flic", width=16)
    module = build(net)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict(caffe_recipe(caffe_names(net), shapes, seed=79))
    with torch.no_grad():
        stages = module(torch.from_numpy(expected["data"]))
    for beliefs, blob in zip(stages, net.outputs, strict=True):
        assert largest_relative(beliefs.numpy(), expected[blob]) <= REAL_CAFFE, blob


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_convert_both_ways_without_loss(name: str) -> None:
    net = architecture(name, width=WIDTH)
    state = seeded(name).state_dict()
    blobs = to_caffe(state, net)
    back = from_caffe(blobs, net)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    learned = ("Convolution", "Deconvolution")
    assert list(blobs) == [layer.name for layer in parse_net(deploy_text(net)).layers if layer.type in learned]


@pytest.mark.parametrize(
    ("name", "convolutions", "parameters"),
    [
        ("mpi", 40, 31_219_866),
        ("leeds", 40, 31_219_866),
        ("flic", 28, None),
        ("mpi-vgg", 52, None),
        ("person", 37, None),
    ],
)
def test_the_released_sizes(name: str, convolutions: int, parameters: int | None) -> None:
    """The notes give 40 and 52 convolutions, and 125 MB: 31,219,866 float32 values are 124.9 MB."""
    net = architecture(name)
    assert len(caffe_names(net)) == convolutions
    if parameters is not None:
        with torch.device("meta"):
            assert sum(p.numel() for p in build(net).parameters()) == parameters


def test_a_net_of_ones_own_needs_no_architecture() -> None:
    net = CPM(stages=2, parts=3, widths=Widths(4, 5, 6, 7))
    assert [tuple(b.shape) for b in net(torch.zeros(1, 4, 48, 40))] == [(1, 4, 6, 5)] * 2


@pytest.mark.parametrize("shape", [(1, 3, 40, 40), (1, 4, 44, 40), (4, 40, 40)])
def test_an_input_that_the_poolings_would_tear_apart_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(N, 4, H, W\), H and W multiples of 8"):
        CPM(stages=2, parts=2, widths=Widths(4, 4, 4, 4))(torch.zeros(shape))


def test_gradients_reach_the_first_convolution_of_both_trunks() -> None:
    torch.manual_seed(1)  # of some weights, nothing passes the ReLUs of so narrow a net
    net = CPM(stages=2, parts=2, widths=Widths(4, 4, 4, 4))
    torch.stack([b.square().sum() for b in net(torch.randn(1, 4, 40, 40))]).sum().backward()
    for trunk in (net.first_trunk, net.trunk):
        assert trunk[0].weight.grad.abs().sum() > 0


def test_a_bias_of_the_old_four_dimensions_is_read() -> None:
    net = architecture("flic", width=WIDTH, stages=1)
    blobs = to_caffe(build(net).state_dict(), net)
    old = {layer: (weight, bias.reshape(1, 1, 1, -1)) for layer, (weight, bias) in blobs.items()}
    back = from_caffe(old, net)
    np.testing.assert_array_equal(back["first_context.conv.bias"].numpy(), blobs["conv4_stage1"][1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_precision_become_float32(dtype: torch.dtype) -> None:
    net = architecture("flic", width=WIDTH, stages=1)
    state = build(net).to(dtype).state_dict()
    (weight, _) = to_caffe(state, net)["conv1_stage1"]
    np.testing.assert_array_equal(weight, state["first_trunk.conv1.weight"].float().numpy(), strict=True)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_wrappers_state_dict_is_told_by_its_names(prefix: str) -> None:
    net = architecture("flic", width=WIDTH, stages=1)
    state = {prefix + name: value for name, value in build(net).state_dict().items()}
    with pytest.raises(WeightsError, match=f"names begin with '{prefix}', expected 'first_trunk.conv1.weight' and so"):
        to_caffe(state, net)


def test_every_misfit_is_listed_at_once() -> None:
    net = architecture("flic", width=WIDTH, stages=1)
    blobs = to_caffe(build(net).state_dict(), net)
    del blobs["conv1_stage1"]
    blobs["conv9"] = (np.zeros((1,), np.float32),)
    blobs["conv4_stage1"] = (blobs["conv4_stage1"][0][:3], blobs["conv4_stage1"][1])
    with pytest.raises(WeightsError, match=r"4 differences") as caught:
        from_caffe(blobs, net)
    text = str(caught.value)
    assert "conv1_stage1[0]: missing, expected (8, 3, 9, 9)" in text
    assert "conv9[0]: not in this architecture" in text
    assert "conv4_stage1[0]: is (3, 8, 5, 5), expected (8, 8, 5, 5)" in text
