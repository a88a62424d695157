"""Which way a loaded net predicts fastest on its device, in a precision."""

from __future__ import annotations

from cpm_port.engine.cuda import GraphedNet
from cpm_port.engine.net import AcceleratedNet, accelerate
from cpm_port.engine.precision import PreciseNet, Precision
from cpm_port.graph import CaffeNet

__all__ = ["fast_net"]


def fast_net(net: CaffeNet, precision: Precision = "float32") -> AcceleratedNet | PreciseNet:
    """Return a net for prediction: on a GPU captured graphs, on a CPU the Fourier engine, or autocast for bf16.

    Parameters
    ----------
    net : CaffeNet
        On its device; its parameters are shared.
    precision : {"float32", "tf32", "bf16"}

    Raises
    ------
    UsageError
        A precision that the device lacks.
    """
    first = next(net.parameters(), None)
    if first is not None and first.device.type == "cuda":
        return GraphedNet(net, precision)
    return accelerate(net) if precision == "float32" else PreciseNet(net, precision)
