"""Caffe's solvers as `torch.optim` optimizers, usable on their own.

Flow: gradients -> **clip, normalise, regularise, update** -> weights. One class per solver type; each turns a gradient
into the value that is subtracted from the weights, and keeps Caffe's history blobs in `optimizer.state[p]["history"]`.

An update, in Caffe's order:

1. clip: if the L2 norm over *all* gradients exceeds `clip_gradients`, scale them down to it (negative: never);
2. normalise: divide by `iter_size`, as gradients are summed over that many backward passes (the clip sees the sum);
3. regularise: add `weight_decay * decay_mult * w` (L2) or `... * sign(w)` (L1);
4. the solver's own formula, with the rate `lr * lr_mult` *inside* the momentum: after a drop of the rate the history
   still carries the old one, unlike `torch.optim.SGD`.

`lr`, `lr_mult`, `decay_mult`, `weight_decay` and each solver's own numbers are keys of the parameter groups.
A parameter without a gradient counts as one with a zero gradient, as in Caffe: its decay and momentum act on.

Source: BVLC/caffe@9b891540 src/caffe/solvers/*.cpp; the fork's are the same. `AdamW` is ours (the formula of
`torch.optim.AdamW`): Caffe has none, but its moments fit Caffe's Adam history.
Differs: works out of place, so `p.grad` keeps the gradient, where Caffe overwrites it with the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cpm_port.caffe import SolverSpec
from cpm_port.errors import TrainingError

__all__ = [
    "SGD",
    "SOLVERS",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "CaffeOptimizer",
    "Nesterov",
    "RMSProp",
    "build_optimizer",
]

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class CaffeOptimizer(Optimizer):
    """What all solvers share: the order of an update, and the history blobs.

    Parameters
    ----------
    params : tensors, or groups with keys `params`, `lr_mult`, `decay_mult` and any other default to override
    lr : float
        The rate of the next update, Caffe's GetLearningRate; a loop sets `group["lr"]` before each step.
    weight_decay : float
    regularization_type : "L2" or "L1"
    clip_gradients : float
        Largest allowed L2 norm of all gradients together; negative: no limit.
    iter_size : int
        Number of backward passes whose gradients are summed in `p.grad`.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import SGD, CaffeOptimizer
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = SGD([{"params": [weight], "lr_mult": 2.0}], lr=0.1, momentum=0.9)
    >>> isinstance(optimizer, CaffeOptimizer), optimizer.param_groups[0]["lr_mult"]
    (True, 2.0)
    """

    blobs_per_param = 1
    decoupled_decay = False

    def __init__(
        self,
        params: Params,
        *,
        lr: float,
        weight_decay: float = 0.0,
        regularization_type: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
        **own: float,
    ) -> None:
        if regularization_type not in ("L1", "L2"):
            raise TrainingError(f"regularization_type is {regularization_type!r}, expected 'L1' or 'L2'")
        if iter_size < 1:
            raise TrainingError(f"iter_size is {iter_size}, expected 1 or more")
        defaults = {
            "lr": lr,
            "lr_mult": 1.0,
            "decay_mult": 1.0,
            "weight_decay": weight_decay,
            "regularization_type": regularization_type,
            "iteration": 0,
            **own,
        }
        self.clip_gradients = clip_gradients
        self.iter_size = iter_size
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter once; return the closure's loss if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = [
            [torch.zeros_like(p) if p.grad is None else p.grad for p in group["params"]] for group in self.param_groups
        ]
        scale = self._clip_scale(gradients)
        for group, grads in zip(self.param_groups, gradients, strict=True):
            if scale is not None:
                grads = list(torch._foreach_mul(grads, scale))
            if self.iter_size > 1:
                grads = list(torch._foreach_mul(grads, 1.0 / self.iter_size))
            params = group["params"]
            decay = group["weight_decay"] * group["decay_mult"]
            if decay and not self.decoupled_decay:
                toward = params if group["regularization_type"] == "L2" else torch._foreach_sign(params)
                grads = list(torch._foreach_add(grads, toward, alpha=decay))
            blobs = [self.history(p) for p in params]
            histories = [list(column) for column in zip(*blobs, strict=True)]
            rate = group["lr"] * group["lr_mult"]
            self._update(group, params, grads, histories, rate)
            group["iteration"] += 1
        return loss

    def history(self, param: Tensor) -> tuple[Tensor, ...]:
        """Return the history blobs of one parameter, zeros before its first step; writing to them is restoring."""
        state = self.state[param]
        if "history" not in state:
            state["history"] = tuple(
                torch.zeros_like(param, memory_format=torch.preserve_format) for _ in range(self.blobs_per_param)
            )
        blobs: tuple[Tensor, ...] = state["history"]
        return blobs

    def set_iteration(self, iteration: int) -> None:
        """Say how many updates were made so far: Adam's bias correction depends on it."""
        for group in self.param_groups:
            group["iteration"] = iteration

    def _clip_scale(self, gradients: Sequence[Sequence[Tensor]]) -> Tensor | None:
        """Return min(1, clip / norm) as a tensor, so that nothing waits for the GPU; None without a limit."""
        if self.clip_gradients < 0:
            return None
        norms = [norm for grads in gradients if grads for norm in torch._foreach_norm(list(grads))]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        return torch.where(norm > self.clip_gradients, self.clip_gradients / norm, torch.ones_like(norm))

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        """Update histories and weights from the regularised gradients (which may be the caller's: not written to)."""
        raise NotImplementedError


class SGD(CaffeOptimizer):
    """History h: h = momentum * h + rate * g; w -= h.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import SGD
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> SGD([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.9
    """

    def __init__(self, params: Params, *, lr: float, momentum: float = 0.0, **shared: Any) -> None:
        super().__init__(params, lr=lr, momentum=momentum, **shared)

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        (history,) = histories
        torch._foreach_mul_(history, group["momentum"])
        torch._foreach_add_(history, grads, alpha=rate)
        torch._foreach_sub_(params, history)


class Nesterov(SGD):
    """History h as in SGD; w -= (1 + momentum) * h_new - momentum * h_old.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import Nesterov
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> Nesterov([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.9
    """

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        (history,) = histories
        step = torch._foreach_mul(history, -group["momentum"])
        torch._foreach_mul_(history, group["momentum"])
        torch._foreach_add_(history, grads, alpha=rate)
        torch._foreach_add_(step, history, alpha=1 + group["momentum"])
        torch._foreach_sub_(params, step)


class AdaGrad(CaffeOptimizer):
    """History h: h += g^2; w -= rate * g / (sqrt(h) + delta).

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import AdaGrad
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> AdaGrad([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.9
    """

    def __init__(self, params: Params, *, lr: float, delta: float = 1e-8, **shared: Any) -> None:
        super().__init__(params, lr=lr, delta=delta, **shared)

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        (history,) = histories
        torch._foreach_addcmul_(history, grads, grads)
        _subtract_quotient(params, grads, torch._foreach_sqrt(history), group["delta"], rate)


class RMSProp(CaffeOptimizer):
    """History h: h = rms_decay * h + (1 - rms_decay) * g^2; w -= rate * g / (sqrt(h) + delta).

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import RMSProp
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> RMSProp([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.0
    """

    def __init__(
        self, params: Params, *, lr: float, rms_decay: float = 0.99, delta: float = 1e-8, **shared: Any
    ) -> None:
        super().__init__(params, lr=lr, rms_decay=rms_decay, delta=delta, **shared)

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        (history,) = histories
        torch._foreach_mul_(history, group["rms_decay"])
        torch._foreach_addcmul_(history, grads, grads, 1 - group["rms_decay"])
        _subtract_quotient(params, grads, torch._foreach_sqrt(history), group["delta"], rate)


class AdaDelta(CaffeOptimizer):
    """Histories h (of g^2) and u (of steps^2): step = g * sqrt((u + delta) / (h + delta)); w -= rate * step.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import AdaDelta
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> AdaDelta([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    1.0
    """

    blobs_per_param = 2

    def __init__(self, params: Params, *, lr: float, momentum: float = 0.0, delta: float = 1e-8, **shared: Any) -> None:
        super().__init__(params, lr=lr, momentum=momentum, delta=delta, **shared)

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        squares, steps = histories
        momentum, delta = group["momentum"], group["delta"]
        torch._foreach_mul_(squares, momentum)
        torch._foreach_addcmul_(squares, grads, grads, 1 - momentum)
        step = torch._foreach_add(steps, delta)
        torch._foreach_div_(step, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(step)
        torch._foreach_mul_(step, grads)
        torch._foreach_mul_(steps, momentum)
        torch._foreach_addcmul_(steps, step, step, 1 - momentum)
        torch._foreach_sub_(params, step, alpha=rate)


class Adam(CaffeOptimizer):
    """Histories m and v: w -= rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + delta), t = iteration + 1.

    `delta` stands outside the bias correction, unlike the epsilon of `torch.optim.Adam`.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import Adam
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> Adam([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.9
    """

    blobs_per_param = 2

    def __init__(
        self,
        params: Params,
        *,
        lr: float,
        momentum: float = 0.9,
        momentum2: float = 0.999,
        delta: float = 1e-8,
        **shared: Any,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, momentum2=momentum2, delta=delta, **shared)

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        mean, square = self._moments(group, grads, histories)
        t = group["iteration"] + 1
        correction = (1 - group["momentum2"] ** t) ** 0.5 / (1 - group["momentum"] ** t)
        _subtract_quotient(params, mean, torch._foreach_sqrt(square), group["delta"], rate * correction)

    @staticmethod
    def _moments(
        group: dict[str, Any], grads: list[Tensor], histories: list[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Bring both running averages up to this gradient."""
        mean, square = histories
        torch._foreach_mul_(mean, group["momentum"])
        torch._foreach_add_(mean, grads, alpha=1 - group["momentum"])
        torch._foreach_mul_(square, group["momentum2"])
        torch._foreach_addcmul_(square, grads, grads, 1 - group["momentum2"])
        return mean, square


class AdamW(Adam):
    """Adam with `delta` inside the bias correction and the decay taken off the weights directly, at the rate `lr`.

    The same steps as `torch.optim.AdamW(betas=(momentum, momentum2), eps=delta)`.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.training.solver import AdamW
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.ones(1)
    >>> AdamW([weight], lr=0.1).step()
    >>> round(float(weight.detach()), 3)
    0.9
    """

    decoupled_decay = True

    def _update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        histories: list[list[Tensor]],
        rate: float,
    ) -> None:
        torch._foreach_mul_(params, 1 - rate * group["weight_decay"] * group["decay_mult"])
        mean, square = self._moments(group, grads, histories)
        t = group["iteration"] + 1
        root = torch._foreach_sqrt(square)
        torch._foreach_div_(root, (1 - group["momentum2"] ** t) ** 0.5)
        _subtract_quotient(params, mean, root, group["delta"], rate / (1 - group["momentum"] ** t))


SOLVERS: dict[str, type[CaffeOptimizer]] = {
    "SGD": SGD,
    "Nesterov": Nesterov,
    "AdaGrad": AdaGrad,
    "RMSProp": RMSProp,
    "AdaDelta": AdaDelta,
    "Adam": Adam,
}

_OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "SGD": ("momentum",),
    "Nesterov": ("momentum",),
    "AdaGrad": ("delta",),
    "RMSProp": ("rms_decay", "delta"),
    "AdaDelta": ("momentum", "delta"),
    "Adam": ("momentum", "momentum2", "delta"),
}


def build_optimizer(solver: SolverSpec, params: Params) -> CaffeOptimizer:
    """Return the optimizer that a solver file describes, over `params` (groups with `lr_mult` and `decay_mult`).

    Raises
    ------
    TrainingError
        A type that Caffe lacks; momentum with AdaGrad or RMSProp, which Caffe refuses; an rms_decay outside [0, 1).

    Examples
    --------
    >>> import torch
    >>> from cpm_port.caffe import parse_solver
    >>> from cpm_port.training.solver import build_optimizer
    >>> solver = parse_solver("net: 'train.prototxt' base_lr: 0.1 lr_policy: 'fixed' type: 'Adam'")
    >>> type(build_optimizer(solver, [torch.nn.Parameter(torch.ones(1))])).__name__
    'Adam'
    """
    if solver.type not in SOLVERS:
        raise TrainingError(f"{solver.source}: solver type is {solver.type!r}, expected one of {', '.join(SOLVERS)}")
    if solver.type in ("AdaGrad", "RMSProp") and solver.momentum:
        raise TrainingError(f"{solver.source}: {solver.type} takes no momentum, found {solver.momentum}")
    if solver.type == "RMSProp" and not 0 <= solver.rms_decay < 1:
        raise TrainingError(f"{solver.source}: rms_decay is {solver.rms_decay}, expected 0 <= rms_decay < 1")
    own = {name: getattr(solver, name) for name in _OWN_FIELDS[solver.type]}
    return SOLVERS[solver.type](
        params,
        lr=solver.base_lr,
        weight_decay=solver.weight_decay,
        regularization_type=solver.regularization_type,
        clip_gradients=solver.clip_gradients,
        iter_size=solver.iter_size,
        **own,
    )


def _subtract_quotient(
    params: list[Tensor], numerators: list[Tensor], denominators: Iterable[Tensor], delta: float, rate: float
) -> None:
    """W -= rate * numerator / (denominator + delta); the denominators are overwritten."""
    denominators = list(denominators)
    torch._foreach_add_(denominators, delta)
    torch._foreach_addcdiv_(params, numerators, denominators, -rate)
