"""A person's seven boxes: our `imresize` beside Pillow, OpenCV and the release's steps in NumPy.

Timed, from the decoded image to the seven boxes of 368 px, for images of 640 x 360 and 1920 x 1080, the person as tall
as the image (LSP's rule):

- `ours`: `build_pyramid`, which computes only the rows and columns that a box keeps, the scales on threads;
- `ours, one thread`: the same boxes one after another;
- `ours, whole images`: the compiled resize of the whole image, then pad and crop, one thread;
- `NumPy, the release's steps`: the whole image, one dimension after the other, in plain NumPy (`_resample_reference`);
- `Pillow, bicubic`: the same kernel as MATLAB's, antialiased too, in 8-bit fixed point (one thread);
- `OpenCV, cubic`: what ports of the release use, another kernel (a = -0.75) and no antialiasing (its own threads);
- `OpenCV, area`: what is used for shrinking.

First, ours and NumPy must give the same bytes: those of MATLAB, as the tests hold (tests/imaging). Pillow's and
OpenCV's are others, though scaled by the same factor; `differing` says how many, and by how many levels of 255 on
average. (Their sizes are rounded otherwise: a last row or column that they lack is left out of their boxes.)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cpm_port.bench._timing import take_turns
from cpm_port.bench.person import drawn_image
from cpm_port.errors import DataError
from cpm_port.imaging.boxing import BoxGeometry, box_geometry, crop_to_box
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.pyramid import build_pyramid, lsp_search
from cpm_port.imaging.resize import _resample_reference, imresize, taps
from cpm_port.release import BOX_SIZE, PAD_VALUE

__all__ = ["configure", "run"]

_SAME = ("ours, one thread", "ours, whole images", "NumPy, the release's steps")
_SIZES = ((360, 640), (1080, 1920))
Picture = NDArray[np.uint8]
Resize = Callable[[Picture, BoxGeometry], Picture]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=7, help="timed turns per side (default: %(default)s)")
    parser.add_argument(
        "--sizes", nargs="+", type=_size, default=_SIZES, metavar="WxH", help="of the images (640x360 1920x1080)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time every side at every size, and return medians, spread, ratios and differences."""
    result: dict[str, Any] = {"medians": {}, "spread": {}, "ratios": {}, "differing": {}}
    boxes = 0
    for height, width in args.sizes:
        size = f"{width} x {height}"
        sides = _sides(drawn_image(height, width))
        expected = sides["ours"]()
        boxes += len(expected)
        for name, side in sides.items():
            found = side()
            off = np.abs(found.astype(np.int16) - expected)
            if name in _SAME and off.any():
                raise DataError(f"{size}: {name!r} gives other bytes than ours, by up to {off.max()}")
            if name not in ("ours", *_SAME):
                share, mean = round(100.0 * float((off > 0).mean()), 1), round(float(off.mean()), 3)
                result["differing"][f"{size}, {name}"] = {"percent": share, "mean_levels": mean}
        timed = take_turns(sides, args.repeats)
        for key in ("medians", "spread"):
            result[key] |= {f"{size}, {name}": value for name, value in timed[key].items()}
        medians = timed["medians"]
        result["ratios"] |= {f"{size}, {name}": medians[name] / medians["ours"] for name in sides if name != "ours"}
    return {
        "parity": f"{boxes} boxes, every byte, in {len(_SAME) + 1} ways",
        **result,
        "repeats": args.repeats,
        "opencv_threads": cv2.getNumThreads(),
    }


def _sides(image: Picture) -> dict[str, Callable[[], Picture]]:
    size = (image.shape[0], image.shape[1])
    search = lsp_search(size)
    geometries = [box_geometry(size, search.center_xy, scale, BOX_SIZE) for scale in search.scales]

    def whole(resize: Resize) -> Callable[[], Picture]:
        return lambda: np.stack([_pad_and_crop(resize(image, geometry), geometry) for geometry in geometries])

    return {
        "ours": lambda: build_pyramid(image, search.center_xy, search.scales, BOX_SIZE).crops,
        "ours, one thread": lambda: np.stack([crop_to_box(image, geometry) for geometry in geometries]),
        "ours, whole images": whole(lambda picture, geometry: imresize(picture, factor=geometry.scale)),
        "NumPy, the release's steps": whole(_numpy),
        "Pillow, bicubic": whole(_pillow),
        "OpenCV, cubic": whole(lambda picture, geometry: _opencv(picture, geometry, cv2.INTER_CUBIC)),
        "OpenCV, area": whole(lambda picture, geometry: _opencv(picture, geometry, cv2.INTER_AREA)),
    }


def _numpy(image: Picture, geometry: BoxGeometry) -> Picture:
    rows, columns = (
        taps(length, geometry.scale, 0, scaled)
        for length, scaled in zip(geometry.image_size, geometry.scaled_size, strict=True)
    )
    return np.asarray(_resample_reference(image, rows, columns), np.uint8)


def _pillow(image: Picture, geometry: BoxGeometry) -> Picture:
    height, width = (max(1, math.floor(length * geometry.scale)) for length in geometry.image_size)
    seen = (0.0, 0.0, min(width / geometry.scale, image.shape[1]), min(height / geometry.scale, image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=seen))


def _opencv(image: Picture, geometry: BoxGeometry, interpolation: int) -> Picture:
    scale = geometry.scale
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)


def _pad_and_crop(scaled: Picture, geometry: BoxGeometry) -> Picture:
    box = np.full((geometry.box_size, geometry.box_size, 3), PAD_VALUE, np.uint8)
    top, bottom, first, last = geometry.window
    up, left = geometry.pad[:2]
    part = scaled[top:bottom, first:last]
    box[top + up : top + up + part.shape[0], first + left : first + left + part.shape[1]] = part
    return box


def _size(text: str) -> tuple[int, int]:
    width, height = text.lower().split("x")
    return int(height), int(width)
