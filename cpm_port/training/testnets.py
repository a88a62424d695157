"""A solver's test nets: the mean of their outputs over `test_iter` batches, with the weights that are being trained.

Flow: TEST-phase net + its data layers -> **named means**, for the loop's records. The test net holds no weights of
its own: its parameters are the train net's tensors, so a test needs no copying.

Source: BVLC/caffe@9b891540 src/caffe/solver.cpp (InitTestNets, Test). Differs: a layer that only the test
net has takes parameters that bear the names (`param { name: ... }`) of trained ones; with others of its own it is an
error. (Caffe leaves it with its filler's values.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cpm_port.errors import TrainingError
from cpm_port.graph import CaffeNet

__all__ = ["mean_outputs", "share_parameters"]


def share_parameters(trained: CaffeNet, test: CaffeNet) -> None:
    """Let the test net's parameters be the trained net's tensors, matched by layer name; those of layers that the
    trained net lacks by the parameters' own names.

    Raises
    ------
    TrainingError
        A parameter that the trained net lacks, or has in another shape.
    """
    theirs = trained.params
    by_name = _named(trained)
    problems = []
    for layer, blobs in test.params.items():
        if layer not in theirs:
            for index, name in enumerate(_names(test, layer)):
                shared = by_name.get(name)
                if (layer, index) in test.referring:  # it is an earlier layer's
                    continue
                if shared is None or shared.shape != blobs[index].shape:
                    shape = tuple(blobs[index].shape)
                    problems.append(f"layer {layer!r}: its parameter {index}, {shape}, is absent in the train net")
                else:
                    blobs[index].data = shared.data
            continue
        found = [tuple(blob.shape) for blob in theirs[layer]]
        wanted = [tuple(blob.shape) for blob in blobs]
        if found != wanted:
            problems.append(f"layer {layer!r}: {wanted} in the test net, {found} in the train net")
            continue
        for mine, blob in zip(blobs, theirs[layer], strict=True):
            mine.data = blob.data
    if problems:
        raise TrainingError(f"{test.spec.source}: the test net does not fit the train net: {'; '.join(problems)}")


def _named(net: CaffeNet) -> dict[str, torch.Tensor]:
    """Return the parameters that have names of their own, the first of each name."""
    named: dict[str, torch.Tensor] = {}
    for layer, blobs in net.params.items():
        for name, blob in zip(_names(net, layer), blobs, strict=True):
            if name:
                named.setdefault(name, blob)
    return named


def _names(net: CaffeNet, layer: str) -> list[str]:
    """Return the own names of a layer's parameters, "" where they have none."""
    specs = net.spec.layer(layer).param_specs
    return [specs[index].name if index < len(specs) else "" for index in range(len(net.params[layer]))]


def mean_outputs(
    net: CaffeNet, next_batch: Callable[[], Mapping[str, np.ndarray]], batches: int
) -> tuple[dict[str, Any], float]:
    """Run a test net over so many batches.

    Returns
    -------
    dict
        Output name -> its mean, a number, or a list where the output is no scalar.
    float
        The mean of the total loss, 0 for a net without losses.
    """
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    sums: dict[str, torch.Tensor] = {}
    loss = 0.0
    for _ in range(batches):
        inputs = {name: torch.from_numpy(array).to(device) for name, array in next_batch().items()}
        outputs = net(inputs)
        for name, value in outputs.items():
            sums[name] = sums[name] + value.double() if name in sums else value.double()
        if net.loss_weights:
            loss += float(net.total_loss(outputs))
    return {name: (total / batches).tolist() for name, total in sums.items()}, loss / batches
