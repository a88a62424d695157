# mypy: disable-error-code="untyped-decorator"
"""One line's Fourier transform, 16 lines side by side: butterflies of 4, 6 and 8 points on vectors.

A complex vector is 32 floats: 16 real parts, then 16 imaginary ones. A line of T = r1 r2 of them is transformed as r2
butterflies of r1 points and r1 of r2 (Cooley-Tukey), r1 and r2 in {4, 6, 8}. The inverse, but for its factor, is the
same code with real and imaginary parts exchanged.

Kernels that use this are cached by the source of their own file: after a change here, touch those.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types

from cpm_port.compute.kernels import kernel
from cpm_port.compute.simd import broadcast, fma, load, store, zeros

__all__ = ["CONSTANTS", "inline", "transform"]

CONSTANTS = np.array([np.sqrt(0.5), np.sqrt(0.75), 0.5], np.float32)

inline: Any = nb.njit(error_model="numpy", forceinline=True)


@inline
def _put(out: int, at: int, real: Any, imaginary: Any, twiddles: int, k: int) -> None:
    """Store one complex vector, times twiddle k unless there are none (address 0)."""
    if twiddles == 0 or k == 0:
        store(out, at, real)
        store(out, at + 16, imaginary)
    else:
        c, s = broadcast(twiddles, 2 * k), broadcast(twiddles, 2 * k + 1)
        store(out, at, real * c - imaginary * s)
        store(out, at + 16, fma(real, s, imaginary * c))


@inline
def _butterfly_4(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int) -> None:
    ar, ai = load(x, i), load(x, i + 16)
    br, bi = load(x, i + step), load(x, i + step + 16)
    cr, ci = load(x, i + 2 * step), load(x, i + 2 * step + 16)
    dr, di = load(x, i + 3 * step), load(x, i + 3 * step + 16)
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    _put(out, o, er + gr, ei + gi, twiddles, 0)
    _put(out, o + out_step, fr + hi, fi - hr, twiddles, 1)
    _put(out, o + 2 * out_step, er - gr, ei - gi, twiddles, 2)
    _put(out, o + 3 * out_step, fr - hi, fi + hr, twiddles, 3)


@inline
def _three(ar: Any, ai: Any, br: Any, bi: Any, cr: Any, ci: Any, root: Any, half: Any) -> Any:
    """Return the three-point transform."""
    sr, si = br + cr, bi + ci
    dr, di = (br - cr) * root, (bi - ci) * root
    mr, mi = ar - half * sr, ai - half * si
    return ar + sr, ai + si, mr + di, mi - dr, mr - di, mi + dr


@inline
def _butterfly_6(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int) -> None:
    """Two transforms of three points, then two-point ones: n = 3 n1 + 2 n2 and k = 3 k1 + 4 k2 (mod 6), no twiddles."""
    root, half = broadcast(constants, 1), broadcast(constants, 2)
    x0, x1, x2, x3, x4, x5 = i, i + step, i + 2 * step, i + 3 * step, i + 4 * step, i + 5 * step
    ar, ai, br, bi, cr, ci = _three(
        load(x, x0), load(x, x0 + 16), load(x, x2), load(x, x2 + 16), load(x, x4), load(x, x4 + 16), root, half
    )
    dr, di, er, ei, fr, fi = _three(
        load(x, x3), load(x, x3 + 16), load(x, x5), load(x, x5 + 16), load(x, x1), load(x, x1 + 16), root, half
    )
    _put(out, o, ar + dr, ai + di, twiddles, 0)
    _put(out, o + 3 * out_step, ar - dr, ai - di, twiddles, 3)
    _put(out, o + 4 * out_step, br + er, bi + ei, twiddles, 4)
    _put(out, o + out_step, br - er, bi - ei, twiddles, 1)
    _put(out, o + 2 * out_step, cr + fr, ci + fi, twiddles, 2)
    _put(out, o + 5 * out_step, cr - fr, ci - fi, twiddles, 5)


@inline
def _four(ar: Any, ai: Any, br: Any, bi: Any, cr: Any, ci: Any, dr: Any, di: Any) -> Any:
    """Return the four-point transform."""
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    return er + gr, ei + gi, fr + hi, fi - hr, er - gr, ei - gi, fr - hi, fi + hr


@inline
def _butterfly_8(x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int) -> None:
    """Transforms of the four even and the four odd points, joined by the eighth roots of one."""
    root = broadcast(constants, 0)
    x0, x1, x2, x3 = i, i + step, i + 2 * step, i + 3 * step
    x4, x5, x6, x7 = i + 4 * step, i + 5 * step, i + 6 * step, i + 7 * step
    ar, ai, br, bi, cr, ci, dr, di = _four(
        load(x, x0), load(x, x0 + 16), load(x, x2), load(x, x2 + 16),
        load(x, x4), load(x, x4 + 16), load(x, x6), load(x, x6 + 16),
    )  # fmt: skip
    er, ei, fr, fi, gr, gi, hr, hi = _four(
        load(x, x1), load(x, x1 + 16), load(x, x3), load(x, x3 + 16),
        load(x, x5), load(x, x5 + 16), load(x, x7), load(x, x7 + 16),
    )  # fmt: skip
    fr, fi = (fr + fi) * root, (fi - fr) * root
    gr, gi = gi, zeros() - gr
    hr, hi = (hi - hr) * root, (zeros() - (hr + hi)) * root
    _put(out, o, ar + er, ai + ei, twiddles, 0)
    _put(out, o + 4 * out_step, ar - er, ai - ei, twiddles, 4)
    _put(out, o + out_step, br + fr, bi + fi, twiddles, 1)
    _put(out, o + 5 * out_step, br - fr, bi - fi, twiddles, 5)
    _put(out, o + 2 * out_step, cr + gr, ci + gi, twiddles, 2)
    _put(out, o + 6 * out_step, cr - gr, ci - gi, twiddles, 6)
    _put(out, o + 3 * out_step, dr + hr, di + hi, twiddles, 3)
    _put(out, o + 7 * out_step, dr - hr, di - hi, twiddles, 7)


@inline
def _butterflies(
    radix: int, x: int, i: int, step: int, out: int, o: int, out_step: int, twiddles: int, constants: int
) -> None:
    if radix == 4:
        _butterfly_4(x, i, step, out, o, out_step, twiddles)
    elif radix == 6:
        _butterfly_6(x, i, step, out, o, out_step, twiddles, constants)
    else:
        _butterfly_8(x, i, step, out, o, out_step, twiddles, constants)


@kernel(types.void(*[types.int64] * 9), nogil=True)
def transform(
    x: int, step: int, out: int, out_step: int, work: int, r1: int, r2: int, twiddles: int, constants: int
) -> None:
    """Transform one line of r1 r2 complex vectors, `step` floats apart, from x into out (x itself is fine).

    `constants` is the address of `CONSTANTS`; `twiddles` that of exp(-2 pi i n k / (r1 r2)), (r2, r1) complex;
    `work` holds r1 r2 complex vectors.
    """
    for n in range(r2):
        _butterflies(r1, x, n * step, r2 * step, work, n * 32, r2 * 32, twiddles + n * r1 * 8, constants)
    for k in range(r1):
        _butterflies(r2, work, k * r2 * 32, 32, out, k * out_step, r1 * out_step, 0, constants)
