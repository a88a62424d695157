"""A small renderer for drawn people: round cones and cards, seen along the z axis, with depth, patterns and light.

`cast` finds what the middle of each pixel sees; `shade` gives the pixels their colors, and looks at four samples of
those that lie at an edge. Lengths are px; x runs right, y down, z towards the viewer. Kernels are pure and release the
GIL, so several images are drawn side by side on threads.
"""
# Numba gives its own types to the names in a kernel:
# mypy: disallow-untyped-decorators=False, disable-error-code="arg-type,assignment,no-any-return"

from __future__ import annotations

import math

import numpy as np
from numba import float32, float64, int16, njit, types, uint8, uint32, void
from numpy.typing import NDArray

from cpm_port.compute.kernels import kernel

__all__ = ["CARD", "CONE", "MATERIAL_FIELDS", "SHAPE_FIELDS", "cast", "complete", "shade"]

SHAPE_FIELDS = ("x0", "y0", "z0", "r0", "x1", "y1", "z1", "r1", "kind", "material", "unit")
"""A cone runs from (x0, y0, z0) with radius r0 to (x1, y1, z1) with radius r1. A card is a flat rectangle about
(x0, y0, z0) with its half length r0 along the direction (x1, y1) and its half width r1. `unit` is what a pattern's
repeats are counted in, px."""
MATERIAL_FIELDS = (
    "blue", "green", "red", "blue2", "green2", "red2", "pattern", "along", "around", "share", "grain", "shine",
)  # fmt: skip
"""Two colors (0 to 255); which pattern they make, how often it repeats per unit along and around, the second color's
share; how rough and how glossy the surface is."""
CONE, CARD = 0, 1
SOLID, RINGS, STRIPES, CHECKS, DOTS, PATCHES = range(6)
_NOTHING = -1e9

_SHAPES = types.Array(float64, 2, "C", readonly=True)
_MATERIALS = types.Array(float32, 2, "C", readonly=True)
Hit = tuple[float, float, float, float, float, float]
"""Depth (very low: nothing), normal x, y, z, place along the axis (0 to 1), place across it (-1 to 1)."""


def complete(shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append to each shape's row what the kernels take from it: direction (x, y), length and rise per px of length.

    Parameters
    ----------
    shapes : ndarray, shape (N, 11)
        `SHAPE_FIELDS`.

    Returns
    -------
    ndarray, shape (N, 15)
    """
    card = shapes[:, 8] == CARD
    delta = shapes[:, 4:7] - shapes[:, 0:3]
    length = np.hypot(delta[:, 0], delta[:, 1])
    point = length < 1e-3
    divisor = np.where(point, 1, length)
    x = np.where(card, shapes[:, 4], np.where(point, 1, delta[:, 0] / divisor))
    y = np.where(card, shapes[:, 5], np.where(point, 0, delta[:, 1] / divisor))
    length = np.where(card, shapes[:, 3], np.where(point, 0, length))
    slope = np.where(card | point, 0, delta[:, 2] / divisor)
    return np.column_stack([shapes, x, y, length, slope])


@njit(error_model="numpy", nogil=True)
def _hit(shape: NDArray[np.float64], x: float, y: float) -> Hit:
    """Return what a sample sees of a shape.

    A cone is the union of balls along its axis; of those that cover the sample the one nearest to the viewer counts.
    Its radius is taken where the sample lies beside the axis.
    """
    x0, y0, z0, r0, z1, r1, kind = shape[0], shape[1], shape[2], shape[3], shape[6], shape[7], shape[8]
    ex, ey, length, slope = shape[11], shape[12], shape[13], shape[14]
    px, py = x - x0, y - y0
    along = px * ex + py * ey
    beside = py * ex - px * ey
    if kind == CARD:
        if abs(along) >= r0 or abs(beside) >= r1:
            return _NOTHING, 0.0, 0.0, 0.0, 0.0, 0.0
        u, v = along / r0, beside / r1
        return z0, 0.25 * v, 0.25 * u, 0.93, u, v
    end = 1.0 if z1 > z0 else 0.0
    part = min(max(along / length, 0.0), 1.0) if length > 0 else end
    radius = r0 + part * (r1 - r0)
    room = radius * radius - beside * beside
    if room <= 0:
        return _NOTHING, 0.0, 0.0, 0.0, 0.0, 0.0
    half = math.sqrt(room)
    low, high = max(along - half, 0.0), min(along + half, length)
    if low > high:
        return _NOTHING, 0.0, 0.0, 0.0, 0.0, 0.0
    place = 0.0
    if length > 0:
        place = min(max(along + slope * half / math.sqrt(1.0 + slope * slope), low), high)
        part = place / length
    q = along - place
    w = math.sqrt(max(room - q * q, 0.0))
    z = z0 + part * (z1 - z0) + w
    return z, (q * ex - beside * ey) / radius, (q * ey + beside * ex) / radius, w / radius, part, beside / radius


@kernel(void(_SHAPES, float32[:, ::1], int16[:, ::1]), nogil=True)
def cast(shapes: NDArray[np.float64], depth: NDArray[np.float32], seen: NDArray[np.int16]) -> None:
    """Find the shape that the middle of each pixel sees.

    Parameters
    ----------
    shapes : ndarray, shape (N, 15)
        What `complete` returned. Quickest where those in front come first.
    depth, seen : ndarray, shape (H, W)
        Written where a shape is nearer than what is there: its depth and number.
    """
    height, width = depth.shape
    for n in range(shapes.shape[0]):
        shape = shapes[n]
        ex, ey = shape[11], shape[12]
        if shape[8] == CARD:
            reach = shape[7]
            reach_x = abs(ex) * shape[3] + abs(ey) * reach
            reach_y = abs(ey) * shape[3] + abs(ex) * reach
            left, right = shape[0] - reach_x, shape[0] + reach_x
            top, bottom = shape[1] - reach_y, shape[1] + reach_y
        else:
            reach = max(shape[3], shape[7])
            left, right = min(shape[0] - shape[3], shape[4] - shape[7]), max(shape[0] + shape[3], shape[4] + shape[7])
            top, bottom = min(shape[1] - shape[3], shape[5] - shape[7]), max(shape[1] + shape[3], shape[5] + shape[7])
        nearest = shape[2] if shape[8] == CARD else max(shape[2] + shape[3], shape[6] + shape[7])
        for y in range(int(min(max(top, 0.0), height)), int(max(min(bottom + 1.0, height), 0.0))):
            first, last = left, right
            if abs(ey) > 1e-3:  # the row's part within `reach` of the axis
                middle, span = shape[0] + (y - shape[1]) * ex / ey, reach / abs(ey)
                first, last = max(first, middle - span), min(last, middle + span)
            for x in range(int(min(max(first, 0.0), width)), int(max(min(last + 1.0, width), 0.0))):
                if nearest > depth[y, x]:
                    z = _hit(shape, x, y)[0]
                    if z > depth[y, x]:
                        depth[y, x] = z
                        seen[y, x] = n


@njit(error_model="numpy", nogil=True)
def _noise(a: int, b: int, c: int) -> float:
    """Return a number in [0, 1) that looks random, for three whole numbers."""
    mask = np.int64(0xFFFFFFFF)
    h = (a * 374761393 + b * 668265263 + c * 974711) & mask
    h = ((h ^ (h >> 13)) * 1274126177) & mask
    return np.float64(h ^ (h >> 16)) / 4294967296.0


@njit(error_model="numpy", nogil=True)
def _second(material: NDArray[np.float32], u: float, v: float) -> bool:
    """Tell whether a pattern shows its second color at (u, v), in units along and around."""
    pattern = material[6]
    a, b, share = u * material[7], v * material[8], material[9]
    p, q = a - math.floor(a), b - math.floor(b)
    if pattern == RINGS:
        return p < share
    if pattern == STRIPES:
        return q < share
    if pattern == CHECKS:
        return (p < 0.5) != (q < 0.5)
    if pattern == DOTS:
        return (p - 0.5) ** 2 + (q - 0.5) ** 2 < 0.32 * share
    if pattern == PATCHES:
        return _noise(np.int64(math.floor(a)), np.int64(math.floor(b)), 7) < share
    return False


@njit(error_model="numpy", nogil=True)
def _color(
    shape: NDArray[np.float64],
    material: NDArray[np.float32],
    light: NDArray[np.float32],
    x: float,
    y: float,
    grain: float,
) -> tuple[float, float, float]:
    """Return the color of a shape at a place of the picture that it covers."""
    _, nx, ny, nz, part, across = _hit(shape, x, y)
    if shape[8] == CARD:
        u, v = part * shape[3], across * shape[7]
    else:
        dx, dy, dz = shape[4] - shape[0], shape[5] - shape[1], shape[6] - shape[2]
        u = part * math.sqrt(dx * dx + dy * dy + dz * dz)
        v = across * 0.5 * (shape[3] + shape[7])
    facing = max(nx * light[0] + ny * light[1] + nz * light[2], 0.0)
    bright = (light[3] + (1 - light[3]) * facing + 0.12 * nz - 0.12) * (1 + material[10] * grain)
    gloss = facing * facing
    gloss = 255 * material[11] * gloss * gloss * gloss * gloss
    first = 3 if _second(material, u / shape[10], v / shape[10]) else 0
    return (
        min(max(material[first] * bright + gloss, 0.0), 255.0),
        min(max(material[first + 1] * bright + gloss, 0.0), 255.0),
        min(max(material[first + 2] * bright + gloss, 0.0), 255.0),
    )


@njit(error_model="numpy", nogil=True)
def _nearest(shapes: NDArray[np.float64], numbers: NDArray[np.int64], x: float, y: float) -> int:
    """Return which of some shapes a sample sees, or -1."""
    found, depth = -1, _NOTHING
    for k in range(numbers.size):
        n = numbers[k]
        if n >= 0 and (k == 0 or n != numbers[0]) and (k < 2 or n != numbers[k - 1]):
            z = _hit(shapes[n], x, y)[0]
            if z > depth:
                found, depth = n, z
    return found


@kernel(
    void(
        _SHAPES,
        _MATERIALS,
        types.Array(float32, 1, "C", readonly=True),
        types.Array(int16, 2, "C", readonly=True),
        types.Array(uint8, 3, "C", readonly=True),
        uint32,
        uint8[:, :, ::1],
    ),
    nogil=True,
)
def shade(
    shapes: NDArray[np.float64],
    materials: NDArray[np.float32],
    light: NDArray[np.float32],
    seen: NDArray[np.int16],
    background: NDArray[np.uint8],
    seed: int,
    out: NDArray[np.uint8],
) -> None:
    """Color the picture.

    Parameters
    ----------
    shapes, materials : ndarray, shape (N, 15), (M, 12)
        What `complete` returned; `MATERIAL_FIELDS`.
    light : ndarray, shape (5,)
        Direction to the light (unit length), brightness without it, noise of the picture (grey levels).
    seen : ndarray, shape (H, W)
        What `cast` wrote; -1 shows the background.
    background : ndarray, shape (3, H, W)
    seed : int
        Of the noise.
    out : ndarray, shape (3, H, W)
    """
    height, width = seen.shape
    near = np.empty(5, np.int64)
    for row in range(height):
        for column in range(width):
            above, below = max(row - 1, 0), min(row + 1, height - 1)
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            own = seen[row, column]
            near[0], near[1], near[2] = own, seen[above, column], seen[below, column]
            near[3], near[4] = seen[row, left], seen[row, right]
            edge = near[1] != own or near[2] != own or near[3] != own or near[4] != own
            grain = _noise(column, row, np.int64(seed)) - 0.5
            samples = 4 if edge else 1
            blue = green = red = 0.0
            colored, color = -2, (0.0, 0.0, 0.0)
            for sample in range(samples):
                n, x, y = np.int64(own), np.float64(column), np.float64(row)
                if edge:
                    x, y = x - 0.25 + 0.5 * (sample % 2), y - 0.25 + 0.5 * (sample // 2)
                    n = _nearest(shapes, near, x, y)
                if n != colored:  # neighbouring samples of one shape share a color
                    colored = n
                    if n < 0:
                        color = (
                            float(background[0, row, column]),
                            float(background[1, row, column]),
                            float(background[2, row, column]),
                        )
                    else:
                        color = _color(shapes[n], materials[int(shapes[n, 9])], light, x, y, grain)
                blue += color[0]
                green += color[1]
                red += color[2]
            grain *= 2 * light[4]
            out[0, row, column] = np.uint8(min(max(blue / samples + grain, 0.0), 255.0))
            out[1, row, column] = np.uint8(min(max(green / samples + grain, 0.0), 255.0))
            out[2, row, column] = np.uint8(min(max(red / samples + grain, 0.0), 255.0))
