"""Belief maps to peaks on the image without the maps in between: the numba twin of `bands` and `PeakSearch`.

The sum over levels m of A_m B_m C_m^T (see `beliefs.py`) is taken sparsely, since a pixel sees only a few cells of each
level: first along the columns, `spread` = B_m C_m^T, then, for 32 pixels of a row at a time, along the rows; their
maxima are compared with the best so far and the values are forgotten.

Layouts, all float32: 16 parts side by side in a vector (`cpm_port/engine/_simd.py`).

- beliefs: (M, h, w, 16), spread: (M, h, W', 16) with W' a multiple of `BLOCK`
- taps of a level and a pixel row or column: the first cell, and K weights from it on (0 where there are fewer)
"""

from __future__ import annotations

from typing import Any

import numba as nb
from numba import types

from cpm_port.engine._simd import broadcast, fma, load, maximum, store, zeros

__all__ = ["BLOCK", "search", "spread"]

BLOCK = 32

_F = types.float32
_I = types.int64
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def _array(dtype: Any, axes: int, readonly: bool = True) -> Any:
    return types.Array(dtype, axes, "C", readonly=readonly)


@nb.njit(types.void(_array(_F, 4), _array(_I, 2), _array(_F, 3), _array(_F, 4, False), _I, _I), **_OPTIONS)
def spread(beliefs: Any, first: Any, weights: Any, out: Any, start: int, stop: int) -> None:
    """Write rows `start` to `stop` of the M h rows of cells, spread over the image's columns."""
    rows, cells, columns, taps = beliefs.shape[1], beliefs.shape[2], out.shape[2], weights.shape[2]
    source, to, w = beliefs.ctypes.data, out.ctypes.data, weights.ctypes.data
    for index in range(start, stop):
        level = index // rows
        for x in range(columns):
            total = zeros()
            for k in range(taps):
                at = (index * cells + first[level, x] + k) * 16
                total = fma(broadcast(w, (level * columns + x) * taps + k), load(source, at), total)
            store(to, (index * columns + x) * 16, total)


@nb.njit(
    types.void(
        _array(_F, 4), _array(_I, 2), _array(_F, 3), _I, _I, _I,
        _array(_F, 1, False), _array(_I, 2, False), _array(_F, 1, False), _I, _I,
    ),
    **_OPTIONS,
)  # fmt: skip
def search(
    spreads: Any,
    first: Any,
    weights: Any,
    width: int,
    parts: int,
    by_column: int,
    best: Any,
    place: Any,
    buffer: Any,
    start: int,
    stop: int,
) -> None:
    """Look for the peaks of `parts` parts in blocks `start` to `stop` of columns.

    `best` (16) and `place` (16, 2), the peaks so far and their (x, y), are brought up to date; among equal peaks the
    smallest x then y wins where `by_column`, else the smallest y then x. `buffer` holds (BLOCK + 1) * 16 floats.
    """
    levels, rows, columns = spreads.shape[0], spreads.shape[1], spreads.shape[2]
    height, taps = weights.shape[1], weights.shape[2]
    source, w, values = spreads.ctypes.data, weights.ctypes.data, buffer.ctypes.data
    for block in range(start, stop):
        left = block * BLOCK
        count = min(BLOCK, width - left)
        for y in range(height):
            for x in range(0, BLOCK, 4):
                a, b, c, d = zeros(), zeros(), zeros(), zeros()
                for level in range(levels):
                    for k in range(taps):
                        weight = broadcast(w, (level * height + y) * taps + k)
                        at = ((level * rows + first[level, y] + k) * columns + left + x) * 16
                        a = fma(weight, load(source, at), a)
                        b = fma(weight, load(source, at + 16), b)
                        c = fma(weight, load(source, at + 32), c)
                        d = fma(weight, load(source, at + 48), d)
                store(values, x * 16, a)
                store(values, x * 16 + 16, b)
                store(values, x * 16 + 32, c)
                store(values, x * 16 + 48, d)
            top = load(values, 0)
            for x in range(1, count):
                top = maximum(top, load(values, x * 16))
            store(values, BLOCK * 16, top)
            for part in range(parts):
                value = buffer[BLOCK * 16 + part]
                if value >= best[part]:
                    x = 0
                    while buffer[x * 16 + part] != value:
                        x += 1
                    x += left
                    if by_column:
                        earlier = x < place[part, 0] or (x == place[part, 0] and y < place[part, 1])
                    else:
                        earlier = y < place[part, 1] or (y == place[part, 1] and x < place[part, 0])
                    if value > best[part] or earlier:
                        best[part] = value
                        place[part, 0], place[part, 1] = x, y
