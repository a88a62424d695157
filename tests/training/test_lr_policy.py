"""Rates by iteration: worked by hand here; the goldens of test_solver.py hold every policy against Caffe's log."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cpm_port.caffe import SolverSpec, parse_solver
from cpm_port.errors import TrainingError
from cpm_port.training.lr_policy import POLICIES, cosine, learning_rate


def _solver(**fields: object) -> SolverSpec:
    return replace(parse_solver("base_lr: 1"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"lr_policy": "fixed"}, [1, 1, 1, 1]),
        ({"lr_policy": "step", "gamma": 0.5, "stepsize": 2}, [1, 1, 0.5, 0.5]),
        ({"lr_policy": "exp", "gamma": 0.5}, [1, 0.5, 0.25, 0.125]),
        ({"lr_policy": "inv", "gamma": 1.0, "power": 2.0}, [1, 1 / 4, 1 / 9, 1 / 16]),
        ({"lr_policy": "multistep", "gamma": 0.5, "stepvalue": (1, 3)}, [1, 0.5, 0.5, 0.25]),
        ({"lr_policy": "poly", "power": 2.0, "max_iter": 4}, [1, 9 / 16, 1 / 4, 1 / 16]),
        ({"lr_policy": "sigmoid", "gamma": -1.0, "stepsize": 1}, [1 / (1 + math.exp(i - 1)) for i in range(4)]),
    ],
)
def test_policy_gives_its_formula(fields: dict[str, object], expected: list[float]) -> None:
    solver, step, rates = _solver(**fields), 0, []
    for iteration in range(4):
        rate, step = learning_rate(solver, iteration, step)
        rates.append(rate)
    assert rates == pytest.approx(expected, rel=1e-12)


def test_every_policy_has_a_row_above() -> None:
    assert set(POLICIES) == {"fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"}


def test_multistep_passes_one_step_per_iteration() -> None:
    """Two equal stepvalues: Caffe's counter rises at 2, then at 3."""
    solver, step, rates = _solver(lr_policy="multistep", gamma=0.1, stepvalue=(2, 2)), 0, []
    for iteration in range(5):
        rate, step = learning_rate(solver, iteration, step)
        rates.append(round(rate, 6))
    assert rates == [1, 1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr_policy": "warm"}, "expected one of exp"),
        ({"lr_policy": "step", "stepsize": 0}, "stepsize 0"),
        ({"lr_policy": "poly", "max_iter": 0}, "max_iter is 0"),
        ({"lr_policy": "inv", "gamma": -2.0, "power": 0.75}, "'inv' gives a rate of nan at iteration 1"),
        ({"lr_policy": "inv", "gamma": -1.0, "power": 1.0}, "'inv' gives a rate of inf at iteration 1"),
        ({"lr_policy": "exp", "gamma": 1e308, "base_lr": 10.0}, "'exp' gives a rate of inf at iteration 1"),
        ({"lr_policy": "fixed", "base_lr": math.nan}, "'fixed' gives a rate of nan"),
    ],
)
def test_a_policy_without_its_fields_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        learning_rate(_solver(**fields), 1)


def test_cosine_warms_up_and_ends_at_its_floor() -> None:
    rates = [cosine(i, base_lr=2.0, max_iter=10, warmup=4, floor=0.1) for i in range(11)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4] == pytest.approx(2.0)
    assert rates[7] == pytest.approx(2 * (0.1 + 0.9 * 0.5))
    assert rates[10] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("fields", "iteration", "expected"),
    [
        ({"lr_policy": "sigmoid", "gamma": -1.0, "stepsize": 1}, 5000, 0.0),
        ({"lr_policy": "sigmoid", "gamma": 1.0, "stepsize": 5000}, 0, 0.0),
        ({"lr_policy": "sigmoid", "gamma": 1.0, "stepsize": 1}, 5000, 1.0),
        ({"lr_policy": "exp", "gamma": 0.5}, 5000, 0.0),
        ({"lr_policy": "step", "gamma": -0.5, "stepsize": 1}, 3, -0.125),
        ({"lr_policy": "inv", "gamma": -2.0, "power": 2.0}, 1, 1.0),
        ({"lr_policy": "poly", "power": 0.0, "max_iter": 3}, 3, 1.0),
    ],
)
def test_far_ends_of_policies_are_cs(fields: dict[str, object], iteration: int, expected: float) -> None:
    """Oracle: exp and pow of C's library, which overflow to infinity; worked by hand."""
    assert learning_rate(_solver(**fields), iteration).value == expected
