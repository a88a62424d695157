"""A learning net trains as the net does: losses, gradients, weights after twenty iterations. Oracle: its own layers.

`TOLERANCE` is the engine's promise, of each tensor's largest value. A rounding that moves a value over a ReLU's kink,
or past its neighbour in a max-pooling's window, changes gradients by a jump, in the plain layers as well; so gradients
of a whole net are compared with TanH and average pooling in their places.
"""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
from torch import Tensor

from cpm_port.caffe import parse_net, parse_solver
from cpm_port.engine import LearningNet, learning
from cpm_port.engine.learning import LearningJob, tile_size
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import TrainingData, architecture, train_text
from cpm_port.training.objective import Objective
from cpm_port.training.presets import fill_like_he, recipe_of

TOLERANCE = 1e-5
SOLVER = 'lr_policy: "fixed" base_lr: 1e-5 momentum: 0.9 weight_decay: 0.0005'


@pytest.fixture(autouse=True)
def wherever_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct sums are slow: so the small maps of the tests are worth the engine's while, but for 1 x 1 kernels."""
    monkeypatch.setattr(learning, "_DIRECT", 1e6)
    monkeypatch.setattr(learning, "_DIRECT_FEW", 1e6)


def make(*replacements: tuple[str, str], stages: int = 2) -> CaffeNet:
    text = train_text(architecture("mpi", stages=stages, width=16, box=(32, 32)), TrainingData(batch_size=2))
    for old, new in replacements:
        text, count = re.subn(old, new, text, flags=re.DOTALL)
        assert count, old
    torch.manual_seed(1)
    net = load_net(parse_net(text, phase="TRAIN"))
    fill_like_he(net, list(net.params))
    return net


SMOOTH = ('type: "ReLU"', 'type: "TanH"'), ("pool: MAX", "pool: AVE")


def batch(net: CaffeNet, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in net.inputs.items()}


def differentiate(net: CaffeNet, *, engine: bool) -> dict[str, Tensor]:
    """Return the losses, and the gradients of all parameters that have any."""
    net.zero_grad(set_to_none=True)
    losses = Objective(net, engine=engine)(batch(net))
    losses.sum().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    return {"losses": losses.detach(), **gradients}


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    pairs = [(found[name].detach(), right.detach()) for name, right in expected.items()]
    return max(float((left - right).abs().max() / right.abs().max()) for left, right in pairs)


def test_losses_and_gradients_are_those_of_the_plain_layers() -> None:
    net = make(*SMOOTH)
    assert distance(differentiate(net, engine=True), differentiate(net, engine=False)) < TOLERANCE


def test_losses_are_those_of_the_plain_layers_with_relus_and_maxima() -> None:
    net = make()
    found, expected = (differentiate(net, engine=engine) for engine in (True, False))
    assert distance({"losses": found["losses"]}, {"losses": expected["losses"]}) < TOLERANCE


def test_large_convolutions_run_in_the_frequency_domain_and_others_as_they_are() -> None:
    fast = LearningNet(make())
    fast(batch(fast))
    assert {layer for layer, size in fast.learning_ways.items() if size} >= {"conv1_stage1", "Mconv3_stage2"}
    assert fast.learning_ways["Mconv5_stage2"] == 0


def test_twenty_iterations_end_on_the_plain_layers_weights() -> None:
    ends = []
    for engine in (True, False):
        net = make(*SMOOTH, stages=1)
        objective = Objective(net, engine=engine)
        optimizer, _ = recipe_of(parse_solver(SOLVER), net.param_info())
        for iteration in range(20):
            optimizer.zero_grad(set_to_none=True)
            objective(batch(net, iteration)).sum().backward()
            optimizer.step()
        ends.append({name: parameter.detach() for name, parameter in net.named_parameters()})
    start = {name: parameter.detach() for name, parameter in make(*SMOOTH, stages=1).named_parameters()}
    assert distance(start, ends[1]) > 100 * TOLERANCE
    assert distance(*ends) < TOLERANCE


def test_a_frozen_layer_and_what_lies_before_a_layer_that_hands_nothing_down_get_no_gradient() -> None:
    frozen = ('(name: "Mconv2_stage2".*?)lr_mult: 1', r"\1lr_mult: 0")
    net = make(frozen, ('name: "conv5_stage1"', 'name: "conv5_stage1" propagate_down: false'), *SMOOTH)
    found, expected = (differentiate(net, engine=engine) for engine in (True, False))
    assert not {"Mconv2_stage2.0", "conv4_stage1.0"} & expected.keys()
    assert distance(found, expected) < TOLERANCE


@pytest.mark.parametrize("layer", ["relu1_stage1", "pool1_stage1"])
def test_a_relu_or_a_pooling_that_hands_nothing_down_is_not_passed_over(layer: str) -> None:
    name = f'name: "{layer}"'
    net = make((name, f"{name} propagate_down: false"))
    found = differentiate(net, engine=True)
    assert found.keys() == differentiate(net, engine=False).keys()
    assert "conv1_stage1.0" not in found


def test_shared_parameters_gather_both_gradients() -> None:
    shared = [(f'(name: "Mconv{i}_stage2".*?param {{)', r'\1 name: "one"') for i in (2, 3)]
    net = make(*shared, *SMOOTH)
    assert net.get_submodule("Mconv2_stage2").blob(0) is net.get_submodule("Mconv3_stage2").blob(0)
    assert distance(differentiate(net, engine=True), differentiate(net, engine=False)) < TOLERANCE


def test_blobs_that_are_asked_for_come_too() -> None:
    net = make()
    blobs = ["conv1_stage1", "pool1_stage1"]
    found, expected = LearningNet(net)(batch(net), blobs), net(batch(net), blobs)
    assert distance(found, expected) < TOLERANCE


def test_other_sizes_are_planned_anew() -> None:
    fast = LearningNet(make(*SMOOTH))
    small = {name: value[:1] for name, value in batch(fast).items()}
    for inputs in (batch(fast), small, batch(fast)):
        assert distance(fast(inputs), CaffeNet.forward(fast, inputs)) < TOLERANCE


def test_what_the_engine_does_not_cover_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make()
    fast = LearningNet(net)
    monkeypatch.setattr(learning, "convolve", None)
    seen: list[torch.nn.Module] = []
    handle = net.get_submodule("conv1_stage1").register_forward_hook(lambda module, *_: seen.append(module))
    assert fast(batch(net)).keys() == net(batch(net)).keys()
    assert len(seen) == 2
    handle.remove()
    with torch.autocast("cpu", torch.bfloat16):
        fast(batch(net))
    net.double()
    fast({name: value.double() for name, value in batch(net).items()})


@pytest.mark.parametrize("hook", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_hooks_on_a_layers_way_back_are_called(hook: str) -> None:
    net, called = make(stages=1), list[str]()
    getattr(net.get_submodule("conv4_stage1"), hook)(lambda module, *_: called.append(module.spec.name))
    LearningNet(net)(batch(net))["loss_stage1"].backward()
    assert called == ["conv4_stage1"]


def test_hooks_on_all_modules_see_every_layer() -> None:
    fast, seen = LearningNet(make(stages=1)), list[torch.nn.Module]()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    fast(batch(fast))
    handle.remove()
    assert len(seen) == len(fast.steps) + 1  # and the net itself


def test_dropout_draws_what_it_draws_in_the_plain_net() -> None:
    net = make(('(name: "relu1_stage1".*?})', r'\1 layer { name: "drop" type: "Dropout" bottom: "conv1_stage1" '
                'top: "conv1_stage1" }'), *SMOOTH, stages=1)  # fmt: skip
    found = []
    for engine in (True, False):
        torch.manual_seed(5)
        found.append(differentiate(net, engine=engine))
    assert distance(*found) < TOLERANCE


def test_only_so_many_plans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "PLANS", 2)
    fast = LearningNet(make(stages=1))
    for count in (1, 2, 3, 4):
        fast({name: value[:1].expand(count, *value.shape[1:]) for name, value in batch(fast).items()})
    assert len(fast._learning_plans) == 2


def test_without_gradients_it_is_an_accelerated_net() -> None:
    fast = LearningNet(make())
    with torch.no_grad():
        found = fast(batch(fast))
    assert fast.learning_ways == {}
    assert distance(found, CaffeNet.forward(fast, batch(fast))) < TOLERANCE


def test_copies_and_pickles_hold_the_parameters_alone() -> None:
    fast = LearningNet(make())
    expected = fast(batch(fast))
    weights = sum(parameter.nbytes for parameter in fast.parameters())
    pickled = pickle.dumps(fast)
    assert len(pickled) < 1.2 * weights
    for other in (copy.deepcopy(fast), pickle.loads(pickled)):
        assert torch.equal(other(batch(other))["loss_stage2"], expected["loss_stage2"])


def test_a_plan_keeps_its_memory_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    job = LearningJob(2, 128, 128, 11, 46, 46, for_input=True, for_weight=True)
    size = tile_size(job)
    assert size
    monkeypatch.setattr(learning, "WEIGHTS", 8 * size * (size // 2 + 1) * 128 * 128 - 1)
    smaller = tile_size(job)
    assert 0 < smaller < size
    monkeypatch.setattr(learning, "WORKSPACE", 16 * smaller * (smaller // 2 + 1) * 256 - 1)
    assert tile_size(job) < smaller
