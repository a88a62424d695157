"""What the program `caffe` does besides training: score a model, and time its layers.

NET -> **lines of text**, in Caffe's words.

*Source*: BVLC/caffe@9b89154 tools/caffe.cpp (test, time).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from cpm_port.errors import UsageError
from cpm_port.pycaffe.net import Net
from cpm_port.training.caffe_log import told

__all__ = ["score", "time_layers"]

Say = Callable[[str], object]


def score(net: Net, iterations: int, say: Say) -> dict[str, list[float]]:
    """Run a net over so many batches of its data layers.

    Parameters
    ----------
    net : Net
        In phase TEST, with its weights.
    iterations : int
    say : callable
        Takes every line.

    Returns
    -------
    dict of str to list of float
        Output -> the mean of each of its numbers.

    Raises
    ------
    UsageError
        Not one iteration.
    """
    _require_some(iterations)
    say(f"Running for {iterations} iterations.")
    sums: dict[str, np.ndarray] = {}
    loss = 0.0
    for number in range(iterations):
        loss += net._forward(0, len(net.layers) - 1)
        for name in net.outputs:
            values = net.blobs[name].data.ravel().astype(np.float64)
            sums[name] = sums[name] + values if name in sums else values
            for value in values:
                say(f"Batch {number}, {name} = {value:g}")
    say(f"Loss: {loss / iterations:g}")
    means = {name: (total / iterations).tolist() for name, total in sums.items()}
    for name, found in means.items():
        for value in found:
            say(told(name, value, net.blob_loss_weights[name]))
    return means


def time_layers(net: Net, iterations: int, say: Say) -> dict[str, tuple[float, float]]:
    """Time every layer of a net forward and backward, after one pass that does not count.

    Parameters
    ----------
    net : Net
    iterations : int
    say : callable
        Takes every line.

    Returns
    -------
    dict of str to (float, float)
        Layer -> mean milliseconds forward and backward.

    Raises
    ------
    UsageError
        Not one iteration.
    """
    _require_some(iterations)
    last = len(net.layers) - 1
    names = list(net.layer_dict)
    say("Performing Forward")
    say(f"Initial loss: {net._forward(0, last):g}")
    say("Performing Backward")
    net._backward(last, 0)
    say("*** Benchmark begins ***")
    say(f"Testing for {iterations} iterations.")
    spent = np.zeros((2, len(names)))
    began = _now()
    for number in range(iterations):
        before = spent.sum()
        for index in range(len(names)):
            spent[0, index] += _took(lambda index=index: net._forward(index, index))  # type: ignore[misc]
        for index in reversed(range(len(names))):
            spent[1, index] += _took(lambda index=index: net._backward(index, index))  # type: ignore[misc]
        say(f"Iteration: {number + 1} forward-backward time: {spent.sum() - before:g} ms.")
    total = _now() - began
    means = spent / iterations
    say("Average time per layer: ")
    for name, (forward, backward) in zip(names, means.T, strict=True):
        say(f"{name:>10}\tforward: {forward:g} ms.")
        say(f"{name:>10}\tbackward: {backward:g} ms.")
    say(f"Average Forward pass: {means[0].sum():g} ms.")
    say(f"Average Backward pass: {means[1].sum():g} ms.")
    say(f"Average Forward-Backward: {total / iterations:g} ms.")
    say(f"Total Time: {total:g} ms.")
    say("*** Benchmark ends ***")
    return {name: (float(forward), float(backward)) for name, (forward, backward) in zip(names, means.T, strict=True)}


def _require_some(iterations: int) -> None:
    if iterations < 1:
        raise UsageError(f"--iterations {iterations}: expected 1 or more")


def _took(work: Callable[[], object]) -> float:
    """Return the milliseconds of something, a GPU's work included."""
    began = _now()
    work()
    return _now() - began


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() * 1e3
