"""Scale an image, then pad and crop it to a square box about a center; and the way back.

Where in the flow: one `BoxGeometry` per level of the pyramid; `crop_to_box` makes the net's input, `unbox` and the
matrices of `inference/beliefs.py` take its belief maps back.

Conventions: points are `(x, y)`, 0-based pixels; sizes are `(height, width)`; pads are up, left, down, right, positive
where the box reaches beyond the scaled image, negative where it cuts it.

Source: the reference notes (`release_testing.md`) section 2, steps 1 and 2, and section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging.resize import imresize, resized_length
from cpm_port.release import PAD_VALUE

__all__ = [
    "SCALED_LIMIT",
    "BoxGeometry",
    "box_geometry",
    "crop_to_box",
    "round_half_away",
    "unbox",
]

SCALED_LIMIT = 1 << 16
"""Longest side of a scaled image, px: more is taken for a mistake, as the way back would need that much memory."""


@dataclass(frozen=True)
class BoxGeometry:
    """How one level of the pyramid lies over its image.

    Attributes
    ----------
    image_size, scaled_size : (int, int)
        Height and width before and after scaling.
    scale : float
        Scaled px per image px.
    box_size : int
        Side of the box, px.
    pad : (int, int, int, int)
        Up, left, down, right: box rows or columns beyond the scaled image (negative: image cut off).
    """

    image_size: tuple[int, int]
    scaled_size: tuple[int, int]
    scale: float
    box_size: int
    pad: tuple[int, int, int, int]

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right of the scaled image's part inside the box (ends excluded; may be empty)."""
        up, left, _, _ = self.pad
        height, width = self.scaled_size
        top, bottom = _overlap(up, height, self.box_size)
        first, last = _overlap(left, width, self.box_size)
        return top, bottom, first, last

    def to_box(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Image px to box px; `xy` is (..., 2). Pixel centres map as `imresize` maps them."""
        up, left = self.pad[:2]
        return (np.asarray(xy, np.float64) + 0.5) * self.scale - 0.5 + np.array([left, up], np.float64)

    def to_image(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Box px to image px: the inverse of `to_box`."""
        up, left = self.pad[:2]
        return (np.asarray(xy, np.float64) - np.array([left, up], np.float64) + 0.5) / self.scale - 0.5


def box_geometry(
    image_size: tuple[int, int], center_xy: tuple[float, float], scale: float, box_size: int
) -> BoxGeometry:
    """Place a box of `box_size` about a person's center in the image scaled by `scale`.

    Parameters
    ----------
    image_size : (int, int)
        Height and width, image px.
    center_xy : (float, float)
        The person's center, image px, 0-based.
    scale : float
        Scaled px per image px.
    box_size : int
        Even side of the box.

    Raises
    ------
    UsageError
        The box size is odd or not positive; the center is not finite; the scale is not above 0, or makes the image
        larger than `SCALED_LIMIT`.

    Notes
    -----
    Source: the center is scaled in MATLAB's 1-based coordinates, `round(centre * scale)` with halves away from zero,
    and pad is `b/2 - c_y, b/2 - c_x, b/2 - (h - c_y), b/2 - (w - c_x)`.
    """
    if box_size <= 0 or box_size % 2:
        raise UsageError(f"box size is {box_size}, expected a positive even number")
    if not (math.isfinite(scale) and scale > 0 and all(math.isfinite(c) for c in center_xy)):
        raise UsageError(f"center {tuple(center_xy)}, scale {scale}: expected finite numbers and a scale above 0")
    if max(image_size) * scale > SCALED_LIMIT:
        raise UsageError(
            f"scale {scale:g} makes an image of {image_size[1]} x {image_size[0]} larger than {SCALED_LIMIT} px"
        )
    half = box_size // 2
    height, width = (resized_length(length, scale) for length in image_size)
    x, y = (round_half_away((c + 1.0) * scale) for c in center_xy)
    pad = (half - y, half - x, half - (height - y), half - (width - x))
    return BoxGeometry((int(image_size[0]), int(image_size[1])), (height, width), float(scale), box_size, pad)


def crop_to_box(image: NDArray[np.uint8], geometry: BoxGeometry, fill: int = PAD_VALUE) -> NDArray[np.uint8]:
    """Return the box's view of the image: resized, rounded, cropped and padded.

    Parameters
    ----------
    image : ndarray, shape (H, W, C), uint8
    geometry : BoxGeometry
    fill : int
        What lies beyond the image.

    Returns
    -------
    ndarray, shape (box_size, box_size, C), uint8
        Only the rows and columns that the box keeps are computed.

    Raises
    ------
    ShapeError
        The image is not the one that the geometry was made for.
    """
    if image.shape[:2] != geometry.image_size:
        raise ShapeError(f"crop_to_box: image is {image.shape[:2]}, the geometry expects {geometry.image_size}")
    side = geometry.box_size
    box = np.full((side, side, image.shape[2]), fill, np.uint8)
    top, bottom, first, last = geometry.window
    if top < bottom and first < last:
        up, left, _, _ = geometry.pad
        part = imresize(image, factor=geometry.scale, window=(top, bottom, first, last))
        box[top + up : bottom + up, first + left : last + left] = part
    return box


def unbox(box: NDArray[Any], geometry: BoxGeometry, fill: float = 0.0) -> NDArray[Any]:
    """Undo padding and cropping: a map over the box becomes a map over the scaled image.

    Parameters
    ----------
    box : ndarray, shape (box_size, box_size) or (box_size, box_size, C)
    geometry : BoxGeometry
    fill : float
        The value where the box had cut the image off.

    Returns
    -------
    ndarray, shape (scaled height, scaled width) or (..., C), of the map's type
    """
    side = geometry.box_size
    if box.shape[:2] != (side, side):
        raise ShapeError(f"unbox: map is {box.shape[:2]}, expected {(side, side)}")
    result = np.full((*geometry.scaled_size, *box.shape[2:]), fill, box.dtype)
    top, bottom, first, last = geometry.window
    up, left, _, _ = geometry.pad
    result[top:bottom, first:last] = box[top + up : bottom + up, first + left : last + left]
    return result


def round_half_away(value: float) -> int:
    """MATLAB's `round`: halves go away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _crop_to_box_reference(image: NDArray[np.uint8], geometry: BoxGeometry, fill: int = PAD_VALUE) -> NDArray[np.uint8]:
    """`crop_to_box` as the release orders it: resize everything, then pad, then crop."""
    up, left, down, right = geometry.pad
    scaled = imresize(image, factor=geometry.scale)
    margins = [(max(up, 0), max(down, 0)), (max(left, 0), max(right, 0)), (0, 0)]
    padded = np.pad(scaled, margins, constant_values=fill)
    top, first = max(-up, 0), max(-left, 0)
    return padded[top : top + geometry.box_size, first : first + geometry.box_size]


def _overlap(before: int, length: int, box_size: int) -> tuple[int, int]:
    """Return the part of 0..length-1 whose positions, shifted by `before`, lie in 0..box_size-1."""
    start = min(max(-before, 0), length)
    return start, max(start, min(length, box_size - before))
