"""Many small pictures in one, and people's labels so: to look at before training on them.

SAMPLES -> A PICTURE. Images are (H, W, 3) uint8, BGR.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Sample
from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.reading import read_image
from cpm_port.report.drawing import PAPER, draw_joints

__all__ = ["tile", "write_labels", "write_tiles"]

SHOWN = 50
_COLUMNS = 5
_HEIGHT, _WIDTH = 200, 180  # px of one picture
_MARGIN = 0.3  # of the labels' larger side, on each side
_INK = (0, 0, 255)


def write_labels(path: str | Path, samples: Sequence[Sample], shown: int = SHOWN) -> int:
    """Write a picture of people with their labels, each cut out; return how many are on it.

    Parameters
    ----------
    path : path
        A suffix that OpenCV writes, for instance `.png`.
    samples : sequence of Sample
        With images; up to `shown` of them, spread evenly, are drawn.
    shown : int

    Raises
    ------
    MissingFileError, DataError
        An image is not there, or not readable.
    UsageError
        The suffix is none that OpenCV writes.
    """
    count = min(shown, len(samples))
    write_tiles(path, [_labelled(samples[i * len(samples) // count]) for i in range(count)])
    return count


def write_tiles(path: str | Path, tiles: Sequence[NDArray[np.uint8]]) -> None:
    """Write pictures of one size as one, in rows of five; UsageError where OpenCV writes no such suffix."""
    blank = np.full_like(tiles[0], PAPER)
    padded = [*tiles, *[blank] * (-len(tiles) % _COLUMNS)]
    rows = [np.hstack(padded[start : start + _COLUMNS]) for start in range(0, len(padded), _COLUMNS)]
    try:
        done, content = cv2.imencode(Path(path).suffix, np.vstack(rows))
    except cv2.error:
        done = False
    if not done:
        raise UsageError(f"{path}: expected a suffix of a picture, such as .png, got {Path(path).suffix!r}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())


def tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as large as fits a tile, in its corner."""
    scale = min(_HEIGHT / picture.shape[0], _WIDTH / picture.shape[1])
    size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
    result = np.full((_HEIGHT, _WIDTH, 3), PAPER, np.uint8)
    result[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return result


def _labelled(sample: Sample) -> NDArray[np.uint8]:
    picture = draw_joints(read_image(sample.require_image()), sample.person.joints, sample.order)
    known = sample.person.joints[sample.person.annotated]
    if len(known):
        low, high = known.min(axis=0), known.max(axis=0)
        margin = _MARGIN * float((high - low).max()) + 8
        x1, y1 = np.maximum(low - margin, 0).astype(int)
        x2, y2 = np.ceil(high + margin).astype(int) + 1
        picture = picture[y1:y2, x1:x2]
    result = np.ascontiguousarray(tile(picture))
    words = f"{sample.name}{' (validation)' if sample.split == 'validation' else ''}"
    cv2.putText(result, words, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, _INK)
    return np.ascontiguousarray(cv2.copyMakeBorder(result, 2, 2, 2, 8, cv2.BORDER_CONSTANT, value=(PAPER,) * 3))
