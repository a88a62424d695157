"""Videos, frame by frame: read as a person sees them, written with the encoder that is there.

Where in the flow: before prediction on a video's frames, and after the drawing of their joints.

Conventions: frames are (H, W, 3) uint8, BGR, all of one size, turned upright as the file says; times are seconds from
the start. Frames are decoded one at a time, when asked for.

FFmpeg also opens texts: playlists, which name other files to be read in their place. What does not begin as one of the
containers begins is refused before FFmpeg sees it, and names are given to it in a form that it does not interpret
(`concat:`, `%d`).

A decoder does not say whether a file has ended or was cut off. But the container claims
a number of frames: where clearly fewer come, the file is cut short (`VideoReader.cut_short`).
"""

from __future__ import annotations

import errno
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, MissingFileError
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.reading import MAX_PIXELS

__all__ = ["VIDEO_SUFFIXES", "CameraReader", "Encoder", "VideoReader", "VideoWriter", "written_encoder"]

VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))
"""Suffixes (in lower case) of videos; other files are images."""

UNKNOWN_RATE = 25.0
"""Frames a second of a written video whose source has no known rate."""

_HEAD_BYTES = 1024
_CONTAINERS = tuple(
    re.compile(start, re.DOTALL)
    for start in (
        rb".{4}(ftyp|moov|mdat|free|skip|wide|pnot|uuid)",  # MP4, MOV
        rb"RIFF.{4}AVI |\x1aE\xdf\xa3|OggS|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # AVI, Matroska, Ogg, FLV, WMV
        rb"\x00\x00\x01[\xb3\xba]|\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47",  # MPEG
    )
)
_UNSAFE_NAME = re.compile(r"[%\udc80-\udcff]")  # a pattern of numbered files, or bytes that are not UTF-8
_COUNT_SLACK = 0.02  # containers without an index give their count by duration times rate


class Encoder(NamedTuple):
    """A way to write videos: the file's suffix, OpenCV's four letters, the format's name, whether browsers play it."""

    suffix: str
    code: str
    name: str
    in_browsers: bool


_ENCODERS = (
    Encoder(".mp4", "avc1", "H.264", True),
    Encoder(".mp4", "mp4v", "MPEG-4", False),
    Encoder(".avi", "MJPG", "Motion JPEG", False),
)
"""In the order in which they are wanted; the last one is part of OpenCV itself."""


class VideoReader:
    """An open video; iterating gives `(time, frame)`, once.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    path : Path
    size : (int, int)
        Height and width of the frames, px.
    rate : float or None
        Frames a second, where the file says so.
    declared : int or None
        How many frames the file claims to hold.
    count : int
        How many have been read.

    Raises
    ------
    MissingFileError
        No such file.
    DataError
        Nothing in it that decodes as a video.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingFileError(f"{self.path}: no such video")
        _check_container(self.path)
        with _plain_name(self.path) as name:
            self._capture = cv2.VideoCapture(name)
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) * self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        self._first = self._next() if self._capture.isOpened() and claimed <= MAX_PIXELS else None
        if self._first is None:
            self.close()
            if claimed > MAX_PIXELS:
                raise DataError(f"{self.path}: frames of {claimed:.0f} pixels, more than {MAX_PIXELS}")
            raise DataError(f"{self.path}: not a video that can be decoded here, or cut short before its index")
        height, width = self._first[1].shape[:2]
        self.size = (height, width)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if math.isfinite(rate) and rate > 0 else None
        declared = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.declared = int(declared) if 0 < declared < 2**40 else None
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Yield each frame with its time.

        Raises
        ------
        DataError
            A frame has another size than the first.
        """
        frame, self._first = self._first, None
        while frame is not None:
            if frame[1].shape != (*self.size, 3):
                raise DataError(f"{self.path}: frame {self.count} is {frame[1].shape}, the first one {(*self.size, 3)}")
            self.count += 1
            yield frame
            frame = self._next()

    @property
    def cut_short(self) -> bool:
        """Whether the file, read to its end, held clearly fewer frames than it claims."""
        return self.declared is not None and self.count < self.declared * (1.0 - _COUNT_SLACK) - 2

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _next(self) -> tuple[float, NDArray[np.uint8]] | None:
        whole, frame = self._capture.read()
        if not whole:
            return None
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0, np.asarray(frame, np.uint8)


class CameraReader:
    """An open camera; iterating gives `(time, frame)` until it is closed or gives no more.

    Parameters
    ----------
    index : int
        Its number, from 0.

    Attributes
    ----------
    size : (int, int)
        Height and width of the frames, px.

    Raises
    ------
    MissingFileError
        There is no camera of this number, or it gives no frame.
    """

    def __init__(self, index: int) -> None:
        self._capture = cv2.VideoCapture(index) if index >= 0 and _camera_is_there(index) else None
        whole, frame = self._capture.read() if self._capture is not None else (False, None)
        if not whole or frame is None:
            self.close()
            raise MissingFileError(f"camera {index}: there is none that gives a picture")
        self._first: NDArray[np.uint8] | None = np.asarray(frame, np.uint8)
        self.size = (int(frame.shape[0]), int(frame.shape[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Yield each frame with the seconds since the first one."""
        start = monotonic()
        frame, self._first = self._first, None
        while frame is not None:
            yield monotonic() - start, frame
            whole, picture = self._capture.read() if self._capture is not None else (False, None)
            frame = np.asarray(picture, np.uint8) if whole else None

    def close(self) -> None:
        """Let go of the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _camera_is_there(index: int) -> bool:
    """Tell, where cameras are device files, whether there is one: OpenCV would print warnings of its own."""
    return not sys.platform.startswith("linux") or Path(f"/dev/video{index}").exists()


class VideoWriter:
    """Writes frames to a file.

    Parameters
    ----------
    path : path-like
        Ends in `.mp4` (H.264 where OpenCV has an encoder for it, else MPEG-4) or `.avi` (Motion JPEG).
    rate : float or None
        Frames a second; `UNKNOWN_RATE` for None.
    size : (int, int)
        Height and width of the frames, px. Encoders drop the last row or column of an odd number.

    Raises
    ------
    DataError
        The encoder does not start.
    OSError
        At the end: the file does not hold the frames, as on a full disk, of which the encoder says nothing.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float | None, size: tuple[int, int]) -> None:
        self._path, self._count = Path(path), 0
        usual, suffix = written_encoder(), self._path.suffix
        encoder = usual if usual.suffix == suffix else next(e for e in reversed(_ENCODERS) if e.suffix == suffix)
        code = cv2.VideoWriter.fourcc(*encoder.code)
        with _plain_name(self._path) as name:
            self._writer = cv2.VideoWriter(name, code, rate or UNKNOWN_RATE, (size[1], size[0]))
        if not self._writer.isOpened():
            raise DataError(f"{path}: no encoder for {size[1]} x {size[0]} px")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        if kind is None and self._count:
            self._check()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) uint8, BGR."""
        self._writer.write(frame)
        self._count += 1

    def _check(self) -> None:
        """Open what was written."""
        try:
            with VideoReader(self._path) as written:
                found = written.declared
        except DataError:
            found = 0
        if found != self._count:
            raise OSError(errno.EIO, f"{found} of its {self._count} frames are there", str(self._path))


def _check_container(path: Path) -> None:
    """Refuse what does not begin as a video file does.

    Raises
    ------
    DataError
        It is a playlist or another text, or of a kind that is not known.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not any(pattern.match(head) for pattern in _CONTAINERS):
        raise DataError(
            f"{path}: not a video that can be decoded here, or cut short before its index (found {head[:8]!r} at its "
            "start; expected a video file of a known kind)"
        )


@contextmanager
def _plain_name(path: Path) -> Iterator[str]:
    """Give a name for a path that OpenCV and FFmpeg take as it stands, through a link where they would not."""
    name = os.path.abspath(path)
    if not _UNSAFE_NAME.search(name):
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"video{path.suffix if path.suffix in VIDEO_SUFFIXES else ''}"
        link.symlink_to(name)
        yield str(link)


@lru_cache(maxsize=1)
def written_encoder() -> Encoder:
    """Return the best encoder that this OpenCV has, found out by trying."""
    return next(encoder for encoder in _ENCODERS if encoder is _ENCODERS[-1] or _works(encoder))


def _works(encoder: Encoder) -> bool:
    with tempfile.TemporaryDirectory() as folder, _quiet_libraries():
        name = os.path.join(folder, f"probe{encoder.suffix}")
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*encoder.code), UNKNOWN_RATE, (64, 64))
        writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        reader = cv2.VideoCapture(name)
        whole, _ = reader.read()
        reader.release()
        return bool(whole)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep what libraries write to the process's standard error away: an encoder that is not there is no news."""
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
