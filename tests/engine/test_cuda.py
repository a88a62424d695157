"""Claim: a net predicts in a named precision, channels-last, and on a GPU from captured graphs, with the plain results.

Oracles: the plain net in float32 and float64; PyTorch's own switches; hand-made weights that change. What needs a GPU
skips without one.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cpm_port.caffe import parse_net
from cpm_port.engine import AcceleratedNet
from cpm_port.engine.cuda import GraphedNet, _Captured
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import PRECISIONS, PreciseNet, arithmetic, check_precision
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.inference.predict import predict_person
from tests.inference.nets import colour_net

CPU = torch.device("cpu")
BF16_STEP = 2.0**-8  # of a number's size: what rounding to bfloat16 may change

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


def test_switches_set_by_the_newer_names_do_not_get_in_the_way() -> None:
    """PyTorch refuses to read the older switches once the newer ones say something else; in a process of its own."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this PyTorch has one set of switches")
    code = """
import torch
from cpm_port.engine.precision import arithmetic
product, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
product.fp32_precision = "tf32"
before = product.fp32_precision, convolution.fp32_precision
for precision, device, expected in (("float32", "cpu", "ieee"), ("tf32", "cuda", "tf32")):
    with arithmetic(precision, torch.device(device)):
        assert (product.fp32_precision, convolution.fp32_precision) == (expected, expected)
    assert (product.fp32_precision, convolution.fp32_precision) == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_layouts_of_other_ranks_stay_as_they_are() -> None:
    text = """
name: "deep" input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 5 dim: 6 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
"""
    net, x = load_net(parse_net(text)), torch.randn(1, 2, 4, 5, 6)
    assert largest(PreciseNet(net)({"data": x})["c"], net({"data": x})["c"]) < 1e-6


@dataclass
class Recomputing:
    """Stands for a CUDA graph: a replay reads and writes the memory that the capture saw."""

    net: PreciseNet
    inputs: Mapping[str, Tensor]
    results: Mapping[str, Tensor]
    blobs: Sequence[str] | None

    def replay(self) -> None:
        for name, blob in PreciseNet._compute(self.net, self.inputs, self.blobs).items():
            self.results[name].copy_(blob)


class PretendedGpu(GraphedNet):
    """Goes the way of a GPU's graphs on a CPU; `captures` counts."""

    captures = 0

    def _compute(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> dict[str, Tensor]:
        return self._replay(inputs, blobs)

    def _capture(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> _Captured:
        self.captures += 1
        own = {name: tensor.clone() for name, tensor in inputs.items()}
        results = PreciseNet._compute(self, own, blobs)
        return _Captured(Recomputing(self, own, results, blobs), own, results)  # type: ignore[arg-type]


def test_every_shape_is_captured_once_and_replayed_with_what_is_given_now() -> None:
    net = small_net()
    graphed, plain = PretendedGpu(net), PreciseNet(net)
    for turn in range(2):
        for images, side in ((2, 32), (3, 32), (2, 48)):
            for seed in range(2):
                x = data(images, side) * (seed + 1)
                found, expected = graphed({"data": x}, ["pool1"]), plain({"data": x}, ["pool1"])
                assert list(found) == list(expected)
                assert all(torch.equal(found[name], blob) for name, blob in expected.items())
        assert graphed.captures == 3, turn
    graphed({"data": data()})
    assert graphed.captures == 4  # other blobs, another graph


def test_the_shape_that_was_not_used_for_longest_goes() -> None:
    graphed = PretendedGpu(small_net())
    for images in range(1, 9):
        graphed({"data": data(images)})
    graphed({"data": data(1)})  # used again
    graphed({"data": data(9)})
    assert graphed.captures == 9
    graphed({"data": data(1)})
    assert graphed.captures == 9
    graphed({"data": data(2)})
    assert graphed.captures == 10


def test_moved_weights_are_captured_anew_and_loaded_ones_are_seen() -> None:
    net = small_net()
    graphed, x = PretendedGpu(net), data()
    first = graphed({"data": x})["conv3"]
    with torch.no_grad():
        net.params["conv3"][1].add_(1.0)
    assert largest(graphed({"data": x})["conv3"], first + 1.0) < 1e-6
    assert graphed.captures == 1
    moved = net.params["conv3"][1]
    moved.data = moved.data.clone() + 1.0
    assert largest(graphed({"data": x})["conv3"], first + 2.0) < 1e-6
    assert graphed.captures == 2


def test_a_copy_captures_for_itself() -> None:
    graphed, x = PretendedGpu(small_net()), data()
    first = graphed({"data": x})["conv3"]
    copied = copy.deepcopy(graphed)
    with torch.no_grad():
        copied.net.params["conv3"][1].add_(1.0)
    assert largest(copied({"data": x})["conv3"], first + 1.0) < 1e-6
    assert torch.equal(graphed({"data": x})["conv3"], first)


def test_threads_get_the_results_of_their_own_inputs() -> None:
    net = small_net()
    graphed = PretendedGpu(net)
    inputs = [data() * scale for scale in (1, 2, 3, 4)]
    expected = [PreciseNet(net)({"data": x})["conv3"] for x in inputs]

    def ask(which: int) -> bool:
        return all(torch.equal(graphed({"data": inputs[which]})["conv3"], expected[which]) for _ in range(20))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(4)))


def test_float32_stays_so_under_autocast_from_outside() -> None:
    net, x = small_net(), data()
    expected = net({"data": x})["conv3"]
    precise = PreciseNet(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert largest(precise({"data": x})["conv3"], expected) < 1e-6


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", [fast_net, PreciseNet])
def test_a_bare_tensor_or_array_is_taken_in_every_precision(kind: Callable[..., nn.Module], precision: str) -> None:
    net = kind(load_net(parse_net(NET)), precision)
    data = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        named, bare, array = net({"data": data}), net(data), net(data.numpy())
    for name, blob in named.items():
        assert torch.equal(bare[name], blob)
        assert torch.equal(array[name], blob)


def test_precisions_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="'tf32' is a GPU's; the device is cpu"):
        PreciseNet(small_net(), "tf32")
    with pytest.raises(UsageError, match="'float16': expected one of float32, tf32, bf16"):
        PreciseNet(small_net(), "float16")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_gpu_that_only_imitates_a_precision_is_refused(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turing's compute capability is 7.5; Ampere, the first with TF32 and bf16, begins at 8.0."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for found in ((7, 5), (8, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=found: found)
        check_precision("float32", torch.device("cuda"))
        if found >= (8, 0):
            check_precision(precision, torch.device("cuda"))
            continue
        with pytest.raises(UsageError, match=f"{precision}.*compute capability 8.0 or more, got 7.5"):
            check_precision(precision, torch.device("cuda"))


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


@pytest.mark.gpu
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


@pytest.mark.gpu
def test_dropout_draws_anew_in_every_pass_and_is_captured_when_it_draws_nothing() -> None:
    text = NET + 'layer { name: "d" type: "Dropout" bottom: "data" top: "d" }'
    graphed = GraphedNet(load_net(parse_net(text, phase="TRAIN"), device="cuda"))
    x = data().cuda()
    first, second = graphed({"data": x})["d"].cpu(), graphed({"data": x})["d"].cpu()
    assert set((first / x.cpu()).unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, second)
    assert not graphed._graphs
    graphed.eval()
    assert torch.equal(graphed({"data": x})["d"].cpu(), x.cpu())
    assert len(graphed._graphs) == 1
    graphed.train()
    assert not torch.equal(graphed({"data": x})["d"].cpu(), x.cpu())


@pytest.mark.gpu
@pytest.mark.parametrize(
    "layer",
    [
        'type: "Nms" bottom: "data" nms_param { threshold: 0.3 num_parts: 3 max_peaks: 6 }',
        'type: "PriorBox" bottom: "data" bottom: "data" prior_box_param { min_size: 20 }',
        'type: "ROIPooling" bottom: "data" bottom: "rois" roi_pooling_param { pooled_h: 2 pooled_w: 2 }',
    ],
)
def test_what_needs_values_on_the_host_runs_uncaptured(layer: str) -> None:
    rois = 'layer { name: "r" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }'
    net = load_net(parse_net(f'{NET} {rois} layer {{ name: "l" top: "l" {layer} }}'))
    inputs = {"data": data(1), "rois": torch.tensor([[0.0, 3, 4, 20, 30]])}
    expected = net(inputs)["l"]
    graphed = GraphedNet(net.to("cuda"))
    for _ in range(2):
        assert torch.equal(graphed({name: tensor.cuda() for name, tensor in inputs.items()})["l"].cpu(), expected)
    assert not graphed._graphs


@pytest.mark.gpu
def test_every_pass_of_a_graphed_net_writes_its_file(tmp_path: Path) -> None:
    file = tmp_path / "out.h5"
    layer = f'type: "HDF5Output" bottom: "data" bottom: "data" hdf5_output_param {{ file_name: "{file}" }}'
    text = f'{NET} layer {{ name: "h" {layer} }}'
    graphed = GraphedNet(load_net(parse_net(text), device="cuda"))
    for _ in range(3):
        graphed({"data": data(1).cuda()})
    with h5py.File(file) as written:
        np.testing.assert_array_equal(written["data"], np.concatenate([data(1)] * 3))


@pytest.mark.gpu
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


@pytest.mark.gpu
def test_results_of_a_graph_stay_when_it_runs_again() -> None:
    graphed = GraphedNet(small_net("cuda"))
    first = graphed({"data": data().cuda()})["conv3"]
    kept = first.clone()
    graphed({"data": data().cuda() * 2})
    assert (first == kept).all()


@pytest.mark.gpu
def test_a_gpu_with_float32_keeps_what_a_cpu_gives() -> None:
    x = data()
    net = small_net()
    expected = net({"data": x})["conv3"].detach()
    found = fast_net(net.to("cuda"))({"data": x.cuda()})["conv3"].cpu()
    assert largest(found, expected) < 1e-5


@pytest.mark.gpu
def test_graphs_of_all_shapes_are_captured_on_one_stream_with_measured_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    capture = torch.cuda.graph

    def noted(graph: object, **options: Any) -> Any:
        seen.add((options["pool"], options["stream"], torch.backends.cudnn.benchmark))
        return capture(graph, **options)

    monkeypatch.setattr(torch.cuda, "graph", noted)
    before = torch.backends.cudnn.benchmark
    graphed = GraphedNet(small_net("cuda"))
    for images in (1, 2, 3):
        graphed({"data": data(images).cuda()})
    assert len(graphed._graphs) == 3
    ((_, _, measured),) = seen
    assert measured
    assert torch.backends.cudnn.benchmark == before


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "laid_out"), [("float32", False), ("tf32", True), ("bf16", True)])
def test_a_gpus_matrix_units_get_channels_last_and_float32_its_own_layout(precision: str, laid_out: bool) -> None:
    net = small_net("cuda")
    GraphedNet(net, precision)({"data": data().cuda()})  # type: ignore[arg-type]
    weight = net.params["conv1"][0]
    assert weight.is_contiguous(memory_format=torch.channels_last) == laid_out
    assert weight.is_contiguous() != laid_out
