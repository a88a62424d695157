"""Compiled twins of `labels.py`: Gaussian peaks, written up to where they are cut off; an image's way into a blob."""
# Numba gives its own types to the names in a kernel:
# mypy: disallow-untyped-decorators=False, disable-error-code="arg-type,assignment"

from __future__ import annotations

import math

import numpy as np
from numba import float32, float64, int64, types, uint8, void
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel
from cpm_port.release import PAD_VALUE, PEAK_CUTOFF, PIXEL_DIVISOR

__all__ = ["add_gaussian", "label_maps", "normalize"]


@kernel(void(float32[:, ::1], float32, float32, int64, float64), nogil=True)
def add_gaussian(out: NDArray[np.float32], x: float, y: float, stride: int, sigma: float) -> None:
    """Add a peak at (x, y) to a map and keep the map at most 1.

    Parameters
    ----------
    out : ndarray, shape (h, w)
    x, y : float
        Crop px.
    stride : int
        Crop px per map cell; cell g stands at `g * stride + stride / 2 - 0.5`.
    sigma : float
        Crop px.
    """
    height, width = out.shape
    start = stride / 2.0 - 0.5
    reach = sigma * math.sqrt(2 * PEAK_CUTOFF) + 1.0
    first_x = min(max((x - reach - start) / stride, 0.0), float(width))
    first_y = min(max((y - reach - start) / stride, 0.0), float(height))
    last_x = min(max((x + reach - start) / stride, -1.0), width - 1.0)
    last_y = min(max((y + reach - start) / stride, -1.0), height - 1.0)
    for row in range(int(first_y), int(last_y) + 1):
        dy = np.float32(start + row * stride) - np.float32(y)
        for column in range(int(first_x), int(last_x) + 1):
            dx = np.float32(start + column * stride) - np.float32(x)
            exponent = np.float32(np.float32(dx * dx + dy * dy) / 2.0 / sigma / sigma)
            if exponent <= PEAK_CUTOFF:
                out[row, column] = min(out[row, column] + np.exp(-exponent), np.float32(1))


@kernel(void(types.Array(float32, 3, "C", readonly=True), int64, int64, float64, float32[:, :, ::1]), nogil=True)
def label_maps(people: NDArray[np.float32], parts: int, stride: int, sigma: float, out: NDArray[np.float32]) -> None:
    """Draw both label sets and their backgrounds.

    Parameters
    ----------
    people : ndarray, shape (1 + others, >= parts, 3)
        x, y (crop px) and code of each joint; the person to find comes first. Code 2 has no peak.
    parts : int
    stride, sigma
        As in `add_gaussian`.
    out : ndarray, shape (2 * (parts + 1), h, w)
        Overwritten: the person's parts, their background, everybody's parts, their background.
    """
    for channel in range(out.shape[0]):
        out[channel] = np.float32(0)
    for p in range(people.shape[0]):
        for part in range(parts):
            x, y, code = people[p, part]
            if code < 2:
                if p == 0:
                    add_gaussian(out[part], x, y, stride, sigma)
                add_gaussian(out[parts + 1 + part], x, y, stride, sigma)
    for first in (0, parts + 1):
        background = out[first + parts]
        for part in range(parts):
            own = out[first + part]
            for row in range(background.shape[0]):
                for column in range(background.shape[1]):
                    background[row, column] = max(background[row, column], own[row, column])
        for row in range(background.shape[0]):
            for column in range(background.shape[1]):
                background[row, column] = max(np.float32(1) - background[row, column], np.float32(0))


@kernel(void(types.Array(uint8, 3, "C", readonly=True), float32[:, :, ::1]), nogil=True)
def normalize(planes: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Write `(value - 128) / 256`, which float32 holds exactly, of planes of shape (C, H, W)."""
    values, written = planes.reshape(planes.size), out.reshape(out.size)
    for i in range(values.size):
        written[i] = (np.float32(values[i]) - np.float32(PAD_VALUE)) * np.float32(1 / PIXEL_DIVISOR)
