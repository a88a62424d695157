"""Which way a loaded net predicts fastest on its device, in a precision."""

from __future__ import annotations

from cpm_port.engine.cuda import GraphedNet
from cpm_port.engine.net import MEMORY_BOUND, AcceleratedNet, PlanSource, accelerate
from cpm_port.engine.precision import PreciseNet, Precision
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet

__all__ = ["fast_net"]


def fast_net(
    net: CaffeNet,
    precision: Precision = "float32",
    *,
    memory_bound: int | None = None,
    plan: PlanSource | None = None,
) -> AcceleratedNet | PreciseNet:
    """Return a net for prediction: on a GPU captured graphs, on a CPU the Fourier engine, or autocast for bf16.

    Parameters
    ----------
    net : CaffeNet
        On its device; its parameters are shared.
    precision : {"float32", "tf32", "bf16"}
    memory_bound : int, optional
        As of `accelerate`, bytes; for the Fourier engine only.
    plan : {"model", "measure"}, optional
        As of `accelerate`; for the Fourier engine only.

    Raises
    ------
    UsageError
        A precision that the device lacks; or a bound or a plan where the Fourier engine does not run.
    """
    first = next(net.parameters(), None)
    on_gpu = first is not None and first.device.type == "cuda"
    if precision == "float32" and not on_gpu:
        return accelerate(
            net, memory_bound=MEMORY_BOUND if memory_bound is None else memory_bound, plan=plan or "model"
        )
    if memory_bound is not None or plan is not None:
        raise UsageError("a memory bound and a plan are for float32 on a CPU: nothing else has transformed weights")
    return GraphedNet(net, precision) if on_gpu else PreciseNet(net, precision)
