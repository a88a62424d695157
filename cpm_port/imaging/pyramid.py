"""From an image and a person's place in it to the boxes that the net sees: one per scale.

Where in the flow: `ScaleSearch` says where and how large to look (each data set has its rule), `build_pyramid` makes
the boxes. The net's input is made of them on the net's own device (`inference/predict.py`).

Conventions: points `(x, y)`, 0-based image px; MATLAB's 1-based values are shifted when annotations are read, before
they come here. Images are `(H, W, 3)` uint8, BGR. Boxes given by the user are `(x, y, width, height)`: the left, top
pixel and the distances to the right, bottom ones.

The release's rules are stated for its box of 368 px. For a net with a box of b px every rule here gives `b / 368` times
the scale, so that a person fills the same share of any box; the multipliers stay. (The demo's scales grow with b by
themselves: its base scale is 1 and its range is made of the box.)

Source: the reference notes (`release_testing.md`) section 1 (the release's `run_benchmark.m`, `config.m` and demo).
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpm_port import release
from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging.boxing import BoxGeometry, box_geometry, crop_to_box
from cpm_port.imaging.resize import FACTOR_LIMIT

__all__ = [
    "Pyramid",
    "ScaleSearch",
    "box_search",
    "build_pyramid",
    "demo_multipliers",
    "demo_search",
    "flic_search",
    "lsp_search",
    "mpii_search",
    "octave_range",
    "positive",
]


@dataclass(frozen=True)
class ScaleSearch:
    """Where to look for one person, and at which scales.

    Attributes
    ----------
    center_xy : (float, float)
        Image px, 0-based.
    base_scale : float
        The release's `scale0`: scaled px per image px at multiplier 1.
    multipliers : tuple of float
        The scales looked at, relative to `base_scale`.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import ScaleSearch
    >>> ScaleSearch((50.0, 80.0), 0.5, (0.8, 1.0)).scales
    (0.4, 0.5)
    """

    center_xy: tuple[float, float]
    base_scale: float
    multipliers: tuple[float, ...] = release.BENCHMARK_MULTIPLIERS

    @property
    def scales(self) -> tuple[float, ...]:
        """Scaled px per image px, one per level."""
        return tuple(self.base_scale * multiplier for multiplier in self.multipliers)


@dataclass(frozen=True)
class Pyramid:
    """The boxes of one person.

    Attributes
    ----------
    crops : ndarray, shape (M, box_size, box_size, 3), uint8, BGR
    geometries : tuple of BoxGeometry
        How each box lies over the image.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> pyramid = build_pyramid(np.zeros((100, 80, 3), np.uint8), (40.0, 50.0), (0.9, 1.1), 64)
    >>> pyramid.crops.shape, pyramid.geometries[0].scaled_size
    ((2, 64, 64, 3), (90, 72))
    """

    crops: NDArray[np.uint8]
    geometries: tuple[BoxGeometry, ...]


def build_pyramid(
    image: NDArray[np.uint8], center_xy: tuple[float, float], scales: tuple[float, ...], box_size: int
) -> Pyramid:
    """Make the box of every scale, several at a time on threads.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3), uint8, BGR
    center_xy : (float, float)
        The person's center, image px, 0-based.
    scales : tuple of float
        Scaled px per image px.
    box_size : int
        Side of the net's input.

    Raises
    ------
    ShapeError
        The image is not (H, W, 3) uint8.
    UsageError
        No scales, a scale out of bounds, a center that is not finite, or so far away that no box touches the image.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> build_pyramid(np.zeros((100, 80, 3), np.uint8), (40.0, 50.0), (1.0,), 64).crops.shape
    (1, 64, 64, 3)
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ShapeError(f"image is {image.shape} {image.dtype}, expected (H, W, 3) uint8, not empty")
    if not scales:
        raise UsageError("no scales to look at: expected at least one multiplier")
    for scale in scales:
        if not 1.0 / FACTOR_LIMIT <= scale <= FACTOR_LIMIT:
            raise UsageError(f"scale {scale}: expected {1 / FACTOR_LIMIT} to {FACTOR_LIMIT}")
    geometries = tuple(box_geometry(image.shape[:2], center_xy, scale, box_size) for scale in scales)
    if not any(_sees_image(geometry) for geometry in geometries):
        raise UsageError(
            f"center ({center_xy[0]:g}, {center_xy[1]:g}) of an image {image.shape[1]} x {image.shape[0]}: "
            f"no box about it touches the image at scales {min(scales):g} to {max(scales):g}"
        )
    image = np.ascontiguousarray(image)
    with ThreadPoolExecutor(min(len(scales), os.cpu_count() or 1)) as threads:
        crops = list(threads.map(lambda geometry: crop_to_box(image, geometry), geometries))
    return Pyramid(np.stack(crops), geometries)


def lsp_search(image_size: tuple[int, int], box_size: int = release.BOX_SIZE) -> ScaleSearch:
    """LSP's rule: the image's centre, and its height as the person's.

    Source: centre `(W/2, H/2)` in 1-based coordinates, base scale `0.8 / (H / 368)`.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import lsp_search
    >>> search = lsp_search((184, 100))
    >>> search.center_xy, search.base_scale
    ((49.0, 91.0), 1.6)
    """
    height, width = image_size
    return ScaleSearch((width / 2 - 1.0, height / 2 - 1.0), release.LSP_BOX_SHARE / (height / box_size))


def mpii_search(objpos_xy: tuple[float, float], person_scale: float, box_size: int = release.BOX_SIZE) -> ScaleSearch:
    """MPII's rule: `objpos` (here 0-based) and `target_dist / scale`.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import mpii_search
    >>> round(mpii_search((594.0, 257.0), 3.02).base_scale, 4)
    0.3879
    """
    return ScaleSearch(objpos_xy, release.target_dist(box_size) / positive("MPII scale", person_scale))


def flic_search(torso_box: tuple[float, float, float, float], box_size: int = release.BOX_SIZE) -> ScaleSearch:
    """FLIC's rule.

    Parameters
    ----------
    torso_box : (x1, y1, x2, y2)
        FLIC's `torsobox`, here 0-based.

    Notes
    -----
    Source: centre `((x1 + x2) / 2, 0.7 y1 + 0.3 y2)`, base scale `(41/35) / (0.0110 * torso height)`.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import flic_search
    >>> search = flic_search((100, 50, 180, 150))
    >>> search.center_xy, round(search.base_scale, 3)
    ((140.0, 80.0), 1.065)
    """
    height = positive("height of the torso box", torso_box[3] - torso_box[1])
    scale = release.FLIC_SCALE_PER_TORSO * height
    return ScaleSearch(release.flic_center(torso_box), release.target_dist(box_size) / scale)


def box_search(box: tuple[float, float, float, float], box_size: int = release.BOX_SIZE) -> ScaleSearch:
    """Search as MPII's rule does, with the centre of a person's box, and its longer side / 200 px as the scale.

    This is our rule, for users who have boxes: MPII's `scale` is the person's height over 200 px, and a
    person who lies down has a box as wide as they are tall.

    Parameters
    ----------
    box : (x, y, width, height)
        Image px, 0-based.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import box_search
    >>> search = box_search((40, 60, 120, 300))
    >>> search.center_xy, round(search.base_scale, 3)
    ((100.0, 210.0), 0.781)
    """
    x, y, width, height = box
    longer = max(positive("width of the box", width), positive("height of the box", height))
    return mpii_search((x + width / 2.0, y + height / 2.0), longer / release.MPII_PERSON_HEIGHT, box_size)


def demo_search(
    image_size: tuple[int, int], box: tuple[float, float, float, float], box_size: int = release.BOX_SIZE
) -> ScaleSearch:
    """Search as the demo does: the centre of the dragged rectangle and a range of scales about its height.

    Parameters
    ----------
    image_size : (int, int)
        Height and width.
    box : (x, y, width, height)
        The rectangle, image px, 0-based; it is clipped to the image first.

    Raises
    ------
    UsageError
        Nothing of the rectangle lies in the image.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import demo_search
    >>> demo_search((400, 300), (250, 50, 100, 300)).center_xy  # the box is clipped to the image
    (274.5, 200.0)
    """
    height, width = image_size
    x, y, box_width, box_height = box
    left, right = max(x, 0.0), min(x + box_width, width - 1.0)
    top, bottom = max(y, 0.0), min(y + box_height, height - 1.0)
    if not (left < right and top < bottom):
        raise UsageError(f"box {tuple(box)}: nothing of it lies in the image, {width} x {height}")
    return ScaleSearch(
        ((left + right) / 2.0, (top + bottom) / 2.0), 1.0, demo_multipliers(height, bottom - top, box_size)
    )


def demo_multipliers(image_height: int, person_height: float, box_size: int = release.BOX_SIZE) -> tuple[float, ...]:
    """Return the demo's scales: from a person of a third of the box to one larger than it, six for each factor of 2.

    Source: `middle = 1.2 h / H`; from `368 / (H * 3.0 * middle)` to `368 / (H * 0.8 * middle)`; exponents of 2 in
    MATLAB's range arithmetic.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import demo_multipliers
    >>> scales = demo_multipliers(400, 300.0)
    >>> len(scales), round(scales[0], 3), round(scales[-1], 3)
    (12, 0.341, 1.214)
    """
    middle = release.DEMO_PERSON_HEIGHT * positive("height of the person", person_height) / image_height
    start, end = (box_size / (image_height * share * middle) for share in release.DEMO_SHARES)
    return octave_range(start, end, release.DEMO_SCALES_PER_OCTAVE)


def octave_range(start: float, end: float, octave: int) -> tuple[float, ...]:
    """Return `2 .^ (log2(start) : 1 / octave : log2(end))`.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import octave_range
    >>> octave_range(0.5, 2.0, 1)
    (0.5, 1.0, 2.0)
    """
    first, last, step = math.log2(start), math.log2(end), 1.0 / octave
    count = math.floor((last - first) / step * (1.0 + 2.0**-52)) + 1
    return tuple(2.0 ** (first + i * step) for i in range(count))


def positive(name: str, value: float) -> float:
    """Return a number above 0; UsageError, with the value's name, where it is none.

    Examples
    --------
    >>> from cpm_port.imaging.pyramid import positive
    >>> positive("width", 3)
    3.0
    """
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"{name} is {value}, expected a number above 0")
    return number


def _sees_image(geometry: BoxGeometry) -> bool:
    top, bottom, first, last = geometry.window
    return top < bottom and first < last
