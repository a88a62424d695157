# mypy: disable-error-code="untyped-decorator"
"""The engine's matrix products: of spectra and weights, frequency by frequency, and of a 1 x 1 convolution.

Layouts, all float32, C-contiguous, with L = `panel_of` the output channels, which lie side by side in the weights:

- spectra: those of `_kernels.py`; their weights: (F, 2, O / L, C, L), real parts, then imaginary ones
- pixels: (pixels, C); their weights: (O / L, C, L)

Kernels work on a range given by the caller, release the GIL, and share nothing but their output's disjoint parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import WIDE, complex_block, real_block

__all__ = ["Layout", "panel_of", "pointwise", "product"]

_READ = types.Array(types.float32, 1, "C", readonly=True)
_WRITE = types.Array(types.float32, 1, "C")
_I = types.int64

# Rows of one product block, so that its sums fit the registers: 32 of 16 lanes (AVX-512), or 16 of 8 (AVX2).
_TALL, _MIDDLE, _SHORT = (6, 4, 4) if WIDE else (2, 2, 2)
_TALLEST = 12 if WIDE else 4  # of real numbers


def panel_of(outputs: int) -> int:
    """Return L, how many output channels lie side by side in the weights: 32 where registers and their number allow."""
    return 32 if WIDE and outputs % 32 == 0 else 16


class Layout(NamedTuple):
    """Where a matrix of each frequency lies, floats: how far it is from one to the next of what the fields name.

    `step` goes from column to column of the left factor, from panel to panel of the right one and of the product.
    """

    frequency: int
    row: int
    step: int
    imaginary: int


_named_tuple: Any = types.NamedUniTuple
_LAYOUT = _named_tuple(types.int64, len(Layout._fields), Layout)


@kernel(types.void(_READ, _LAYOUT, _READ, _LAYOUT, _WRITE, _LAYOUT, _I, _I, _I, _I, _I, _I), nogil=True)
def product(
    left: Any,
    left_layout: Layout,
    right: Any,
    right_layout: Layout,
    results: Any,
    layout: Layout,
    rows: int,
    depth: int,
    columns: int,
    panel: int,
    start: int,
    stop: int,
) -> None:
    """Multiply the complex matrices of frequencies `start` to `stop`: (rows, depth) by (depth, columns).

    `rows` is an even number, `columns` a multiple of the `panel`, L, how many of them lie side by side.
    """
    a, b, out = left.ctypes.data, right.ctypes.data, results.ctypes.data
    _, a_row, a_step, a_part = left_layout
    _, b_row, _, b_part = right_layout
    _, out_row, _, out_part = layout
    for f in range(start, stop):
        for column in range(columns // panel):
            w = b + 4 * (f * right_layout.frequency + column * right_layout.step)
            row = 0
            while row < rows:
                x = a + 4 * (f * left_layout.frequency + row * a_row)
                y = out + 4 * (f * layout.frequency + row * out_row + column * layout.step)
                if panel == 16 and rows - row >= _SHORT:
                    complex_block(x, a_row, a_step, a_part, w, b_row, b_part, y, out_row, out_part, depth, _SHORT, 1)
                    row += _SHORT
                elif panel == 16:
                    complex_block(x, a_row, a_step, a_part, w, b_row, b_part, y, out_row, out_part, depth, 2, 1)
                    row += 2
                elif rows - row >= _TALL:
                    complex_block(x, a_row, a_step, a_part, w, b_row, b_part, y, out_row, out_part, depth, _TALL, 2)
                    row += _TALL
                elif rows - row >= _MIDDLE:
                    complex_block(x, a_row, a_step, a_part, w, b_row, b_part, y, out_row, out_part, depth, _MIDDLE, 2)
                    row += _MIDDLE
                else:
                    complex_block(x, a_row, a_step, a_part, w, b_row, b_part, y, out_row, out_part, depth, 2, 2)
                    row += 2


@kernel(types.void(_READ, _READ, _READ, _WRITE, _I, _I, _I, _I, _I, _I), nogil=True)
def pointwise(
    maps: Any,
    weights: Any,
    bias: Any,
    results: Any,
    panel: int,
    channels: int,
    outputs: int,
    rectify: int,
    start: int,
    stop: int,
) -> None:
    """Take pixels `start` to `stop` through a 1 x 1 convolution.

    `maps` is (pixels, C), `results` (pixels, O), `weights` (O / L, C, L) with L the `panel`.
    """
    x, w, b, out = maps.ctypes.data, weights.ctypes.data, bias.ctypes.data, results.ctypes.data
    for column in range(0, outputs, panel):
        w_here, b_here = w + 4 * column * channels, b + 4 * column
        pixel = start
        while pixel < stop:
            a, y = x + 4 * pixel * channels, out + 4 * (pixel * outputs + column)
            rows = _TALLEST if stop - pixel >= _TALLEST else 1
            if rows > 1 and panel == 32:
                real_block(a, channels, w_here, b_here, y, outputs, channels, rectify, _TALLEST, 2)
            elif rows > 1:
                real_block(a, channels, w_here, b_here, y, outputs, channels, rectify, _TALLEST, 1)
            elif panel == 32:
                real_block(a, channels, w_here, b_here, y, outputs, channels, rectify, 1, 2)
            else:
                real_block(a, channels, w_here, b_here, y, outputs, channels, rectify, 1, 1)
            pixel += rows
