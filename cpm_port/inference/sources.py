"""What a caller may mean by "this picture": paths, folders, patterns, videos, cameras, arrays, Pillow's images, lists.

Where in the flow: the first step of `face.py`; everything becomes pictures, one after another, of (H, W, 3) uint8, BGR.
Nothing is read before its turn, and one picture is held at a time.

An address (`https://...`) is refused: nothing in this package opens a connection unless it is told to by
`cpm-port models download`.
"""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cpm_port.errors import MissingFileError, ShapeError, UsageError
from cpm_port.imaging.reading import from_pillow, read_image
from cpm_port.imaging.video import VIDEO_SUFFIXES, CameraReader, VideoReader
from cpm_port.inference.targets import list_files, remarks

__all__ = ["Picture", "pictures"]

_log = logging.getLogger(__name__)


class Picture(NamedTuple):
    """One picture to be looked at.

    Attributes
    ----------
    name : str
        Its path; of a video's frame, `PATH, frame I`; of an array or Pillow's image, `image I`.
    read : callable
        Returns the picture, (H, W, 3) uint8, BGR.
    path : Path or None
        Of its file.
    time : float or None
        Of a video's or camera's frame, seconds.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    path: Path | None = None
    time: float | None = None


def pictures(source: Any, *, rgb: bool = False) -> Iterator[Picture]:
    """Yield the pictures that a source means.

    Parameters
    ----------
    source : path, int, PIL.Image, ndarray, or iterable of these
        A path: an image, a video, a folder of them, or a pattern (`shots/*.jpg`). A number: a camera. An array:
        (H, W, 3) uint8, or (H, W) grey.
    rgb : bool
        Whether arrays are RGB rather than BGR.

    Raises
    ------
    UsageError
        An address, or another type.
    MissingFileError
        Nothing fits a pattern; or as of the readers.
    ShapeError
        An array of another shape or type.
    """
    yield from _pictures(source, rgb, itertools.count())


def _pictures(source: Any, rgb: bool, numbers: Iterator[int]) -> Iterator[Picture]:
    if isinstance(source, str | os.PathLike):
        for path in _paths(source):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield from _frames(VideoReader(path), str(path), path)
            else:
                yield Picture(str(path), lambda path=path: read_image(path), path)  # type: ignore[misc]
    elif isinstance(source, bool):
        raise UsageError(f"{source!r} is no picture: expected a path, a camera's number, an image, an array or a list")
    elif isinstance(source, int):
        yield from _frames(CameraReader(source), f"camera {source}", None)
    elif isinstance(source, Image.Image):
        name = f"image {next(numbers)}"
        image = from_pillow(source, name)
        yield Picture(name, lambda: image)
    elif isinstance(source, np.ndarray):
        name = f"image {next(numbers)}"
        bgr = _from_array(source, name, rgb)
        yield Picture(name, lambda: bgr)
    elif hasattr(source, "__iter__") and not isinstance(source, bytes | dict) and not hasattr(source, "detach"):
        for one in source:
            yield from _pictures(one, rgb, numbers)
    else:
        raise UsageError(
            f"{type(source).__name__} found: expected a path, a camera's number, a Pillow image, an array or a list"
        )


def _paths(source: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(source)
    if "://" in text:
        raise UsageError(f"{text}: addresses are not opened, for this package fetches nothing by itself: "
                         "save the file, and give its path")  # fmt: skip
    if not os.path.exists(text) and glob.has_magic(text):
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise MissingFileError(f"{text}: no file fits this pattern")
        return _listed(found)
    return _listed([text])


def _listed(paths: list[str]) -> list[Path]:
    files, passed_over = list_files(paths)
    for sentence in remarks(passed_over):
        _log.warning("%s", sentence)
    return files


def _frames(reader: VideoReader | CameraReader, name: str, path: Path | None) -> Iterator[Picture]:
    with reader as frames:
        for index, (time, frame) in enumerate(frames):
            yield Picture(f"{name}, frame {index}", lambda frame=frame: frame, path, time)  # type: ignore[misc]


def _from_array(array: NDArray[Any], name: str, rgb: bool) -> NDArray[np.uint8]:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not array.size or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise ShapeError(f"{name}: the array is {array.shape} {array.dtype}, expected (H, W, 3) or (H, W) uint8")
    if grey:
        return np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array[:, :, ::-1] if rgb else array)
