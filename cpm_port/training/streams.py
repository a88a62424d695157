"""The CPM data layer as a stream of batches.

RECORDS -> **one layer's batches** -> `batches.DataSource`. A stream plans a batch (what every row will be; all
randomness is here) and then does its tasks, one per row; tasks may run in any order and on any thread, plans are made
in order.

Conventions: batches count from 0; row `r` of batch `b` is number `b * batch_size + r` of an endless sequence of passes
over the records; a pass is an epoch.

LMDBs are read in key order and never shuffled, as in the original (its writer shuffles); other sources are shuffled
anew in each epoch of the TRAIN phase, by (seed, epoch). Shards are streamed in an order of their own
(`records/shards.py`).

Quirks of the original, kept: C's random sequence is one for the whole process, so two layers draw in turns; tables of
`aug_way: "table"` lie in `../../rotate_<num_total_augs>_<records>.txt` and `../../flip_...`, seen from the working
directory; their row is the record's number, their column the epoch modulo `num_total_augs`.

Differs knowingly: the original counts an epoch whenever it reads a record numbered 0, over all layers of the process;
here each layer counts its own passes. Where the original flips images and exchanges no parts (`augment.py`), records
that know the order of their parts (samples, not LMDBs) do exchange them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec
from cpm_port.errors import DataError, LayerError, MissingFileError
from cpm_port.records.record import Record, RecordStore, order_of
from cpm_port.records.shards import ShardRecords
from cpm_port.training.augment import (
    Augmentation,
    Draws,
    augment,
    blob_shapes,
    decide,
    draw,
    draw_c,
    skip_c,
    write_example,
)
from cpm_port.training.crand import CRand
from cpm_port.training.extras import Extras
from cpm_port.training.labels import blank_unlabelled
from cpm_port.training.transform_param import TransformParameters, resized_box

__all__ = ["Blobs", "CPMStream", "Stream", "Task", "order_of_epoch", "tops_of"]

Blobs = Mapping[str, NDArray[np.float32]]
Task = Callable[[Blobs], Sequence[str]]
"""Writes its part of a batch's blobs and names the samples it wrote, one per row, or none where rows have no name."""


class Stream(Protocol):
    """One data layer."""

    shapes: dict[str, tuple[int, ...]]
    """Top -> shape of the blob of the batch that was planned last; before the first, as the layer declares it."""

    def plan(self) -> list[Task]:
        """Plan the next batch: its tasks, in the order of the rows that they write."""

    def skip(self) -> None:
        """Go on as if a batch had been planned."""


class CPMStream:
    """Batches of a CPMData layer.

    Parameters
    ----------
    layer : LayerSpec
    store : RecordStore
    phase : {"TRAIN", "TEST"}
    seed : int
        Of our own generator and of the shuffling.
    rand : callable or None
        Gives a fresh C sequence for a replay of the original; streams that are given one sequence draw from it in
        turns.
    shuffle : bool
        Whether each epoch of the TRAIN phase has an order of its own.
    rows : slice
        The rows of a batch that are wanted (the others are drawn for and not made).
    root : path
        Where the tables of `aug_way: "table"` are looked for.
    masked : bool
        Make label maps NaN for the parts that the person to find has no label for (`labels.blank_unlabelled`).
    extras : Extras, optional
        Augmentation beyond the release's, in phase TRAIN.
    boxes : sequence of (int, int)
        (box, batches): so many of the first batches have a square box of that side, in turn; then the layer's own.

    Raises
    ------
    LayerError
        The layer's fields are not usable, or it has not two tops.
    """

    def __init__(
        self,
        layer: LayerSpec,
        store: RecordStore,
        *,
        phase: str,
        seed: int,
        rand: CRand | None,
        shuffle: bool,
        rows: slice,
        root: Path,
        masked: bool = False,
        extras: Extras | None = None,
        boxes: Sequence[tuple[int, int]] = (),
    ) -> None:
        data, label = tops_of(layer, 2)
        self._store = store
        self._parameters = _with_mirror(TransformParameters.from_message(layer.params.transform_param), store)
        self._train = phase == "TRAIN"
        self._seed = seed
        self._rand = rand if self._train else None
        self._shuffle = shuffle and self._train
        self._batch_size = layer.params.cpmdata_param.batch_size
        if self._batch_size < 1:
            raise LayerError(f"layer {layer.name!r}: batch_size {self._batch_size}; expected 1 or more")
        self._rows = range(self._batch_size)[rows]
        self._root = root
        self._masked = masked
        self._extras = extras if self._train else None
        self._growing = [
            (resized_box(self._parameters, box), batches) for box, batches in (boxes if self._train else ())
        ]
        self._data, self._label = data, label
        self._batch = 0
        self.shapes = self._shapes(self._parameters)

    def skip(self) -> None:
        """Go on as if a batch had been planned."""
        self._batch += 1
        if self._rand is not None:
            skip_c(self._parameters, self._rand, self._batch_size)

    def plan(self) -> list[Task]:
        """Plan the next batch: one task per wanted row."""
        tasks: list[Task] = []
        parameters = self._parameters_of(self._batch)
        self.shapes = self._shapes(parameters)
        self._batch += 1
        for row, (epoch, index) in enumerate(self._places(self._batch - 1)):
            draws = self._draw(epoch, index)
            if row in self._rows:
                tasks.append(functools.partial(self._make, parameters, row - self._rows.start, index, epoch, draws))
        return tasks

    def _places(self, batch: int) -> list[tuple[int, int]]:
        """Return every row's epoch and record."""
        if isinstance(self._store, ShardRecords):
            return self._store.places(batch, self._batch_size, self._seed if self._shuffle else None)
        count = len(self._store)
        places = [divmod(batch * self._batch_size + row, count) for row in range(self._batch_size)]
        if self._shuffle:
            places = [(epoch, int(order_of_epoch(self._seed, epoch, count)[place])) for epoch, place in places]
        return places

    def _parameters_of(self, batch: int) -> TransformParameters:
        for parameters, batches in self._growing:
            if batch < batches:
                return parameters
            batch -= batches
        return self._parameters

    def _shapes(self, parameters: TransformParameters) -> dict[str, tuple[int, ...]]:
        data, label = blob_shapes(parameters)
        return {self._data: (len(self._rows), *data), self._label: (len(self._rows), *label)}

    def _draw(self, epoch: int, index: int) -> Draws | None:
        if not self._train:
            return None
        if self._rand is not None:
            return draw_c(self._parameters, self._rand)
        return draw(self._parameters, self._seed, epoch, index)

    def _make(
        self,
        parameters: TransformParameters,
        row: int,
        index: int,
        epoch: int,
        draws: Draws | None,
        blobs: Blobs,
    ) -> Sequence[str]:
        record = self._store[index]
        extras = None if self._extras is None else self._extras.draw(self._seed, epoch, index)
        try:
            what = None if draws is None else self._decide(draws, parameters, epoch, record)
            if extras is not None and what is not None:
                record, what = replace(record, planes=extras.recolored(record.planes)), extras.turned(what)
            example = augment(record, parameters, what)
            if extras is not None:
                extras.hide(example.planes)
            write_example(example, parameters, blobs[self._data][row], blobs[self._label][row])
            if self._masked:
                blank_unlabelled(blobs[self._label][row], example.people[0, :, 2])
        except DataError as error:
            raise DataError(f"{record.name}: {str(error).removeprefix(f'{record.name}: ')}") from error
        return [record.name]

    def _decide(self, draws: Draws, parameters: TransformParameters, epoch: int, record: Record) -> Augmentation:
        if parameters.aug_way != "table":
            return decide(draws, parameters)
        augs, total = parameters.num_total_augs, record.total_write_number
        files = (self._root / f"../../{kind}_{augs}_{total}.txt" for kind in ("rotate", "flip"))
        degree, flip = (_table(file, total, augs)[record.write_number, epoch % augs] for file in files)
        return decide(draws, parameters, (float(degree), bool(flip)))


def order_of_epoch(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """Return the shuffled order of `count` records in an epoch, the same wherever and whenever it is asked for."""
    return _order(seed, epoch, count)


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    raw = np.random.Philox(key=seed, counter=[0, 0, epoch, 1]).random_raw(count)
    return np.argsort(raw, kind="stable")


def _with_mirror(parameters: TransformParameters, store: RecordStore) -> TransformParameters:
    """Let records that know their parts' order say what a flip exchanges, where the original exchanges nothing."""
    order = order_of(store)
    if order is None or len(order) != parameters.num_parts or parameters.reorders:
        return parameters
    return replace(parameters, mirror=order.mirrored())


def tops_of(layer: LayerSpec, count: int) -> tuple[str, ...]:
    """Return a layer's tops; LayerError where it has not `count` of them."""
    if len(layer.tops) != count:
        raise LayerError(f"layer {layer.name!r} ({layer.type}): {len(layer.tops)} tops; expected {count}")
    return layer.tops


@functools.lru_cache(maxsize=8)
def _table(path: Path, rows: int, columns: int) -> NDArray[np.float64]:
    """Read a table of numbers; MissingFileError or DataError where it is not there or not of that size."""
    if not path.is_file():
        raise MissingFileError(f'{path}: no such table; aug_way "table" takes degrees and flips from tables')
    try:
        values = np.array(path.read_text().split(), np.float64)
    except ValueError as error:
        raise DataError(f"{path}: not a table of numbers ({error})") from error
    if values.size < rows * columns:
        raise DataError(f"{path}: {values.size} numbers; expected {rows} rows of {columns}")
    return values[: rows * columns].reshape(rows, columns)
