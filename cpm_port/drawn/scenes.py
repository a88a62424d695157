"""Drawn people, second half: where they stand. Backgrounds, clutter behind everyone, obstacles before everyone.

Shapes are rows of `SHAPE_FIELDS` in px, materials go to the scene's palette.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cpm_port.drawn._kernels import CARD, SHAPE_FIELDS
from cpm_port.drawn.people import Palette, random_color, random_material
from cpm_port.imaging.warp import Window, resize_cubic

__all__ = ["random_background", "random_clutter", "random_obstacles"]

Array = NDArray[np.float64]
_BEHIND, _BEFORE = -1e5, 1e5


def random_background(rng: np.random.Generator, width: int, height: int, difficulty: float) -> NDArray[np.uint8]:
    """Draw a background: clouds of color, an open place with a horizon, or a room with a patterned wall.

    Returns
    -------
    ndarray, shape (3, height, width), uint8
    """
    w, h = (width + 3) // 2, (height + 3) // 2  # at half size: backgrounds are out of focus
    base = random_color(rng)
    colors = np.stack([base + rng.uniform(0.2, 0.9) * (random_color(rng) - base) for _ in range(4)]).astype(np.float32)
    colors = colors.mean(axis=1, keepdims=True) + rng.uniform(0.2, 1) * (colors - colors.mean(axis=1, keepdims=True))
    coarse = _clouds(rng, w, h, 4)
    fine = _clouds(rng, w, h, int(rng.integers(12, 40)))
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    kind = rng.integers(3)
    picture = _blend(colors[0], colors[1], coarse[0])
    if kind == 0:
        picture = _blend(picture, colors[2][:, None, None], coarse[1] * fine[0])
    else:
        horizon = rng.uniform(0.3, 0.9) * h
        ground = _blend(colors[2], colors[3], np.clip((y - horizon) / (h - horizon + 1), 0, 1) * 0.6 + 0.4 * fine[0])
        if kind == 2:
            pitch = rng.uniform(6, 40)
            rows = np.floor(y / pitch)
            across = x / (pitch * rng.uniform(1, 3)) + 0.5 * (rows % 2) * rng.integers(2)
            joint = (across % 1 < 0.08) | ((y / pitch) % 1 < 0.12) & bool(rng.integers(2))
            picture = np.where(joint, colors[3][:, None, None], picture)
        picture = np.where(y > horizon, ground, picture)
    picture += (fine[:1] - 0.5) * (10 + 40 * difficulty * rng.random()) + (fine - 0.5) * 20
    small = np.clip(picture, 0, 255).astype(np.uint8)
    return resize_cubic(small, 2.0, Window(1, 1, width, height))


def random_clutter(rng: np.random.Generator, width: int, height: int, palette: Palette, difficulty: float) -> Array:
    """Draw things that stand behind everyone: cards, poles, balls; the more the harder."""
    count = int(rng.integers(0, 3 + int(11 * difficulty)))
    return _things(rng, width, height, palette, _BEHIND, 0.4, count)


def random_obstacles(
    rng: np.random.Generator, width: int, height: int, palette: Palette, difficulty: float, stature: float
) -> Array:
    """Draw one or two things that stand before everyone, in a third of the hardest images."""
    count = int(rng.integers(1, 3)) if rng.random() < 0.35 * difficulty else 0
    return _things(rng, width, height, palette, _BEFORE, 0.35 * stature / max(width, height), count)


def _things(
    rng: np.random.Generator, width: int, height: int, palette: Palette, depth: float, largest: float, count: int
) -> Array:
    rows = [_thing(rng, width, height, palette, depth + k, largest) for k in range(count)]
    return np.array(rows).reshape(-1, len(SHAPE_FIELDS))


def _thing(
    rng: np.random.Generator, width: int, height: int, palette: Palette, depth: float, largest: float
) -> list[float]:
    side = max(width, height)
    material = palette.add(random_material(rng, patterned=0.6, grain=0.3))
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    angle = rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.08) if rng.random() < 0.7 else rng.uniform(0, math.pi)
    kind = rng.integers(3)
    if kind == 0:
        long, wide = rng.uniform(0.15, 1, 2) * largest * side * 0.5
        return [x, y, depth, long, math.cos(angle), math.sin(angle), 0, wide, CARD, material, side]
    if kind == 1:
        reach, radius = rng.uniform(0.2, 1.5) * side * 0.5, rng.uniform(0.05, 0.2) * largest * side
        dx, dy = reach * math.cos(angle), reach * math.sin(angle)
        return [x - dx, y - dy, depth, radius, x + dx, y + dy, depth, radius * rng.uniform(0.5, 1), 0, material, side]
    radius = rng.uniform(0.1, 0.5) * largest * side * 0.5
    return [x, y, depth - radius, radius, x + 0.01, y, depth - radius, radius, 0, material, side]


def _clouds(rng: np.random.Generator, width: int, height: int, cells: int) -> NDArray[np.float32]:
    """Return three smooth random fields, 0 to 1, `cells` bumps along the longer side, shape (3, height, width)."""
    scale = max(width, height) / cells
    columns, rows = math.ceil(width / scale) + 2, math.ceil(height / scale) + 2
    grid = rng.integers(0, 256, (3, rows, columns), dtype=np.uint8)
    field = resize_cubic(grid, scale, Window(int(scale), int(scale), width, height))
    return field.astype(np.float32) / np.float32(255)


def _blend(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    def whole(color: NDArray[np.float32]) -> NDArray[np.float32]:
        return color if color.ndim == 3 else color[:, None, None]

    return whole(first) + (whole(second) - whole(first)) * share
