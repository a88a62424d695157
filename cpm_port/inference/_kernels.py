"""Belief maps to peaks on the image without the maps in between: the numba twin of `bands` and `PeakSearch`.

The sum over levels m of A_m B_m C_m^T (see `beliefs.py`) is taken sparsely, since a pixel sees only a few cells of each
level. For a block of image columns, first along the columns, B_m C_m^T; then for a group of rows, that see the same few
rows of cells, as one small matrix product in registers. Maxima are compared with the best so far, and the values are
forgotten.

Layouts, all float32, with 16 parts side by side in a vector (`cpm_port/compute/simd.py`) and W' the image's columns
rounded up to whole blocks:

- cells: (M, h, w, 16)
- columns: per level and column the first cell, (M, W'), and K weights from it on, (M, W', K)
- rows: per group of `ROWS` rows and level the first row of cells, (groups, M), and for each row of the group D = M K'
  weights, K' of each level from that first row of cells on: (groups, ROWS, D). Weights of rows below the image are 0.
"""

from __future__ import annotations

from typing import Any

from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import WIDE, broadcast, fma, load, maximum, real_block, store, zeros

__all__ = ["BLOCK", "ROWS", "buffer_floats", "search"]

BLOCK = 32
ROWS, _PANEL = (12, 2) if WIDE else (4, 1)  # rows and columns of one product, so that its sums fit the registers

_F = types.float32
_I = types.int64


def buffer_floats(cell_rows: int, depth: int, levels: int) -> int:
    """Return how many floats of memory of its own each worker needs."""
    return levels * cell_rows * BLOCK * 16 + depth * _PANEL * 16 + _PANEL * 16 + (ROWS * BLOCK + 1) * 16


def _array(dtype: Any, axes: int, readonly: bool = True) -> Any:
    return types.Array(dtype, axes, "C", readonly=readonly)


@kernel(
    types.void(
        _array(_F, 4), _array(_I, 2), _array(_F, 3), _array(_I, 2), _array(_F, 3), _I, _I, _I, _I,
        _array(_F, 1, False), _array(_I, 2, False), _array(_F, 1, False), _I, _I,
    ),
    nogil=True,
)  # fmt: skip
def search(
    cells: Any,
    column_first: Any,
    column_weights: Any,
    row_first: Any,
    row_weights: Any,
    height: int,
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
    smallest x then y wins where `by_column`, else the smallest y then x. `buffer` holds `buffer_floats` floats.
    """
    levels, rows, cell_columns, _ = cells.shape
    columns, column_taps = column_weights.shape[1:]
    groups, _, depth = row_weights.shape
    row_taps = depth // levels
    source, w_columns, w_rows = cells.ctypes.data, column_weights.ctypes.data, row_weights.ctypes.data
    spread = buffer.ctypes.data
    packed = spread + 4 * levels * rows * BLOCK * 16
    nothing = packed + 4 * depth * _PANEL * 16
    for v in range(_PANEL):
        store(nothing, v * 16, zeros())
    values_at = (levels * rows * BLOCK + depth * _PANEL + _PANEL) * 16
    top_at = values_at + ROWS * BLOCK * 16
    for block in range(start, stop):
        left = block * BLOCK
        count = min(BLOCK, width - left)
        for line in range(levels * rows):
            level = line // rows
            for x in range(BLOCK):
                total = zeros()
                at, tap = (
                    line * cell_columns + column_first[level, left + x],
                    (level * columns + left + x) * column_taps,
                )
                for k in range(column_taps):
                    total = fma(broadcast(w_columns, tap + k), load(source, (at + k) * 16), total)
                store(spread, (line * BLOCK + x) * 16, total)
        for group in range(groups):
            for x in range(0, BLOCK, _PANEL):
                to = 0
                for level in range(levels):
                    at = ((level * rows + row_first[group, level]) * BLOCK + x) * 16
                    for k in range(row_taps):
                        for v in range(_PANEL):
                            store(packed, to, load(spread, at + (k * BLOCK + v) * 16))
                            to += 16
                real_block(
                    w_rows + 4 * group * ROWS * depth, depth, packed, nothing,
                    buffer.ctypes.data + 4 * (values_at + x * 16), BLOCK * 16, depth, 0, ROWS, _PANEL,
                )  # fmt: skip
            for row in range(min(ROWS, height - group * ROWS)):
                y = group * ROWS + row
                line_at = values_at + row * BLOCK * 16
                top = load(spread, line_at)
                for x in range(1, count):
                    top = maximum(top, load(spread, line_at + x * 16))
                store(spread, top_at, top)
                for part in range(parts):
                    value = buffer[top_at + part]
                    if value >= best[part]:
                        x = 0
                        while buffer[line_at + x * 16 + part] != value:
                            x += 1
                        x += left
                        if by_column:
                            earlier = x < place[part, 0] or (x == place[part, 0] and y < place[part, 1])
                        else:
                            earlier = y < place[part, 1] or (y == place[part, 1] and x < place[part, 0])
                        if value > best[part] or earlier:
                            best[part] = value
                            place[part, 0], place[part, 1] = x, y
