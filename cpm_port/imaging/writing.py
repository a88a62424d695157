"""Images out: PNG, whole or not at all."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import ShapeError
from cpm_port.files.atomic import atomic_path

__all__ = ["write_png"]


def write_png(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write a picture, (H, W, 3) uint8, BGR.

    Raises
    ------
    ShapeError
        It has no pixels, or is no picture.
    WriteError
        It cannot be written.
    """
    from cpm_port.imaging.opencv import cv2

    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size or picture.dtype != np.uint8:
        raise ShapeError(f"{os.fspath(path)}: a picture of {picture.dtype}, {picture.shape}; expected (H, W, 3) uint8")
    _, data = cv2.imencode(".png", picture)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
