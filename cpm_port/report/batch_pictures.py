"""Pictures of training examples: what a CPM data layer gives, for people to look at.

BLOBS -> PICTURES; no torch. Each example becomes three panels side by side: the crop with its center map, the person's
own label maps (what stages 2 and later learn), and everybody's (what stage 1 learns). Every part has a color of its
own and its number at its peak; the background channels are not drawn.
"""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError
from cpm_port.imaging.opencv import cv2
from cpm_port.release import PAD_VALUE, PIXEL_DIVISOR

__all__ = ["example_picture"]

_TITLES = ("crop, center map", "the person: stages 2 on", "everybody: stage 1")
_STRIP = 22
_GAP = 4
_NUMBERED = 0.3  # peaks lower than this lie outside the crop: they keep their color and lose their number


def example_picture(data: NDArray[np.float32], label: NDArray[np.float32], name: str = "") -> NDArray[np.uint8]:
    """Draw one example.

    Parameters
    ----------
    data : ndarray, shape (4, H, W)
        Blue, green, red as `(value - 128) / 256`, and the center map.
    label : ndarray, shape (2 * (P + 1), h, w)
        See `training.labels`.
    name : str
        Written under the panels.

    Returns
    -------
    ndarray, uint8, BGR

    Raises
    ------
    ShapeError
        Blobs of another kind.
    """
    if data.ndim != 3 or len(data) != 4 or label.ndim != 3 or len(label) % 2 or len(label) < 4:
        raise ShapeError(f"blobs of shapes {data.shape} and {label.shape}; expected (4, H, W) and (2 P + 2, h, w)")
    pixels = np.clip(np.rint(data[:3] * PIXEL_DIVISOR + PAD_VALUE), 0, 255).astype(np.uint8)
    crop = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    parts = len(label) // 2 - 1
    panels = [
        _tinted(crop, data[3:4], [(255, 255, 255)]),
        *(_tinted(crop, maps, _colors(parts)) for maps in (label[:parts], label[parts + 1 : -1])),
    ]
    for panel, maps in zip(panels[1:], (label[:parts], label[parts + 1 : -1]), strict=True):
        _number(panel, maps)
    strips = [_strip(panel.shape[1], title) for panel, title in zip(panels, _TITLES, strict=True)]
    columns = [np.concatenate([strip, panel]) for strip, panel in zip(strips, panels, strict=True)]
    gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
    picture = np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1)
    return np.concatenate([picture, _strip(picture.shape[1], name)])


def _tinted(
    crop: NDArray[np.uint8], maps: NDArray[np.float32], colors: list[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Lay maps over the crop, each in its color, the crop darkened where there are none."""
    size = crop.shape[1], crop.shape[0]
    strength = np.zeros(crop.shape[:2], np.float32)
    tint = np.zeros(crop.shape, np.float32)
    for values, color in zip(maps, colors, strict=True):
        if values.max() > 0:
            large = np.clip(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), 0, 1)
            tint += large[:, :, None] * np.array(color, np.float32)
            strength += large
    tint /= np.maximum(strength, 1e-6)[:, :, None]
    share = 0.75 * np.minimum(strength, 1)[:, :, None]
    mixed = crop * (0.8 - 0.8 * share) + tint * share
    return np.ascontiguousarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _number(panel: Any, maps: NDArray[np.float32]) -> None:
    """Write each part's number at its highest peak."""
    rows, columns = maps.shape[1:]
    for part, values in enumerate(maps):
        y, x = divmod(int(values.argmax()), columns)
        if values[y, x] > _NUMBERED:
            at = round((x + 0.5) * panel.shape[1] / columns) + 4, round((y + 0.5) * panel.shape[0] / rows) - 4
            for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(panel, str(part), at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, color, width, cv2.LINE_AA)


def _strip(width: int, text: str) -> NDArray[np.uint8]:
    strip: Any = np.full((_STRIP, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (6, _STRIP - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return np.asarray(strip)


def _colors(count: int) -> list[tuple[int, int, int]]:
    """Return colors (blue, green, red) around the color circle."""
    circle = (colorsys.hsv_to_rgb(part / count, 0.85, 1.0) for part in range(count))
    return [(round(255 * blue), round(255 * green), round(255 * red)) for red, green, blue in circle]
