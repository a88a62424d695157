"""An exponential moving average of a run's weights: what is measured, and what one takes from the run.

Flow: weights after every update -> **average**. It smooths the last steps of a run, so that a model can be taken at any
time and not only where the rate has fallen. BatchNorm's running sums are averaged along with the weights.

The decay begins low, min(decay, (1 + n) / (10 + n)) after n updates, so that the first weights are soon forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet
from cpm_port.training.history import to_numpy

__all__ = ["WeightAverage"]


class WeightAverage:
    """The moving average of a net's parameters.

    Parameters
    ----------
    net : CaffeNet
        On its device; the average begins at its weights.
    decay : float
        Share of the average that stays at every update, 0 to below 1; 0.999 looks back some 1000 updates.

    Raises
    ------
    UsageError
        A decay outside that range.
    """

    def __init__(self, net: CaffeNet, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay of the average: expected 0 to below 1, got {decay}")
        self._net = net
        self._decay = decay
        self._params = list(net.parameters())
        self._values = [param.detach().clone() for param in self._params]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take in the weights after `updates` updates."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self._values, [param.detach() for param in self._params], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the net have the average's weights inside the `with` block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def blobs(self) -> dict[str, list[np.ndarray]]:
        """Return the average as layer name -> arrays."""
        with self.applied():
            return {name: [to_numpy(blob).copy() for blob in blobs] for name, blobs in self._net.params.items()}

    def restore(self, blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Take up an average where a snapshot left it; errors as of `CaffeNet.load_weights`."""
        with self.applied():
            self._net.load_weights(blobs)

    @torch.no_grad()
    def _exchange(self) -> None:
        for param, value in zip(self._params, self._values, strict=True):
            kept = param.detach().clone()
            param.copy_(value)
            value.copy_(kept)
