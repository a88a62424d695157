"""An accelerated net is the net: outputs (oracles: real Caffe's, and the net's own layers), parameters, gradients.

`TOLERANCE` is the engine's promise between its arithmetic and the plain layers', of each blob's largest value.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.engine import AcceleratedNet, accelerate
from cpm_port.engine import plan as plans
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import architecture, deploy_text
from tests.graph.support import REAL_CAFFE, recipe_input, recipe_weights, relative_error
from tests.support import load_golden

TOLERANCE = 1e-5
BELIEFS = "Mconv5_stage2"


@pytest.fixture(autouse=True)
def worth_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small nets gain little by the engine's own ways: take them all the same."""
    monkeypatch.setattr("cpm_port.engine.plan._WORTH_COMPILING", 1.0)


def make(width: int = 32, stages: int = 2) -> CaffeNet:
    net = load_net(parse_net(deploy_text(architecture("mpi", width=width, stages=stages))))
    net.load_weights(recipe_weights(net, 3))
    return net


@pytest.fixture
def net() -> CaffeNet:
    return make()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "cache_file", lambda: tmp_path / "times.json")


def data(count: int = 1, height: int = 48, width: int = 56) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([recipe_input(height, width, seed) for seed in range(count)]))


def compare(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    errors = {blob: relative_error(found[blob], tensor.numpy()) for blob, tensor in expected.items()}
    assert max(errors.values()) <= TOLERANCE, errors


def run(net: CaffeNet, x: torch.Tensor, blobs: list[str] | None = None) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return net({"data": x}, blobs)


@pytest.mark.parametrize(
    ("name", "arch", "seed", "size"),
    [("mpi_small_rect", "mpi", 77, (248, 328)), ("leeds_small", "leeds", 78, (184, 184))],
)
def test_small_nets_equal_caffe(name: str, arch: str, seed: int, size: tuple[int, int]) -> None:
    net = load_net(parse_net(deploy_text(architecture(arch, width=16))))
    net.load_weights(recipe_weights(net, seed))
    expected = load_golden(f"caffe/nets/{name}.npz")
    fast = accelerate(net)
    found = run(fast, torch.from_numpy(recipe_input(*size, seed=5)), list(expected))
    assert any(fast.ways.values())
    errors = {blob: relative_error(found[blob], array) for blob, array in expected.items()}
    assert max(errors.values()) <= REAL_CAFFE, errors


def test_the_full_size_net_equals_caffe() -> None:
    net = load_net(parse_net(deploy_text(architecture("mpi"))))
    net.load_weights(recipe_weights(net, 20160701))
    expected = load_golden("caffe/nets/mpi_full.npz")
    fast = accelerate(net)
    found = run(fast, torch.from_numpy(recipe_input(368, 368, seed=368)), list(expected))
    assert all(fast.ways.values()), "every convolution has a faster way than the direct one"
    errors = {blob: relative_error(found[blob], array) for blob, array in expected.items()}
    assert max(errors.values()) <= REAL_CAFFE, errors


@pytest.mark.parametrize("shape", [(1, 64, 80), (3, 48, 64), (1, 104, 56)])
def test_every_blob_equals_the_plain_layers(net: CaffeNet, shape: tuple[int, int, int]) -> None:
    blobs = [name for name in net.blob_shapes if name != "data"]
    x = data(*shape)
    compare(run(accelerate(net), x, blobs), run(net, x, blobs))


@pytest.mark.parametrize("arch", ["mpi-vgg", "person", "flic"])
def test_other_architectures_equal_the_plain_layers(arch: str) -> None:
    net = load_net(parse_net(deploy_text(architecture(arch, width=16, stages=2))))
    net.load_weights(recipe_weights(net, 1))
    channels = next(iter(net.inputs.values()))[1]
    x = data(2)[:, :channels].contiguous()
    fast = accelerate(net)
    with torch.no_grad():
        compare(fast(x), net(x))


def test_results_are_the_same_in_every_run_and_c_contiguous(net: CaffeNet) -> None:
    fast = accelerate(net)
    first, again = run(fast, data(2)), run(fast, data(2))
    assert all(torch.equal(first[blob], again[blob]) and first[blob].is_contiguous() for blob in first)


def test_it_is_a_caffe_net_with_the_same_parameters(net: CaffeNet) -> None:
    fast = accelerate(net)
    assert isinstance(fast, CaffeNet)
    assert fast.spec is net.spec
    assert list(fast.state_dict()) == list(net.state_dict())
    for layer, blobs in net.params.items():
        assert all(a is b for a, b in zip(blobs, fast.params[layer], strict=True))


def test_a_copy_is_of_its_own(net: CaffeNet) -> None:
    fast = accelerate(net)
    before = run(fast, data())[BELIEFS]
    copied = copy.deepcopy(fast)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(run(fast, data())[BELIEFS], before)
    assert not run(copied, data())[BELIEFS].any()


def test_copies_and_pickles_hold_the_parameters_once(net: CaffeNet) -> None:
    fast = accelerate(net, memory_bound=8 << 20, plan="model")
    before = run(fast, data())[BELIEFS]
    assert fast.transformed_bytes
    stored = pickle.dumps(fast)
    assert len(stored) < 1.1 * len(pickle.dumps(net))
    for copied in (copy.deepcopy(fast), pickle.loads(stored)):
        assert copied.transformed_bytes == 0
        assert copied.memory_bound == fast.memory_bound
        assert torch.equal(run(copied, data())[BELIEFS], before)


def test_hooks_on_layers_see_every_layer(net: CaffeNet) -> None:
    fast, seen = accelerate(net), []
    handles = [
        net.get_submodule(step.key).register_forward_hook(lambda module, *_: seen.append(module.spec.name))
        for step in net.steps
    ]
    compare(run(fast, data()), run(net, data()))
    names = [step.spec.name for step in net.steps]
    assert seen == names * 2
    for handle in handles:
        handle.remove()
    run(fast, data())
    assert fast.transformed_bytes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite_spoil_what_they_spoil_in_the_plain_net(net: CaffeNet, value: float) -> None:
    x = data(3)
    x[0, 0, -1, -1] = value
    found, expected = run(accelerate(net), x, ["pool1_stage1"]), run(net, x, ["pool1_stage1"])
    for blob, tensor in expected.items():
        assert torch.equal(torch.isfinite(found[blob]), torch.isfinite(tensor))
        assert torch.isfinite(tensor[1:]).all()


@pytest.mark.parametrize("plan", ["model", "measure"])
def test_an_empty_batch_gives_empty_maps(net: CaffeNet, plan: str, own_cache: None) -> None:
    found, expected = run(accelerate(net, plan=plan), data()[:0]), run(net, data()[:0])
    assert {blob: tensor.shape for blob, tensor in found.items()} == {blob: t.shape for blob, t in expected.items()}


def test_threads_take_turns_and_keep_the_memory_bound() -> None:
    net = make(width=16)
    fast = accelerate(net, memory_bound=4 << 20)
    inputs = [data(1, 40 + 8 * (i % 3), 48 + 8 * (i // 3)) for i in range(6)]
    expected = [run(net, x) for x in inputs]
    over: list[int] = []

    def predict(thread: int) -> None:
        for turn in range(12):
            which = (turn * (thread + 1) + thread) % len(inputs)
            compare(run(fast, inputs[which]), expected[which])
            if fast.transformed_bytes + (fast.memory_bound // 8) > fast.memory_bound:
                over.append(fast.transformed_bytes)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(predict, range(4)))
    assert not over


ODD = """
name: "odd" input: "data" input_dim: 1 input_dim: 16 input_dim: 24 input_dim: 30
input: "other" input_dim: 1 input_dim: 16 input_dim: 24 input_dim: 30
layer { name: "two" type: "Convolution" bottom: "data" bottom: "other" top: "a" top: "b"
        convolution_param { num_output: 16 kernel_size: 9 pad: 4 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "grouped" type: "Convolution" bottom: "a" top: "c"
        convolution_param { num_output: 32 group: 2 kernel_size: 5 pad: 2 weight_filler { type: "xavier" } } }
layer { name: "dilated" type: "Convolution" bottom: "c" top: "d"
        convolution_param { num_output: 16 kernel_size: 3 pad: 2 dilation: 2 weight_filler { type: "xavier" } } }
layer { name: "strided" type: "Convolution" bottom: "d" top: "e"
        convolution_param { num_output: 16 kernel_size: 5 pad: 2 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "flat" type: "Convolution" bottom: "e" top: "f"
        convolution_param { num_output: 16 kernel_h: 1 kernel_w: 5 pad_w: 2 weight_filler { type: "xavier" } } }
layer { name: "unbiased" type: "Convolution" bottom: "f" top: "g"
        convolution_param { num_output: 32 kernel_size: 7 pad: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "leaky" type: "ReLU" bottom: "g" top: "g" relu_param { negative_slope: 0.1 } }
layer { name: "few" type: "Convolution" bottom: "g" top: "h"
        convolution_param { num_output: 5 kernel_size: 9 pad: 4 weight_filler { type: "xavier" } } }
"""


@pytest.mark.parametrize("shape", [(1, 24, 30), (2, 7, 50), (5, 40, 16)])
def test_layers_that_the_engine_does_not_cover_run_as_they_are(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    net = load_net(parse_net(ODD))
    fast = accelerate(net)
    count, height, width = shape
    noise = torch.randn(2, count, 16, height, width)
    whole = torch.randn(count, 16, 2 * height, 2 * width)
    for x in (noise[0], noise[0].contiguous(memory_format=torch.channels_last), whole[:, :, ::2, ::2]):
        inputs = {"data": x, "other": noise[1]}
        blobs = [blob for blob in net.blob_shapes if blob not in inputs]
        with torch.no_grad():
            compare(fast(inputs, blobs), net(inputs, blobs))
    assert set(fast.ways) == {"unbiased", "few"}


def test_gradients_are_those_of_the_plain_layers(net: CaffeNet) -> None:
    fast, gradients = accelerate(net), []
    for way in (net, fast):
        way.zero_grad()
        way({"data": data()})[BELIEFS].square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None)
    assert fast.transformed_bytes == 0


def by_solver(net: CaffeNet) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.9)


def by_data(net: CaffeNet) -> None:
    for parameter in net.parameters():
        parameter.data.mul_(0.9)


def by_loading(net: CaffeNet) -> None:
    net.load_weights(recipe_weights(net, 4))


def by_replacing(net: CaffeNet) -> None:
    net.load_state_dict({name: tensor * 0.9 for name, tensor in net.state_dict().items()}, assign=True)


@pytest.mark.parametrize("change", [by_solver, by_data, by_loading, by_replacing])
def test_changed_weights_are_noticed(net: CaffeNet, change: Callable[[CaffeNet], None]) -> None:
    fast = accelerate(net)
    before = run(fast, data())[BELIEFS]
    change(net)
    after = run(fast, data())
    assert not torch.equal(after[BELIEFS], before)
    compare(after, run(net, data()))


def test_looking_for_changes_copies_no_weights(net: CaffeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout other than NCHW, too, is sampled where it lies; and a change of layout alone changes nothing else."""
    fast = accelerate(net)
    before = run(fast, data())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compare(run(fast, data()), before)
    monkeypatch.setattr("cpm_port.engine.net.prepare", lambda *_: pytest.fail("nothing has changed"))
    weight = net.params["Mconv1_stage2"][0]
    assert not weight.is_contiguous()
    monkeypatch.setattr(torch.Tensor, "reshape", lambda *_: pytest.fail("copied"))
    run(fast, data())


def test_tensors_without_a_version_are_looked_at_whole() -> None:
    """Parameters that were made in inference mode; one value of some thousand changes."""
    with torch.inference_mode():
        net = make()
        fast = accelerate(net)
        before = run(fast, data())[BELIEFS]
        weight = net.params["conv1_stage1"][0]
        assert weight.is_inference()
        assert fast.ways["conv1_stage1"]
        weight[3, 1, 2, 4] += 50.0
        after = run(fast, data())
        assert not torch.equal(after[BELIEFS], before)
        compare(after, run(net, data()))


@pytest.mark.parametrize("bound", [0, 1 << 20, 3 << 20, 8 << 20])
def test_the_memory_bound_is_kept_at_all_sizes(bound: int) -> None:
    net = make(width=16, stages=2)
    fast = accelerate(net, memory_bound=bound)
    for shape in [(1, 48, 48), (2, 64, 40), (1, 48, 48)]:
        x = data(*shape)
        compare(run(fast, x), run(net, x))
        assert fast.transformed_bytes + bound // 8 <= bound
    assert any(fast.ways.values()) == (bound > 0)


def test_without_memory_every_convolution_is_direct(net: CaffeNet) -> None:
    fast = accelerate(net, memory_bound=0)
    run(fast, data())
    assert set(fast.ways.values()) == {0}


def test_forgetting_frees_the_weights_and_changes_nothing(net: CaffeNet) -> None:
    fast = accelerate(net)
    before = run(fast, data())[BELIEFS]
    assert fast.transformed_bytes
    fast.forget()
    assert fast.transformed_bytes == 0
    assert torch.equal(run(fast, data())[BELIEFS], before)


@pytest.mark.parametrize("kept", [(1, 0, 1, 0), (0, 0, 0, 0), (1, 1, 1, 1)])
def test_shapes_behind_a_layer_whose_size_its_values_tell_are_those_of_the_plain_net(kept: tuple[int, ...]) -> None:
    text = """
        input: "d" input_shape { dim: 4 dim: 4 dim: 24 dim: 20 } input: "s" input_shape { dim: 4 }
        layer { name: "f" type: "Filter" bottom: "d" bottom: "s" top: "f" }
        layer { name: "c" type: "Convolution" bottom: "f" top: "c"
                convolution_param { num_output: 16 kernel_size: 11 pad: 5 weight_filler { type: "xavier" } } }"""
    plain = load_net(parse_net(text))
    fast = accelerate(load_net(parse_net(text), dict(plain.params)))
    inputs = {"d": torch.rand(4, 4, 24, 20), "s": torch.tensor(kept, dtype=torch.float32)}
    with torch.no_grad():
        found, expected = fast(inputs)["c"], plain(inputs)["c"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert fast.blob_shapes == plain.blob_shapes
    assert fast.blob_shapes["c"][0] == sum(kept)


def test_double_precision_runs_the_plain_layers(net: CaffeNet) -> None:
    net.double()
    fast = accelerate(net)
    x = data().double()
    assert torch.equal(run(fast, x)[BELIEFS], run(net, x)[BELIEFS])
    assert fast.transformed_bytes == 0


class Counted(torch.Tensor):
    """A tensor that sees every operation."""

    seen = 0

    @classmethod
    def __torch_function__(
        cls, function: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        cls.seen += getattr(function, "__name__", "") == "conv2d"
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_tensor_of_a_kind_of_its_own_sees_the_plain_layers(net: CaffeNet) -> None:
    fast = accelerate(net)
    found = run(fast, data().as_subclass(Counted))[BELIEFS]
    assert Counted.seen > 5
    assert torch.equal(found.as_subclass(torch.Tensor), run(net, data())[BELIEFS])
    assert fast.transformed_bytes == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own jvp
def test_what_torch_does_with_functions_it_does_with_the_net(net: CaffeNet) -> None:
    """Mapped over, differentiated forwards, called with other parameters: as the plain net."""
    fast, x = accelerate(net), data(2)
    halves = {name: tensor.detach() / 2 for name, tensor in net.state_dict().items()}

    def results(way: CaffeNet) -> list[torch.Tensor]:
        def one(y: torch.Tensor) -> torch.Tensor:
            return way({"data": y})[BELIEFS]

        mapped = torch.func.vmap(lambda y: one(y[None])[0])(x)
        _, tangent = torch.func.jvp(one, (x,), (x,))
        return [mapped, tangent, torch.func.functional_call(way, halves, ({"data": x},))[BELIEFS], one(x)]

    with torch.no_grad():
        for found, expected in zip(results(fast), results(net), strict=True):
            assert relative_error(found, expected.numpy()) <= TOLERANCE


def test_autocast_runs_the_plain_layers(net: CaffeNet) -> None:
    fast = accelerate(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(fast, data())[BELIEFS], run(net, data())[BELIEFS])
    assert fast.transformed_bytes == 0


def test_an_input_that_wants_gradients_is_taken_where_none_are_recorded(net: CaffeNet) -> None:
    with torch.no_grad():
        compare(accelerate(net)(data().requires_grad_()), net(data()))


def test_wrong_inputs_raise_as_in_the_plain_net(net: CaffeNet) -> None:
    fast = accelerate(net)
    with torch.no_grad(), pytest.raises(UsageError, match="no blob 'conv9'"):
        fast(data(), ["conv9"])
    with torch.no_grad(), pytest.raises(UsageError, match="the net's inputs are"):
        fast({"image": data()})


def test_measured_plans_are_kept_in_the_users_cache_folder(
    net: CaffeNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "cache_file", lambda: tmp_path / "times.json")
    x = data(1, 40, 40)
    compare(run(accelerate(net, plan="measure"), x), run(net, x))
    (times,) = json.loads((tmp_path / "times.json").read_text()).values()
    assert all("0" in ways for ways in times.values())
    assert any(len(ways) > 1 for ways in times.values())
    monkeypatch.setattr(plans, "_time", lambda *_: pytest.fail("measured again"))
    compare(run(accelerate(net, plan="measure"), x), run(net, x))


@pytest.mark.parametrize("arguments", [{"memory_bound": -1}, {"plan": "guess"}])
def test_wrong_arguments_are_named(net: CaffeNet, arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        accelerate(net, **arguments)


def test_accelerating_twice_is_accelerating_once(net: CaffeNet) -> None:
    fast = accelerate(accelerate(net))
    assert isinstance(fast, AcceleratedNet)
    compare(run(fast, data()), run(net, data()))
