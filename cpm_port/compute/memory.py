"""Memory that the passes work in, kept from call to call: fresh memory has to be mapped page by page each time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Workspace", "aligned", "empty"]

Array = NDArray[np.float32]

_LINE = 16  # floats in a cache line


class Workspace:
    """Memory for one call at a time; calls that overlap on other threads get their own, which is not kept.

    Parameters
    ----------
    nbytes : int
        How much the spectra of one call may take; what does not fit is done in several steps.
    """

    def __init__(self, nbytes: int = 128 << 20) -> None:
        self.nbytes = nbytes
        self._kept: list[Array] = []

    @contextmanager
    def take(self, *counts: int) -> Iterator[list[Array]]:
        """Give one array of floats for each count, each starting on a cache line, for as long as the context lasts."""
        starts = np.cumsum([0] + [-(-count // _LINE) * _LINE for count in counts])
        try:
            block = self._kept.pop()
        except IndexError:
            block = aligned(0)
        if len(block) < starts[-1]:
            block = aligned(int(starts[-1]))
        try:
            yield [block[start : start + count] for start, count in zip(starts, counts, strict=False)]
        finally:
            if not self._kept:
                self._kept.append(block)


def aligned(count: int) -> Array:
    """Return so many floats, not initialised, beginning on a cache line. NumPy asks for huge pages where that helps."""
    block = np.empty(count + _LINE, np.float32)
    start = -(block.ctypes.data // 4) % _LINE
    return block[start : start + count]


def empty(*shape: int) -> Tensor:
    """Return a tensor, not initialised, in memory from `aligned`."""
    return torch.from_numpy(aligned(math.prod(shape))).view(shape)
