"""glibc's `rand()`: the generator that the authors' data layer draws from.

Used to replay a training run of the original: nothing in Caffe calls `srand`, so every run of the fork without an
explicit `srand` draws the sequence of seed 1 (1804289383, 846930886, 1681692777, ...), and Caffe's `random_seed` has no
effect on it.

*Source*: the additive feedback generator of degree 31 that glibc documents (`random_r.c`, TYPE_3): each number is the
sum of the numbers 3 and 31 places before it, modulo 2**32, its lowest bit dropped. The first 31 come from the seed by
`16807 x mod (2**31 - 1)`, the next 3 repeat the first, and the first 310 sums are thrown away.
"""
# Numba gives its own types to the names in a kernel:
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import uint32, void
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel
from cpm_port.errors import UsageError

__all__ = ["RAND_MAX", "CRand"]

RAND_MAX = 2**31 - 1
_DEGREE, _LAG, _WARM_UP = 31, 3, 310
_BLOCK = 4096


class CRand:
    """A `rand()` sequence of its own.

    Parameters
    ----------
    seed : int
        As given to `srand`; 0 counts as 1, as in glibc. The default is the sequence of a process that never calls
        `srand`.

    Raises
    ------
    UsageError
        A seed that is not in 0 to 2**32 - 1.
    """

    def __init__(self, seed: int = 1) -> None:
        if not 0 <= seed < 2**32:
            raise UsageError(f"srand {seed}: expected 0 to {2**32 - 1}")
        signed = seed - 2**32 if seed >= 2**31 else seed or 1
        state = [signed % 2**32]
        for _ in range(_DEGREE - 1):
            # C's division truncates towards zero; a negative result is brought back by adding the modulus
            quotient, remainder = divmod(abs(signed), 127773)
            sign = -1 if signed < 0 else 1
            signed = 16807 * sign * remainder - 2836 * sign * quotient
            signed += RAND_MAX if signed < 0 else 0
            state.append(signed)
        self._last = np.array(state[_LAG:] + state[:_LAG], np.uint32)  # the last 31 numbers, oldest first
        self._block: list[int] = []  # numbers that are computed and not yet drawn, the next one last
        self._fill(_WARM_UP)
        self._block.clear()

    def rand(self) -> int:
        """Return the next number, 0 to `RAND_MAX`."""
        if not self._block:
            self._fill(_BLOCK)
        return self._block.pop()

    def _fill(self, count: int) -> None:
        history = np.empty(_DEGREE + count, np.uint32)
        history[:_DEGREE] = self._last
        _extend(history)
        self._last = history[count:].copy()
        self._block = (history[: _DEGREE - 1 : -1] >> 1).tolist()


@kernel(void(uint32[::1]), nogil=True)
def _extend(history: NDArray[np.uint32]) -> None:
    """Continue a history of 31 numbers to the array's end."""
    for i in range(_DEGREE, history.size):
        history[i] = np.uint32((np.int64(history[i - _DEGREE]) + np.int64(history[i - _LAG])) & 0xFFFFFFFF)
