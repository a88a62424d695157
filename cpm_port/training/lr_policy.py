"""The learning rate of an iteration: one pure function per policy of `solver.prototxt`.

Flow: SolverSpec + iteration -> **Rate** -> optimizer. Iterations count from 0: the first update uses iteration 0.

`multistep` has a memory: Caffe raises its step counter by at most one per iteration, and keeps the counter in the
`.solverstate`. So every policy takes the counter and returns it, and nothing here holds state.

Source: BVLC/caffe@9b891540 src/caffe/solvers/sgd_solver.cpp, GetLearningRate; the fork's is the same.
Differs: rates are computed in double precision; Caffe rounds some steps to float32 (below 1e-7 relative). A rate that
is not finite (`inv` of a negative number, `exp` that grew beyond all bounds) is an error; Caffe trains on with it.
`cosine` is ours: Caffe has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cpm_port.caffe import SolverSpec
from cpm_port.errors import TrainingError

__all__ = ["POLICIES", "Rate", "cosine", "learning_rate"]

_EXP_LIMIT = 700.0  # math.exp overflows at 709.8


class Rate(NamedTuple):
    """A learning rate, and the step counter to hand to the next iteration."""

    value: float
    current_step: int


def learning_rate(solver: SolverSpec, iteration: int, current_step: int = 0) -> Rate:
    """Return the rate of `iteration` under the solver's `lr_policy`.

    Parameters
    ----------
    solver : SolverSpec
        Its `lr_policy`, `base_lr` and the policy's own fields.
    iteration : int
        From 0.
    current_step : int
        The counter that the iteration before returned; 0 at the start. Only `multistep` reads it.

    Raises
    ------
    TrainingError
        A policy that Caffe lacks, one whose fields are absent or out of range, or a rate that is not finite.
    """
    policy = POLICIES.get(solver.lr_policy)
    if policy is None:
        raise TrainingError(
            f"{solver.source}: lr_policy is {solver.lr_policy!r}, expected one of {', '.join(sorted(POLICIES))}"
        )
    rate = policy(solver, iteration, current_step)
    if not math.isfinite(rate.value):
        raise TrainingError(
            f"{solver.source}: lr_policy {solver.lr_policy!r} gives a rate of {rate.value} at iteration {iteration}"
        )
    return rate


def cosine(iteration: int, *, base_lr: float, max_iter: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return a linear warm-up to `base_lr` over `warmup` iterations, then half a cosine down to `floor * base_lr`.

    The first iteration has `base_lr / warmup` (or `base_lr` without a warm-up), the last one lies just above the floor:

    >>> [round(cosine(i, base_lr=1.0, max_iter=6, warmup=2), 3) for i in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if iteration < warmup:
        return base_lr * (iteration + 1) / warmup
    done = min((iteration - warmup) / max(max_iter - warmup, 1), 1.0)
    return base_lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def _fixed(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr."""
    return Rate(solver.base_lr, current_step)


def _step(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr * gamma ^ floor(iteration / stepsize)."""
    if solver.stepsize <= 0:
        raise TrainingError(f"{solver.source}: lr_policy 'step' has stepsize {solver.stepsize}, expected 1 or more")
    current_step = iteration // solver.stepsize
    return Rate(solver.base_lr * _power(solver.gamma, current_step), current_step)


def _exp(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr * gamma ^ iteration."""
    return Rate(solver.base_lr * _power(solver.gamma, iteration), current_step)


def _inv(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr * (1 + gamma * iteration) ^ -power."""
    return Rate(solver.base_lr * _power(1 + solver.gamma * iteration, -solver.power), current_step)


def _multistep(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr * gamma ^ (number of stepvalues reached), which grows by at most one per iteration."""
    if current_step < len(solver.stepvalue) and iteration >= solver.stepvalue[current_step]:
        current_step += 1
    return Rate(solver.base_lr * _power(solver.gamma, current_step), current_step)


def _poly(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr * (1 - iteration / max_iter) ^ power."""
    if iteration > solver.max_iter or solver.max_iter <= 0:
        raise TrainingError(
            f"{solver.source}: lr_policy 'poly' at iteration {iteration}, max_iter is {solver.max_iter}"
        )
    return Rate(solver.base_lr * _power(1 - iteration / solver.max_iter, solver.power), current_step)


def _sigmoid(solver: SolverSpec, iteration: int, current_step: int) -> Rate:
    """base_lr / (1 + exp(-gamma * (iteration - stepsize)))."""
    exponent = -solver.gamma * (iteration - solver.stepsize)
    grown = math.exp(exponent) if exponent < _EXP_LIMIT else math.inf
    return Rate(solver.base_lr / (1 + grown), current_step)


def _power(base: float, exponent: float) -> float:
    """Return base ^ exponent as C does: infinite or NaN where Python raises or goes complex."""
    with np.errstate(all="ignore"):
        return float(np.power(np.float64(base), np.float64(exponent)))


POLICIES: dict[str, Callable[[SolverSpec, int, int], Rate]] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
}
