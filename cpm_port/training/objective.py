"""What is minimised: a train net's losses as a function of a batch.

Flow: a batch's blobs -> net -> **one weighted loss per loss layer**. In parity mode the net's own loss layers are run
as the prototxt says. Options that leave the prototxt alone: the Fourier engine, bfloat16 arithmetic, compilation,
recomputing activations in the backward pass, and a Euclidean loss that ignores unlabelled joints.

Conventions: losses are float32 of shape (K,), in the prototxt's order, each already times its `loss_weight`; their sum
is what Caffe calls the loss.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cpm_port.engine import LearningNet
from cpm_port.errors import TrainingError, UsageError
from cpm_port.graph import CaffeNet
from cpm_port.training.loss import masked_euclidean_loss
from cpm_port.training.merged import forward_merged
from cpm_port.training.recompute import forward_recomputing

__all__ = ["Objective"]

_Forward = Callable[..., dict[str, Tensor]]


class Objective:
    """A net's losses.

    Parameters
    ----------
    net : CaffeNet
        In phase TRAIN, with at least one loss.
    masked : bool
        Replace every EuclideanLoss by the one that ignores cells whose label is NaN.
    bfloat16 : bool
        Run the net under autocast; weights and losses stay float32.
    compiled : bool
        Compile the net with `torch.compile` on the first batch.
    recompute : bool
        Keep no activations between groups of layers, and compute them again in the backward pass.
    engine : bool
        Run float32 nets on a CPU by `cpm_port.engine.LearningNet`.

    Attributes
    ----------
    names : tuple of str
        The losses.
    weights : dict of str to float
        Loss -> its `loss_weight`.
    measures : dict of str to int
        The net's further outputs that are a number, or an Accuracy's, with how many they are; maps are not among them.
    last_measures : Tensor or None
        Their values for the last batch, float32, one after the other; None without any.

    Raises
    ------
    TrainingError
        The net has no loss.
    UsageError
        Both `compiled` and `recompute`: recomputing runs the layers one by one; or one of the options with `engine`; or
        nothing can be compiled here, which the first batch may tell.
    """

    def __init__(
        self,
        net: CaffeNet,
        *,
        masked: bool = False,
        bfloat16: bool = False,
        compiled: bool = False,
        recompute: bool = False,
        engine: bool = False,
    ) -> None:
        self._terms = [
            (layer, top, weight)
            for layer in net.spec.layers
            for top, weight in zip(layer.tops, layer.loss_weights, strict=True)
            if weight
        ]
        if compiled and recompute:
            raise UsageError("compile and recompute: one of them expected; recomputing runs the layers one by one")
        if engine and (compiled or recompute or bfloat16):
            other = "compile" if compiled else "recompute" if recompute else "bfloat16"
            raise UsageError(f"engine and {other}: one of them expected; the engine computes in float32, its own way")
        if not self._terms:
            raise TrainingError(
                f"{net.spec.source}: the net has no loss in phase {net.spec.phase}; nothing to train on"
            )
        self.names = tuple(top for _, top, _ in self._terms)
        self.weights = {top: weight for _, top, weight in self._terms}
        self.measures = _measures(net)
        self.last_measures: Tensor | None = None
        self._masked = {top: layer.bottoms for layer, top, _ in self._terms if masked and layer.type == "EuclideanLoss"}
        self._wanted = [name for name in self.names if name not in self._masked]
        self._wanted += [bottom for bottoms in self._masked.values() for bottom in bottoms]
        self._wanted += self.measures
        self._bfloat16 = bfloat16
        if engine:
            self._forward: _Forward = LearningNet(net)
        elif recompute:
            self._forward = functools.partial(forward_recomputing, net)
        elif bfloat16 and not compiled:
            self._forward = functools.partial(forward_merged, net)
        else:
            self._forward = _compiled(net) if compiled else net

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted losses, shape (K,), float32; they carry gradients."""
        device = next(iter(inputs.values())).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self._bfloat16):
            blobs = self._forward(inputs, blobs=self._wanted)
        if self.measures:
            self.last_measures = torch.cat([blobs[name].detach().float().reshape(-1) for name in self.measures])
        return torch.stack([weight * self._term(blobs, top) for _, top, weight in self._terms])

    def _term(self, blobs: Mapping[str, Tensor], top: str) -> Tensor:
        if top in self._masked:
            return masked_euclidean_loss(*(blobs[name] for name in self._masked[top]))
        return blobs[top].float().sum()


def _compiled(net: CaffeNet) -> _Forward:
    """Return the net's forward pass, compiled when it is first called; a UsageError where PyTorch cannot do that."""
    try:
        forward = torch.compile(net)
    except RuntimeError as error:  # such a Python, or such a system
        raise UsageError(f"compile: {_first_words(error)}; leave it out") from error
    from torch._dynamo.exc import TorchDynamoException

    def run(*inputs: Any, **options: Any) -> dict[str, Tensor]:
        try:
            blobs: dict[str, Tensor] = forward(*inputs, **options)
        except TorchDynamoException as error:  # no compiler, no Triton
            raise UsageError(f"compile: {_first_words(error)}; leave it out") from error
        return blobs

    return run


def _first_words(error: Exception) -> str:
    """Return the first paragraph of an error on one line."""
    return " ".join(str(error).partition("\n\n")[0].split())


def _measures(net: CaffeNet) -> dict[str, int]:
    """Return the outputs that measure without counting as a loss, with their sizes."""
    shapes = net.blob_shapes
    return {
        top: math.prod(shapes[top])
        for layer, weights in ((step.spec, step.spec.loss_weights) for step in net.steps)
        for top, weight in zip(layer.tops, weights, strict=True)
        if top in net.outputs and not weight and (math.prod(shapes[top]) == 1 or layer.type == "Accuracy")
    }
