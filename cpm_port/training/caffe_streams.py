"""Caffe's own data layers as streams of batches: Data, HDF5Data, DummyData and Input.

FILES -> **one layer's batches** -> `batches.DataSource`; see `streams.py` for what a stream is.

- Data: Datums of an LMDB in key order, wrapping around; mean, crop, mirror and scale as `transform_param` says. Without
  a crop a batch has the size of its first image.
- HDF5Data: the rows of the listed files, one file after the other, wrapping around; a batch may begin in one file and
  end in the next. Rows have the shape of the first file's; of as many values in another shape, they are taken in order.
- DummyData: filled blobs. Fillers other than constants give new numbers for each batch.
- Input: zeros of the declared shapes: what Caffe's net holds until a program fills it.

*Source*: BVLC/caffe@9b89154 `data_layer.cpp`, `data_transformer.cpp`, `hdf5_data_layer.cpp`, `dummy_data_layer.cpp`,
`input_layer.cpp`.

Differs knowingly: crops, mirrors, shuffles and fillers have Caffe's distributions, drawn by generators of our own that
are keyed by the seed and the place in the sequence. Data layers start at the first record (Caffe's `rand_skip` is not
used by it either). LevelDBs are not read. HDF5 rows of another number of values are given in batches of one, in their
own shape; Caffe reads beyond them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec, message_class
from cpm_port.caffe.kinds import foreign_kind, looks_like_text
from cpm_port.errors import DataError, LayerError
from cpm_port.files.hdf5 import open_hdf5
from cpm_port.graph.fillers import fill
from cpm_port.imaging.reading import check_image_size
from cpm_port.records.lmdb import ReadOnlyEnvironment
from cpm_port.training.image_transform import ImageTransform
from cpm_port.training.streams import Blobs, Task, order_of_epoch, tops_of

__all__ = ["DataStream", "DummyStream", "HDF5Stream", "InputStream", "batch_size_of", "listed_files"]

_MAX_BYTES = 1 << 40  # of one HDF5 file's arrays: data sets may be large, and compress as they like


class DataStream:
    """Batches of a Data layer; parameters as `HDF5Stream`, `source` the LMDB's folder and `mean` the mean file."""

    def __init__(
        self, layer: LayerSpec, source: Path, mean: Path | None, *, phase: str, seed: int, rows: slice
    ) -> None:
        self._layer = layer
        self._where = f"layer {layer.name!r}: {source}"
        self._environment = ReadOnlyEnvironment.shared(source)
        self._keys = self._environment.keys()
        if not self._keys:
            raise DataError(f"{self._where}: an LMDB without records")
        self._transform = ImageTransform(layer, mean, phase=phase)
        self._one_size = bool(layer.params.transform_param.crop_size)
        self._seed = seed
        self._batch_size = batch_size_of(layer, layer.params.data_param.batch_size)
        self._rows = range(self._batch_size)[rows]
        self._tops = tops_of(layer, 1 if len(layer.tops) < 2 else 2)
        self.shapes = self._shapes(0)
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Plan the next batch: one task per wanted row."""
        first = self._batch * self._batch_size
        self._batch += 1
        if not self._one_size:
            self.shapes = self._shapes(first % len(self._keys))
        return [functools.partial(self._make, row - self._rows.start, first + row) for row in self._rows]

    def _shapes(self, index: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a batch that begins with this record."""
        shapes: list[tuple[int, ...]] = [
            (len(self._rows), *self._transform.shape(self._decode(index)[0])),
            (len(self._rows),),
        ]
        return dict(zip(self._tops, shapes, strict=False))

    def _make(self, row: int, number: int, blobs: Blobs) -> Sequence[str]:
        epoch, index = divmod(number, len(self._keys))
        image, label = self._decode(index)
        raw = np.random.Philox(key=self._seed, counter=[0, index, epoch, 2]).random_raw(3)
        self._transform.write(image, raw, blobs[self._tops[0]][row], self._name(index))
        if len(self._tops) == 2:
            blobs[self._tops[1]][row] = label
        return [self._name(index)]

    def _name(self, index: int) -> str:
        return f"{self._where}: record {self._keys[index].decode('latin-1')}"

    def _decode(self, index: int) -> tuple[NDArray[Any], int]:
        datum = message_class("Datum")()
        try:
            datum.ParseFromString(self._environment.get(self._keys[index]))
        except Exception as error:  # protobuf's own class of error moved between its versions
            raise DataError(f"{self._name(index)}: not a Datum ({error})") from error
        if datum.encoded:
            return self._decode_file(datum.data, index), datum.label
        shape = (datum.channels, datum.height, datum.width)
        values: NDArray[Any] = (
            np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
        )
        if values.size != np.prod(shape) or not values.size:
            raise DataError(f"{self._name(index)}: {values.size} values for the shape {shape}")
        return values.reshape(shape), datum.label

    def _decode_file(self, data: bytes, index: int) -> NDArray[Any]:
        from cpm_port.imaging.opencv import cv2

        given = self._layer.params.transform_param
        if given.force_color and given.force_gray:
            raise LayerError(f"layer {self._layer.name!r}: force_color and force_gray; one of them expected")
        flag = cv2.IMREAD_UNCHANGED
        flag = cv2.IMREAD_COLOR if given.force_color else flag
        flag = cv2.IMREAD_GRAYSCALE if given.force_gray else flag
        check_image_size(data, self._name(index))
        try:
            image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        except cv2.error as error:
            raise DataError(f"{self._name(index)}: the encoded image cannot be read ({error.err})") from error
        if image is None:
            raise DataError(f"{self._name(index)}: the encoded image cannot be read")
        return np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1))


class HDF5Stream:
    """Batches of an HDF5Data layer: top -> the data set of that name.

    Parameters
    ----------
    layer : LayerSpec
    files : sequence of path
        In the order of the list that `source` names.
    seed : int
        Of the shuffling, where the layer asks for it: files, and the rows within each, in a new order per epoch.
    rows : slice
        The rows of a batch that are wanted.

    Raises
    ------
    DataError
        A file is not HDF5, lacks a top's data set, or its data sets have different lengths; or rows of another
        number of values than the first file's, in batches of more than one.
    LayerError
        No batch size; or a `transform_param`, which Caffe refuses, too.
    """

    def __init__(self, layer: LayerSpec, files: Sequence[Path], *, seed: int, rows: slice) -> None:
        if layer.params.has("transform_param"):
            raise LayerError(f"layer {layer.name!r}: has a transform_param, and HDF5Data does not transform data")
        parameters = layer.params.hdf5_data_param
        self._tops = layer.tops
        self._files = list(files)
        self._where = f"layer {layer.name!r}"
        if not self._files:
            raise DataError(f"{self._where}: its list of files is empty")
        self._shuffle, self._seed = parameters.shuffle, seed
        self._batch_size = batch_size_of(layer, parameters.batch_size)
        self._rows = range(self._batch_size)[rows]
        shapes = [self._shapes_of(path) for path in self._files]
        self._counts = np.array([next(iter(shape.values()))[0] for shape in shapes])
        self._row_shapes = [self._rows_as_the_first(number, shapes) for number in range(len(shapes))]
        if not self._counts.sum():
            raise DataError(f"{self._where}: no rows in {len(self._files)} files")
        self.shapes = self._shapes(0)
        self._load = functools.lru_cache(maxsize=2)(self._read)
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Plan the next batch: one task for all rows."""
        first = self._batch * self._batch_size
        self._batch += 1
        self.shapes = self._shapes(self._locate(*divmod(first, int(self._counts.sum())))[0])
        return [functools.partial(self._make, [first + row for row in self._rows])]

    def _shapes(self, file: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a batch that begins in this file."""
        return {top: (len(self._rows), *shape) for top, shape in self._row_shapes[file].items()}

    def _rows_as_the_first(
        self, number: int, shapes: Sequence[dict[str, tuple[int, ...]]]
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a file's rows: the first file's, where they have as many values."""
        rows = {}
        for top, shape in shapes[number].items():
            first = shapes[0][top][1:]
            same = np.prod(shape[1:]) == np.prod(first)
            if not same and self._batch_size > 1:
                raise DataError(
                    f"{self._where}: rows of {self._files[number]} have another shape than those of {self._files[0]}: "
                    f"{top} {shape[1:]} and {first}; expected as many values, or batches of 1"
                )
            rows[top] = first if same else shape[1:]
        return rows

    def _make(self, numbers: Sequence[int], blobs: Blobs) -> Sequence[str]:
        names = []
        for row, number in enumerate(numbers):
            file, index = self._locate(*divmod(number, int(self._counts.sum())))
            arrays = self._load(file)
            for top in self._tops:
                blobs[top][row] = arrays[top][index].reshape(blobs[top].shape[1:])
            names.append(f"{self._files[file]} row {index}")
        return names

    def _locate(self, epoch: int, place: int) -> tuple[int, int]:
        order = np.arange(len(self._files))
        if self._shuffle:
            order = order_of_epoch(self._seed, epoch, len(self._files))
        ends = np.cumsum(self._counts[order])
        slot = int(np.searchsorted(ends, place, side="right"))
        file = int(order[slot])
        index = place - int(ends[slot] - self._counts[file])
        if self._shuffle:
            index = int(order_of_epoch(self._seed + 1 + file, epoch, int(self._counts[file]))[index])
        return file, index

    def _shapes_of(self, path: Path) -> dict[str, tuple[int, ...]]:
        try:
            with open_hdf5(path, _MAX_BYTES) as content:
                found = {top: content.member(top) for top in self._tops}
                missing = [top for top, member in found.items() if member is None or content.is_group(member)]
                if missing:
                    raise DataError(f"{path} has no data set {', '.join(missing)}")
                for top, member in found.items():
                    content.check(member, f"{path}: {top!r}")
                shapes = {top: tuple(member.shape) for top, member in found.items()}
        except DataError as error:
            raise DataError(f"{self._where}: {error}") from error
        if len({shape[:1] for shape in shapes.values()}) != 1 or () in shapes.values():
            raise DataError(f"{self._where}: data sets of {path} differ in length: {shapes}")
        return shapes

    def _read(self, file: int) -> dict[str, NDArray[np.float32]]:
        with open_hdf5(self._files[file], _MAX_BYTES) as content:
            return {top: np.asarray(content.member(top)[()], np.float32) for top in self._tops}


def listed_files(path: Path, layer: LayerSpec) -> list[str]:
    """Return the lines of the text file that an HDF5Data layer's `source` names, those with nothing left out.

    UTF-8 with or without a byte order mark; other bytes stay those of the file system.

    Raises
    ------
    DataError
        It is no text file.
    """
    raw = path.read_bytes()
    kind = foreign_kind(raw)
    if kind is not None or (raw and not looks_like_text(raw)):
        raise DataError(
            f"layer {layer.name!r}: {path} is {kind or 'a binary file'}; expected a text file that lists .h5 files"
        )
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line for line in re.split(r"\r\n?|\n", text) if line.strip()]


class DummyStream:
    """Batches of a DummyData layer.

    Raises
    ------
    LayerError
        Shapes or fillers are not one, or one per top.
    """

    def __init__(self, layer: LayerSpec, *, seed: int, rows: slice) -> None:
        parameters = layer.params.dummy_data_param
        self._layer, self._seed, self._slice = layer, seed, rows
        shapes = [tuple(shape.dim) for shape in parameters.shape]
        if not shapes:
            sizes = [parameters.num, parameters.channels, parameters.height, parameters.width]
            shapes = list(zip(*sizes, strict=True)) if len({len(size) for size in sizes}) == 1 else []
        fillers: list[Any] = list(parameters.data_filler) or [0.0]
        for name, given in (("shape", shapes), ("data_filler", fillers)):
            if len(given) not in (1, len(layer.tops)):
                tops = len(layer.tops)
                raise LayerError(f"layer {layer.name!r}: {len(given)} {name} for {tops} tops; one, or one each")
        count = len(layer.tops)
        self._full = dict(zip(layer.tops, shapes * count if len(shapes) == 1 else shapes, strict=False))
        self._fillers = dict(zip(layer.tops, fillers * count if len(fillers) == 1 else fillers, strict=False))
        self.shapes = {top: (len(range(shape[0])[rows]), *shape[1:]) for top, shape in self._full.items()}
        self._batch = 0

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1

    def plan(self) -> list[Task]:
        """Fill the next batch (here, since the generator is the process's own) and plan to copy it."""
        values = {}
        with torch.random.fork_rng(devices=[]):
            raw = np.random.Philox(key=self._seed, counter=[0, self._batch, 0, 3]).random_raw()
            torch.manual_seed(int(raw) >> 1)
            for top, shape in self._full.items():
                values[top] = torch.empty(shape)
                fill(values[top], self._fillers[top], self._layer.name)
        self._batch += 1
        return [functools.partial(_copy, {top: value.numpy()[self._slice] for top, value in values.items()})]


class InputStream:
    """Batches of an Input layer: zeros; LayerError where it declares no shape."""

    def __init__(self, layer: LayerSpec, shapes: dict[str, tuple[int, ...]], *, rows: slice) -> None:
        lacking = [top for top in layer.tops if not shapes.get(top)]
        if lacking:
            raise LayerError(f"layer {layer.name!r}: no shape declared for {', '.join(lacking)}")
        self.shapes = {top: (len(range(shapes[top][0])[rows]), *shapes[top][1:]) for top in layer.tops}

    def skip(self) -> None:
        """Do nothing: all batches are alike."""

    def plan(self) -> list[Task]:
        """Plan the next batch."""
        return [functools.partial(_copy, {top: np.zeros(shape, np.float32) for top, shape in self.shapes.items()})]


def _copy(values: dict[str, NDArray[np.float32]], blobs: Blobs) -> Sequence[str]:
    for top, value in values.items():
        blobs[top][...] = value
    return []


def batch_size_of(layer: LayerSpec, value: int) -> int:
    """Return a batch size that is 1 or more; LayerError else."""
    if value < 1:
        raise LayerError(f"layer {layer.name!r}: batch_size {value}; expected 1 or more")
    return value
