"""Caffe's data layers over image files and over memory, as streams of batches: ImageData, WindowData, MemoryData.

FILES -> **one layer's batches** -> `batches.DataSource`; see `streams.py` for what a stream is.

- ImageData: the images of a list (`path label` per line), one after the other, wrapping around; shuffled anew in each
  epoch where `shuffle` says so; resized to `new_height` x `new_width`; then as Data (`image_transform.py`).
- WindowData: windows of images, as R-CNN trains: of every batch the share `fg_fraction` from windows that overlap an
  object by `fg_threshold` or more, behind those that overlap none by `bg_threshold`; warped to `crop_size` with
  `context_pad` px of their surroundings (or the square around them), less the mean's centre.
- MemoryData: rows of arrays that the caller gives, in order, wrapping around, untouched.

*Source*: BVLC/caffe@9b89154 `image_data_layer.cpp`, `window_data_layer.cpp`, `memory_data_layer.cpp`.

Quirks of the original, kept: WindowData knows no `transform_param.scale`. Differs knowingly: shuffles, skips, windows,
crops and mirrors are drawn by generators of our own, keyed by the seed and the place in the sequence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec
from cpm_port.errors import DataError, LayerError
from cpm_port.training.caffe_streams import batch_size_of
from cpm_port.training.image_transform import ImageTransform, mean_of
from cpm_port.training.streams import Blobs, Task, order_of_epoch, tops_of

__all__ = ["ImageStream", "MemoryStream", "WindowStream"]

Locate = Callable[[str], Path]


class ImageStream:
    """Batches of an ImageData layer.

    Parameters
    ----------
    layer : LayerSpec
    source : Path
        The list.
    mean : Path or None
        The mean file.
    locate : callable
        From an image's path as written, `root_folder` before it, to where it is.
    phase, seed, rows
        As of `caffe_streams.DataStream`.

    Raises
    ------
    LayerError
        Only one of `new_height` and `new_width`, no batch size.
    DataError
        An empty list, or a line without a whole number as its last word.
    """

    def __init__(
        self, layer: LayerSpec, source: Path, mean: Path | None, *, locate: Locate, phase: str, seed: int, rows: slice
    ) -> None:
        self._param = layer.params.image_data_param
        self._where = f"layer {layer.name!r}"
        self._locate, self._seed = locate, seed
        if bool(self._param.new_height) != bool(self._param.new_width):
            raise LayerError(f"{self._where}: expected both new_height and new_width, or none of them")
        self._items = _labelled_paths(source, self._where)
        self._transform = ImageTransform(layer, mean, phase=phase)
        self._one_size = bool(layer.params.transform_param.crop_size or self._param.new_height)
        self._batch_size = batch_size_of(layer, self._param.batch_size)
        self._rows = range(self._batch_size)[rows]
        self._tops = tops_of(layer, 2)
        self.shapes = self._shapes(0)
        self._first = self._skipped()
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Plan the next batch: one task per wanted row."""
        first = self._first + self._batch * self._batch_size
        self._batch += 1
        if not self._one_size:
            self.shapes = self._shapes(self._place(first)[1])
        return [functools.partial(self._make, row - self._rows.start, first + row) for row in self._rows]

    def _shapes(self, index: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a batch that begins with this image: its size is the batch's."""
        shape = self._transform.shape(self._read(index))
        return {self._tops[0]: (len(self._rows), *shape), self._tops[1]: (len(self._rows),)}

    def _place(self, number: int) -> tuple[int, int]:
        """Return in which epoch and from which line of the list the image of that number comes."""
        epoch, place = divmod(number, len(self._items))
        shuffled = self._param.shuffle
        return epoch, int(order_of_epoch(self._seed, epoch, len(self._items))[place]) if shuffled else place

    def _skipped(self) -> int:
        """Return how many images the first pass leaves out."""
        most = int(self._param.rand_skip)
        if not most:
            return 0
        skipped = int(np.random.Philox(key=self._seed, counter=[0, 0, 0, 4]).random_raw() % np.uint64(most))
        if skipped >= len(self._items):
            raise DataError(f"{self._where}: rand_skip leaves out {skipped} images of {len(self._items)}")
        return skipped

    def _make(self, row: int, number: int, blobs: Blobs) -> Sequence[str]:
        epoch, index = self._place(number)
        raw = np.random.Philox(key=self._seed, counter=[0, index, epoch, 5]).random_raw(3)
        name = self._items[index][0]
        self._transform.write(self._read(index), raw, blobs[self._tops[0]][row], f"{self._where}: {name}")
        blobs[self._tops[1]][row] = self._items[index][1]
        return [name]

    def _read(self, index: int) -> NDArray[np.uint8]:
        """Return an image (C, H, W), BGR, resized where the layer says so."""
        import cv2

        image = _read_image(self._locate(self._param.root_folder + self._items[index][0]), color=self._param.is_color)
        if self._param.new_height:
            size = (int(self._param.new_width), int(self._param.new_height))
            image = np.atleast_3d(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)).astype(np.uint8, copy=False)
        return np.ascontiguousarray(image.transpose(2, 0, 1))


def _labelled_paths(source: Path, where: str) -> list[tuple[str, int]]:
    items = []
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.rstrip().rpartition(" ")
        try:
            items.append((name, int(label)))
        except ValueError:
            raise DataError(f"{where}: {source}:{number}: {line!r}; expected a path and a whole number") from None
    if not items:
        raise DataError(f"{where}: {source} lists no images")
    return items


def _read_image(path: Path, *, color: bool = True) -> NDArray[np.uint8]:
    """Return an image file (H, W, C), BGR or grey."""
    import cv2

    image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{path}: no image that can be read")
    return np.atleast_3d(image)


@dataclass(frozen=True)
class _Window:
    """A box of an image: corners in image px, both included, and its class (0 is background)."""

    image: str
    label: int
    corners: tuple[int, int, int, int]


class WindowStream:
    """Batches of a WindowData layer; parameters as of `ImageStream`.

    Raises
    ------
    LayerError
        No `crop_size` or batch size, or an unknown `crop_mode`.
    DataError
        A file of windows that does not read, or without foreground or background.
    """

    def __init__(
        self, layer: LayerSpec, source: Path, mean: Path | None, *, locate: Locate, seed: int, rows: slice
    ) -> None:
        self._param = layer.params.window_data_param
        self._where = f"layer {layer.name!r}"
        self._locate, self._seed = locate, seed
        self._size = int(layer.params.transform_param.crop_size)
        self._mirror = bool(layer.params.transform_param.mirror)
        if self._size < 1 or self._param.crop_mode not in ("warp", "square"):
            found = f"crop_size {self._size} and crop_mode {self._param.crop_mode!r}"
            raise LayerError(f"{self._where}: {found}; expected at least 1, and warp or square")
        if 2 * self._param.context_pad >= self._size:
            pad = self._param.context_pad
            raise LayerError(f"{self._where}: context_pad {pad} of crop_size {self._size}; expected less than half")
        channels, self._background, self._foreground = _read_windows(source, self._param, self._where)
        self._mean = mean_of(layer, mean)
        if mean is not None and self._mean is not None and min(self._mean.shape[1:]) < self._size:
            raise LayerError(f"{self._where}: a mean of {self._mean.shape} for crop_size {self._size}")
        self._batch_size = batch_size_of(layer, self._param.batch_size)
        self._rows = range(self._batch_size)[rows]
        self._tops = tops_of(layer, 2)
        self.shapes = {
            self._tops[0]: (len(self._rows), channels, self._size, self._size),
            self._tops[1]: (len(self._rows),),
        }
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Plan the next batch: one task per wanted row."""
        self._batch += 1
        return [functools.partial(self._make, row, self._batch - 1) for row in self._rows]

    def _make(self, row: int, batch: int, blobs: Blobs) -> Sequence[str]:
        raw = np.random.Philox(key=self._seed, counter=[0, row, batch, 6]).random_raw(2)
        num_foreground = int(np.float32(self._batch_size) * np.float32(self._param.fg_fraction))
        windows = self._foreground if row >= self._batch_size - num_foreground else self._background
        window = windows[int(raw[0] % np.uint64(len(windows)))]
        mirrored = self._mirror and bool(raw[1] & np.uint64(1))
        out = blobs[self._tops[0]][row - self._rows.start]
        self._write(window, mirrored, out)
        blobs[self._tops[1]][row - self._rows.start] = window.label
        return [f"{window.image} {window.corners}"]

    def _write(self, window: _Window, mirrored: bool, out: NDArray[np.float32]) -> None:
        """Write a window, warped; px outside of the image are 0."""
        import cv2

        image = _read_image(self._locate(self._param.root_folder + window.image))
        (x1, y1, x2, y2), (left, top), (width, height) = self._place(window.corners, image.shape, mirrored)
        part: Any = cv2.resize(image[y1 : y2 + 1, x1 : x2 + 1], (width, height), interpolation=cv2.INTER_LINEAR)
        part = part[:, ::-1] if mirrored else part
        values = part.transpose(2, 0, 1).astype(np.float32)
        if self._mean is not None:
            mean = self._mean
            if mean.shape[1:] != (1, 1):
                off = (mean.shape[2] - self._size) // 2
                mean = mean[:, off + top : off + top + height, off + left : off + left + width]
            values -= mean
        out[...] = 0
        out[:, top : top + height, left : left + width] = values * np.float32(self._param.scale)

    def _place(
        self, corners: tuple[int, int, int, int], shape: tuple[int, ...], mirrored: bool
    ) -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
        """Return which part of the image is taken, and where it comes to lie: left and top, width and height."""
        size, pad = self._size, self._param.context_pad
        x1, y1, x2, y2 = corners
        if not pad and self._param.crop_mode != "square":
            return corners, (0, 0), (size, size)
        context = size / (size - 2 * pad)
        half_width, half_height = (x2 - x1 + 1) / 2, (y2 - y1 + 1) / 2
        center_x, center_y = x1 + half_width, y1 + half_height
        if self._param.crop_mode == "square":
            half_width = half_height = max(half_width, half_height)
        x1, x2 = _round(center_x - half_width * context), _round(center_x + half_width * context)
        y1, y2 = _round(center_y - half_height * context), _round(center_y + half_height * context)
        scale_x, scale_y = size / (x2 - x1 + 1), size / (y2 - y1 + 1)
        before_x, before_y = max(0, -x1), max(0, -y1)
        after_x, after_y = max(0, x2 - shape[1] + 1), max(0, y2 - shape[0] + 1)
        part = (x1 + before_x, y1 + before_y, x2 - after_x, y2 - after_y)
        left = _round((after_x if mirrored else before_x) * scale_x)
        top = _round(before_y * scale_y)
        width = min(_round((part[2] - part[0] + 1) * scale_x), size - left)
        height = min(_round((part[3] - part[1] + 1) * scale_y), size - top)
        return part, (left, top), (width, height)


def _round(value: float) -> int:
    """Round halves away from 0, as C does."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _read_windows(source: Path, param: Any, where: str) -> tuple[int, list[_Window], list[_Window]]:
    """Return the images' channels, the background's windows and the foreground's."""
    words = iter(source.read_text().split())
    background, foreground = [], []
    channels = 0
    try:
        for mark in words:
            if mark != "#":
                raise ValueError(f"found {mark!r}, expected '#'")
            next(words)  # the image's number
            image, channels = next(words), int(next(words))
            _, _, count = (int(next(words)) for _ in range(3))
            for _ in range(count):
                label, overlap = int(next(words)), float(next(words))
                x1, y1, x2, y2 = (int(next(words)) for _ in range(4))
                if overlap >= param.fg_threshold:
                    if label < 1:
                        raise ValueError(f"a foreground window of class {label}; expected at least 1")
                    foreground.append(_Window(image, label, (x1, y1, x2, y2)))
                elif overlap < param.bg_threshold:
                    background.append(_Window(image, 0, (x1, y1, x2, y2)))
    except (ValueError, StopIteration, RuntimeError) as error:
        reason = error if isinstance(error, ValueError) else "it ends too early"
        raise DataError(f"{where}: {source} is no file of windows: {reason}") from None
    if not foreground or not background:
        raise DataError(
            f"{where}: {source} has {len(foreground)} windows of objects and {len(background)} of background; expected "
            "some of both"
        )
    return channels, background, foreground


class MemoryStream:
    """Batches of a MemoryData layer.

    Parameters
    ----------
    layer : LayerSpec
    arrays : (ndarray, ndarray)
        Data (rows, channels, height, width) and labels (rows,); the rows fill whole batches.
    rows : slice
        The rows of a batch that are wanted.

    Raises
    ------
    DataError
        Arrays of other shapes.
    """

    def __init__(self, layer: LayerSpec, arrays: tuple[NDArray[Any], NDArray[Any]], *, rows: slice) -> None:
        param = layer.params.memory_data_param
        self._batch_size = batch_size_of(layer, param.batch_size)
        self._data, self._labels = (np.asarray(array, np.float32) for array in arrays)
        wanted = (param.channels, param.height, param.width)
        count = len(self._data) if self._data.ndim else 0
        if self._data.shape[1:] != wanted or self._labels.size != count or not count or count % self._batch_size:
            raise DataError(
                f"layer {layer.name!r}: arrays {self._data.shape} and {self._labels.shape}; expected (rows, "
                f"{', '.join(map(str, wanted))}) and (rows,), in whole batches of {self._batch_size}"
            )
        self._labels = self._labels.reshape(count)
        self._rows = range(self._batch_size)[rows]
        self._tops = tops_of(layer, 2)
        self.shapes = {self._tops[0]: (len(self._rows), *wanted), self._tops[1]: (len(self._rows),)}
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Plan the next batch: one task for all rows."""
        start = self._batch * self._batch_size % len(self._data) + self._rows.start
        self._batch += 1
        return [functools.partial(self._make, slice(start, start + len(self._rows)))]

    def _make(self, taken: slice, blobs: Blobs) -> Sequence[str]:
        blobs[self._tops[0]][...] = self._data[taken]
        blobs[self._tops[1]][...] = self._labels[taken]
        return [f"row {index}" for index in range(taken.start, taken.stop)]
