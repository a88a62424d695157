# mypy: disable-error-code="untyped-decorator"
"""The engine's matrix products: of spectra and weights, frequency by frequency, and of a 1 x 1 convolution.

Layouts, all float32, C-contiguous, with L = `panel_of` the output channels, which lie side by side in the weights:

- spectra: those of `_kernels.py`; their weights: (F, 2, O / L, C, L), real parts, then imaginary ones
- pixels: (pixels, C); their weights: (O / L, C, L)

Kernels work on a range given by the caller, release the GIL, and share nothing but their output's disjoint parts.
"""

from __future__ import annotations

from typing import Any

from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import WIDE, complex_block, real_block

__all__ = ["panel_of", "pointwise", "product"]

_READ = types.Array(types.float32, 1, "C", readonly=True)
_WRITE = types.Array(types.float32, 1, "C")
_I = types.int64

# Rows of one product block, so that its sums fit the registers: 32 of 16 lanes (AVX-512), or 16 of 8 (AVX2).
_TALL, _MIDDLE, _SHORT = (6, 4, 4) if WIDE else (2, 2, 2)
_TALLEST = 12 if WIDE else 4  # of real numbers


def panel_of(outputs: int) -> int:
    """Return L, how many output channels lie side by side in the weights: 32 where registers and their number allow."""
    return 32 if WIDE and outputs % 32 == 0 else 16


@kernel(types.void(_READ, _I, _I, _I, _READ, _I, _I, _WRITE, _I, _I, _I, _I), nogil=True)
def product(
    spectra: Any,
    stride: int,
    channels: int,
    depth: int,
    weights: Any,
    panel: int,
    outputs: int,
    results: Any,
    result_stride: int,
    rows: int,
    start: int,
    stop: int,
) -> None:
    """Multiply the `rows` rows (an even number) of frequencies `start` to `stop` by their weights.

    `channels` is the distance between the two parts of a row, `depth` <= channels how many of them count; `panel` is L.
    """
    a, b, out = spectra.ctypes.data, weights.ctypes.data, results.ctypes.data
    plane, a_row, out_row = depth * outputs, 2 * channels, 2 * outputs
    for f in range(start, stop):
        for column in range(0, outputs, panel):
            w = b + 4 * (2 * f * plane + column * depth)
            row = 0
            while row < rows:
                x = a + 4 * (f * stride + row * a_row)
                y = out + 4 * (f * result_stride + row * out_row + column)
                if panel == 16 and rows - row >= _SHORT:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, _SHORT, 1)
                    row += _SHORT
                elif panel == 16:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, 2, 1)
                    row += 2
                elif rows - row >= _TALL:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, _TALL, 2)
                    row += _TALL
                elif rows - row >= _MIDDLE:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, _MIDDLE, 2)
                    row += _MIDDLE
                else:
                    complex_block(x, a_row, channels, w, plane, y, out_row, outputs, depth, 2, 2)
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
