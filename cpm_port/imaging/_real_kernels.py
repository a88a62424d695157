"""`_kernels.resample` for maps: the same function, compiled for float32 and float64 when the first map is resized."""

from __future__ import annotations

from numba import float32, float64

from cpm_port.compute.kernels import kernel
from cpm_port.imaging import _kernels

__all__ = ["resample"]

resample = kernel([_kernels.resample_signature(real) for real in (float32, float64)], nogil=True)(
    getattr(_kernels.resample, "py_func", _kernels.resample)  # without a compiler the function is itself
)
