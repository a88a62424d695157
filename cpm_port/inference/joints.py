"""The peak of each part's summed belief map, with the original's rule for ties.

Where in the flow: bands of summed maps come in from `beliefs.py`, joints go out.

Conventions: joints are `(x, y)`, 0-based image px, whole numbers in float64.

Source: the reference notes (`release_testing.md`) section 3: MATLAB's `max` over a map stored column by column. The
benchmark's map is H x W, so among equal peaks the smallest x wins, then the smallest y; the demo's is W x H, so the
smallest y wins, then the smallest x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.compute.devices import to_host
from cpm_port.errors import UsageError

__all__ = ["PeakSearch", "TieRule", "find_peaks"]

TieRule = Literal["benchmark", "demo"]


class PeakSearch:
    """Finds every part's peak while the map's bands go by; on a GPU, only the result is waited for.

    Parameters
    ----------
    ties : {"benchmark", "demo"}
        Which of several equal peaks wins: smallest x then y, or smallest y then x.

    Raises
    ------
    UsageError
        An unknown rule.
    """

    def __init__(self, ties: TieRule) -> None:
        if ties not in ("benchmark", "demo"):
            raise UsageError(f"tie rule {ties!r}: expected 'benchmark' or 'demo'")
        self._by_column = ties == "benchmark"
        self._peak: Tensor | None = None
        self._x = self._y = torch.empty(0)

    def update(self, first_row: int, band: Tensor) -> None:
        """Take in the next band.

        Parameters
        ----------
        first_row : int
            The band's first image row; bands come top to bottom.
        band : Tensor, shape (R, P, W)
            Finite values.
        """
        peak = band.amax(dim=(0, 2))
        if self._peak is None:
            self._peak = torch.full_like(peak, -torch.inf)
            self._x = torch.zeros(len(peak), dtype=torch.int64, device=peak.device)
            self._y = torch.zeros_like(self._x)
        hit = band == peak[:, None]
        if self._by_column:
            x = _first(hit.any(dim=0))
            column = hit.gather(2, x[None, :, None].expand(len(hit), -1, 1))[..., 0]
            y = _first(column.T)
        else:
            y = _first(hit.any(dim=2).T)
            x = _first(hit[y, torch.arange(len(y), device=hit.device)])
        better = peak > self._peak
        if self._by_column:
            better |= (peak == self._peak) & (x < self._x)
        self._peak = torch.where(better, peak, self._peak)
        self._x, self._y = torch.where(better, x, self._x), torch.where(better, y + first_row, self._y)

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return joints (P, 2) and the values at them (P,)."""
        return self.queue_result()()

    def queue_result(self) -> Callable[[], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Send the result to the host; what is returned waits for it, on a GPU, and gives what `result` does."""
        assert self._peak is not None, "no band came in"
        arrived = to_host(torch.stack([self._x.double(), self._y.double(), self._peak.double()], dim=1))

        def result() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            found = arrived()
            return found[:, :2].copy(), found[:, 2].copy()

        return result


def find_peaks(maps: NDArray[Any], ties: TieRule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the peaks of whole maps.

    Parameters
    ----------
    maps : ndarray, shape (H, W, P), float
    ties : {"benchmark", "demo"}

    Returns
    -------
    joints : ndarray, shape (P, 2), float64
        `(x, y)`, 0-based.
    peaks : ndarray, shape (P,), float64
    """
    search = PeakSearch(ties)
    search.update(0, torch.from_numpy(np.ascontiguousarray(maps.transpose(0, 2, 1))))
    return search.result()


def _first(hit: Tensor) -> Tensor:
    """Return the index of the first True along the last dimension."""
    return hit.to(torch.uint8).argmax(dim=-1)
