"""Claim: a net predicts in a named precision, channels-last, and on a GPU from captured graphs, with the plain results.

Oracles: the plain net in float32 and float64; PyTorch's own switches; hand-made weights that change. What needs a GPU
skips without one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cpm_port.caffe import parse_net
from cpm_port.engine import AcceleratedNet
from cpm_port.engine.cuda import GraphedNet
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import PRECISIONS, PreciseNet, arithmetic
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.inference.predict import predict_person
from tests.inference.nets import colour_net

CPU = torch.device("cpu")
BF16_STEP = 2.0**-8  # of a number's size: what rounding to bfloat16 may change
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

NET = """
name: "small"
input: "data" input_dim: 1 input_dim: 4 input_dim: 32 input_dim: 32
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 16 kernel_size: 9 pad: 4 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { num_output: 8 kernel_size: 5 pad: 2 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "data" top: "pool2"
        pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "both" type: "Concat" bottom: "conv2" bottom: "pool2" top: "both" }
layer { name: "conv3" type: "Convolution" bottom: "both" top: "conv3"
        convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "xavier" } } }
"""


def small_net(device: str = "cpu") -> CaffeNet:
    torch.manual_seed(3)
    return load_net(parse_net(NET), device=device)


def data(images: int = 2, side: int = 32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(5).standard_normal((images, 4, side, side)).astype(np.float32))


def largest(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((a.detach().double() - b.detach().double()).abs().max() / b.detach().double().abs().max())


def switches() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_float32_is_what_the_plain_net_gives() -> None:
    net, x = small_net(), data()
    expected = net({"data": x}, ["pool1"])
    found = PreciseNet(net)({"data": x}, ["pool1"])
    assert list(found) == list(expected) == ["conv3", "pool1"]
    for name, blob in expected.items():
        assert found[name].shape == blob.shape
        assert found[name].is_contiguous()
        assert largest(found[name], blob) < 1e-6


def test_bf16_rounds_as_much_as_bfloat16_does_and_returns_float32() -> None:
    net, x = small_net(), data()
    expected = net({"data": x})["conv3"].detach()
    found = PreciseNet(net, "bf16")({"data": x})["conv3"]
    assert found.dtype == torch.float32
    assert BF16_STEP / 16 < largest(found, expected) < 4 * BF16_STEP  # three rounded layers, and rounded indeed
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_convolutions_see_their_inputs_channels_last() -> None:
    net = small_net()
    seen: dict[str, bool] = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0].is_contiguous(memory_format=torch.channels_last)

        return hook

    for name in ("conv1", "conv2", "conv3"):
        net.get_submodule(name).register_forward_pre_hook(note(name))  # type: ignore[arg-type]
    PreciseNet(net)({"data": data()})
    assert seen == {"conv1": True, "conv2": True, "conv3": True}
    for layer in ("conv1", "conv2"):
        assert net.params[layer][0].is_contiguous(memory_format=torch.channels_last)


def test_the_laid_out_net_still_saves_and_loads_as_before(tmp_path: object) -> None:
    net = small_net()
    before = {name: [blob.detach().clone() for blob in blobs] for name, blobs in net.params.items()}
    PreciseNet(net)
    net.save(f"{tmp_path}/small.caffemodel")
    again = load_net(parse_net(NET), f"{tmp_path}/small.caffemodel")
    for name, blobs in before.items():
        for mine, theirs in zip(blobs, again.params[name], strict=True):
            assert (mine == theirs).all()


def test_results_carry_no_gradients_and_follow_the_weights() -> None:
    net, x = small_net(), data()
    precise = PreciseNet(net)
    first = precise({"data": x})["conv3"]
    assert not first.requires_grad
    with torch.no_grad():
        net.params["conv3"][1].add_(1.0)
    assert largest(precise({"data": x})["conv3"], first + 1.0) < 1e-6


@pytest.fixture
def switches_put_back() -> Iterator[None]:
    before = switches()
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def broken(precision: str, device: torch.device, inside: list[object]) -> None:
    with arithmetic(precision, device):  # type: ignore[arg-type]
        inside += [switches(), torch.is_autocast_enabled("cpu")]
        raise ZeroDivisionError


@pytest.mark.usefixtures("switches_put_back")
@pytest.mark.parametrize("before", [(True, False), (False, True)])
@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("float32", CPU, [(False, False), False]),
        ("bf16", CPU, [(False, False), True]),
        ("tf32", torch.device("cuda"), [(True, True), False]),
    ],
)
def test_switches_are_as_asked_and_put_back_whatever_happens(
    before: tuple[bool, bool], precision: str, device: torch.device, expected: list[object]
) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    inside: list[object] = []
    with pytest.raises(ZeroDivisionError):
        broken(precision, device, inside)
    assert inside == expected
    assert switches() == before
    assert not torch.is_autocast_enabled("cpu")


def test_float32_stays_so_under_autocast_from_outside() -> None:
    net, x = small_net(), data()
    expected = net({"data": x})["conv3"]
    precise = PreciseNet(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert largest(precise({"data": x})["conv3"], expected) < 1e-6


def test_precisions_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="'tf32' is a GPU's; the device is cpu"):
        PreciseNet(small_net(), "tf32")
    with pytest.raises(UsageError, match="'float16': expected one of float32, tf32, bf16"):
        PreciseNet(small_net(), "float16")  # type: ignore[arg-type]


def test_without_a_gpu_a_graphed_net_just_runs() -> None:
    net, x = small_net(), data()
    assert largest(GraphedNet(net)({"data": x})["conv3"], net({"data": x})["conv3"]) < 1e-6


def test_each_device_and_precision_has_its_way() -> None:
    assert type(fast_net(small_net())) is AcceleratedNet
    assert type(fast_net(small_net(), "bf16")) is PreciseNet
    with pytest.raises(UsageError, match="tf32"):
        fast_net(small_net(), "tf32")


def test_a_bound_and_a_plan_reach_the_fourier_engine_and_are_refused_elsewhere() -> None:
    fast = fast_net(small_net(), memory_bound=0, plan="measure")
    assert isinstance(fast, AcceleratedNet)
    assert (fast.memory_bound, fast.plan_source) == (0, "measure")
    for options in ({"memory_bound": 1}, {"plan": "model"}):
        with pytest.raises(UsageError, match="for float32 on a CPU"):
            fast_net(small_net(), "bf16", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_people_are_found_in_every_precision(precision: str) -> None:
    image = np.zeros((80, 100, 3), np.uint8)
    spots = ((20, 30), (70, 25), (45, 60))
    for channel, (x, y) in enumerate(spots):
        image[y - 6 : y + 7, x - 6 : x + 7, channel] = 250
    found = predict_person(fast_net(colour_net(), precision), image, (50.0, 40.0), 0.6)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.joints_image, spots, atol=5)


@needs_gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graph_replays_what_the_net_computes(precision: str) -> None:
    net = small_net("cuda")
    graphed, plain = GraphedNet(net, precision), PreciseNet(net, precision)  # type: ignore[arg-type]
    for images, side in ((2, 32), (3, 32), (2, 48), (2, 32), (3, 32)):
        for seed in range(2):
            x = data(images, side).cuda() * (seed + 1)
            found, expected = graphed({"data": x}, ["pool1"]), plain({"data": x}, ["pool1"])
            assert list(found) == list(expected)
            for name, blob in expected.items():
                assert largest(found[name], blob) < 1e-5


@needs_gpu
def test_a_graph_sees_loaded_weights_and_moved_ones() -> None:
    net = small_net("cuda")
    graphed, x = GraphedNet(net), data().cuda()
    first = graphed({"data": x})["conv3"]
    with torch.no_grad():
        net.params["conv3"][1].add_(1.0)
    assert largest(graphed({"data": x})["conv3"], first + 1.0) < 1e-5
    moved = net.params["conv3"][1]
    moved.data = moved.data.clone() + 1.0
    assert largest(graphed({"data": x})["conv3"], first + 2.0) < 1e-5


@needs_gpu
def test_results_of_a_graph_stay_when_it_runs_again() -> None:
    graphed = GraphedNet(small_net("cuda"))
    first = graphed({"data": data().cuda()})["conv3"]
    kept = first.clone()
    graphed({"data": data().cuda() * 2})
    assert (first == kept).all()


@needs_gpu
def test_a_gpu_with_float32_keeps_what_a_cpu_gives() -> None:
    x = data()
    net = small_net()
    expected = net({"data": x})["conv3"].detach()
    found = fast_net(net.to("cuda"))({"data": x.cuda()})["conv3"].cpu()
    assert largest(found, expected) < 1e-5
