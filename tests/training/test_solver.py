"""The optimizers against real Caffe: 18 solver files, 20 iterations each (oracle: tests/golden/caffe/solver).

Beyond the goldens: relations between solvers, worked by hand or held against torch's own optimizers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cpm_port.caffe import read_solver
from cpm_port.errors import TrainingError
from cpm_port.training.objective import Objective
from cpm_port.training.snapshot import read_snapshot
from cpm_port.training.solver import SGD, SOLVERS, AdaGrad, Adam, AdamW, CaffeOptimizer, build_optimizer
from tests.training.support import SOLVERS as GOLDEN_SOLVERS
from tests.training.support import golden_trainer

VARIANTS = sorted(path.name.removesuffix(".solver.prototxt") for path in GOLDEN_SOLVERS.glob("*.solver.prototxt"))
TOLERANCE = 1e-6  # of a blob's largest magnitude, and of the loss: float32 sums in another order
SIX_DIGITS = 5.5e-6  # half a unit of the sixth digit, which is what Caffe's log keeps

Golden = Callable[[str], dict[str, np.ndarray]]


class _LastLoss(Objective):
    """An objective that remembers the loss of its last forward pass."""

    last = 0.0

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        losses = super().__call__(inputs)
        self.last = float(losses.detach().sum())
        return losses


def _distance(found: Tensor, expected: np.ndarray) -> float:
    """Largest difference over the expected blob's largest magnitude."""
    assert tuple(found.shape) == expected.shape
    return float(np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max())


def test_all_golden_variants_are_here() -> None:
    assert len(VARIANTS) == 18


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_losses_and_rates_follow_caffe_for_twenty_iterations(
    variant: str, golden: Golden, tmp_path: Path
) -> None:
    expected = golden(f"caffe/solver/{variant}.npz")
    trainer = golden_trainer(variant, tmp_path / variant)
    trainer.objective = objective = _LastLoss(trainer.net)
    for iteration in range(20):
        trainer.step()
        assert objective.last == pytest.approx(expected["loss_last_subiter"][iteration], rel=TOLERANCE)
        assert sum(trainer.last_losses.values()) == pytest.approx(expected["loss_logged"][iteration], rel=SIX_DIGITS)
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(
            expected["lr_logged"][iteration], rel=SIX_DIGITS
        )
        for layer, blobs in trainer.net.params.items():
            for index, blob in enumerate(blobs):
                distance = _distance(blob, expected[f"w/{layer}/{index}"][iteration + 1])
                assert distance <= TOLERANCE, f"iteration {iteration + 1}, {layer}[{index}]: {distance:.2g} off"


@pytest.mark.parametrize("variant", VARIANTS)
def test_resuming_from_caffes_own_snapshot_ends_on_caffes_iteration_20(
    variant: str, golden: Golden, tmp_path: Path
) -> None:
    expected = golden(f"caffe/solver/{variant}.npz")
    suffix = ".h5" if variant.endswith("hdf5") else ""
    trainer = golden_trainer(variant, tmp_path / variant)
    snapshot = read_snapshot(GOLDEN_SOLVERS / f"{variant}_iter_10.solverstate{suffix}")
    trainer.net.load_weights(snapshot.weights)
    trainer.restore(snapshot)
    assert trainer.solve()
    assert trainer.iteration == 20
    final = read_snapshot(GOLDEN_SOLVERS / f"{variant}_iter_20.solverstate{suffix}")
    for layer, blobs in trainer.net.params.items():
        for index, blob in enumerate(blobs):
            assert _distance(blob, expected[f"w/{layer}/{index}"][20]) <= TOLERANCE
    ours = [h for p in zip(*map(trainer.optimizer.history, _tensors(trainer)), strict=True) for h in p]
    for mine, caffes in zip(ours, final.history, strict=True):
        assert _distance(mine, caffes) <= TOLERANCE


def _tensors(trainer: object) -> list[Tensor]:
    return [info.tensor for info in trainer.net.param_info()]  # type: ignore[attr-defined]


def _walk(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], steps: int = 6) -> list[Tensor]:
    """Return two parameters after some steps down a seeded quadratic."""
    generator = torch.Generator().manual_seed(5)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,))]
    targets = [torch.randn(p.shape, generator=generator) for p in params]
    optimizer = make(params)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([((p - t) ** 2).sum() for p, t in zip(params, targets, strict=True)]).sum().backward()
        optimizer.step()
    return [p.detach() for p in params]


def test_adamw_steps_like_torchs() -> None:
    ours = _walk(lambda p: AdamW(p, lr=0.01, weight_decay=0.1, momentum=0.8, momentum2=0.95))
    torchs = _walk(lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)))
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-7)


def test_sgd_at_a_fixed_rate_steps_like_torchs() -> None:
    ours = _walk(lambda p: SGD(p, lr=0.02, momentum=0.9, weight_decay=0.05))
    torchs = _walk(lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.05))
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-7)


def test_adagrad_steps_like_torchs() -> None:
    ours = _walk(lambda p: AdaGrad(p, lr=0.1, delta=1e-8))
    torchs = _walk(lambda p: torch.optim.Adagrad(p, lr=0.1, eps=1e-8))
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-7)


def test_the_rate_lies_inside_the_momentum() -> None:
    """Worked by hand: gradient 1, momentum 0.5, rates 1 then 0.1: w = -(1) - (0.5 * 1 + 0.1)."""
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    for rate in (1.0, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        p.grad = torch.ones(1)
        optimizer.step()
    assert p.item() == pytest.approx(-1.6)


def test_clipping_looks_at_the_summed_gradient_before_it_is_divided() -> None:
    """Worked by hand: gradient (3, 4) over two passes, clip 1: (0.6, 0.8) / 2."""
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = SGD([p], lr=1.0, clip_gradients=1.0, iter_size=2)
    p.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.3, -0.4]))
    torch.testing.assert_close(p.grad, torch.tensor([3.0, 4.0]))


def test_the_clip_norm_covers_all_groups() -> None:
    params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = SGD([{"params": [params[0]]}, {"params": [params[1]], "lr_mult": 2.0}], lr=1.0, clip_gradients=1.0)
    params[0].grad, params[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert [p.item() for p in params] == pytest.approx([-0.6, -1.6])


def test_a_parameter_without_gradient_still_decays() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    SGD([p], lr=0.1, weight_decay=0.5).step()
    assert p.item() == pytest.approx(0.95)


@pytest.mark.parametrize("solver_type", SOLVERS)
def test_batches_of_eight_equal_batches_of_four_at_iter_size_two(solver_type: str) -> None:
    """The gradient summed over two halves, with iter_size 2, is the gradient of the mean."""
    generator = torch.Generator().manual_seed(0)
    halves = [torch.randn(3, generator=generator) for _ in range(2)]
    results = []
    for iter_size in (1, 2):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = SOLVERS[solver_type]([p], lr=0.1, weight_decay=0.01, iter_size=iter_size)
        for _ in range(3):
            p.grad = sum(halves) / 2 if iter_size == 1 else sum(halves)
            optimizer.step()
        results.append(p.detach())
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)


def test_a_state_dict_carries_history_and_iteration() -> None:
    def run(optimizer: CaffeOptimizer, p: torch.nn.Parameter, steps: int) -> None:
        for _ in range(steps):
            p.grad = p.detach() * 2
            optimizer.step()

    whole, split = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    run(Adam([whole], lr=0.1), whole, 6)
    first, second = Adam([split], lr=0.1), Adam([split], lr=0.1)
    run(first, split, 3)
    second.load_state_dict(first.state_dict())
    run(second, split, 3)
    assert torch.equal(whole, split)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "Lion"}, "expected one of SGD"),
        ({"type": "AdaGrad", "momentum": 0.9}, "takes no momentum"),
        ({"type": "RMSProp", "momentum": 0.0, "rms_decay": 1.0}, "rms_decay is 1.0"),
        ({"iter_size": 0}, "iter_size is 0"),
        ({"regularization_type": "L0"}, "expected 'L1' or 'L2'"),
    ],
)
def test_what_caffe_refuses_is_refused(fields: dict[str, object], message: str) -> None:
    solver = replace(read_solver(GOLDEN_SOLVERS / "sgd_step.solver.prototxt"), **fields)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=message):
        build_optimizer(solver, [torch.nn.Parameter(torch.zeros(1))])
