"""The data layers of a net, run as written: batches of blobs for training, testing and looking at.

NET -> data layers (`streams.py`, `caffe_streams.py`, `image_streams.py`) -> **batches** -> the training loop.

    with open_data_layers(read_net("train.prototxt", phase="TRAIN"), phase="TRAIN", seed=1, num_workers=2) as source:
        blobs = source.next_batch()  # {"data": (N, 4, H, W), "label": (N, 2 P + 2, h, w)}

Conventions: blobs are float32, in C order, and new for every batch. What a batch holds depends on the net, the seed (or
`srand`) and the batch's number only: not on the number of workers, nor on where a run was interrupted.

Paths in a net file are Caffe's: seen from the working directory (or `root`). Where nothing is there, the folder of the
net file is tried, and those above it (`cpm_port.files.named`).
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import LayerSpec, MessageView, NetSpec
from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.errors import MissingFileError, TrainingError, UnsupportedLayerError, UsageError
from cpm_port.files.named import find_named
from cpm_port.records.lmdb import LmdbRecords
from cpm_port.records.record import RecordStore
from cpm_port.training.caffe_streams import DataStream, DummyStream, HDF5Stream, InputStream, listed_files
from cpm_port.training.crand import CRand
from cpm_port.training.extras import Extras
from cpm_port.training.image_streams import ImageStream, MemoryStream, WindowStream
from cpm_port.training.sources import open_records
from cpm_port.training.streams import CPMStream, Stream, Task

__all__ = ["STREAMS", "DataSource", "enlarged", "fed", "open_data_layers"]

_AHEAD = 3
STREAMS: dict[str, Callable[[LayerSpec, tuple[int, int]], Stream]] = {}
"""Layer types without bottoms whose batches other rooms make: type -> stream of a layer, for (rank, world)."""
_TYPES = ("CPMData", "Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "WindowData")


def open_data_layers(
    net_spec: NetSpec,
    *,
    phase: str,
    seed: int | None = None,
    srand: int | None = None,
    num_workers: int = 0,
    root: str | Path | None = None,
    records: Mapping[str, RecordStore] | None = None,
    shard: tuple[int, int] = (0, 1),
    masked: bool = False,
    extras: Extras | None = None,
    boxes: Sequence[tuple[int, int]] = (),
    memory: Mapping[str, tuple[NDArray[Any], NDArray[Any]]] | None = None,
) -> DataSource:
    """Open the data layers of a net.

    Parameters
    ----------
    net_spec : NetSpec
        Already filtered for the phase.
    phase : {"TRAIN", "TEST"}
    seed : int, optional
        Of our own generators; 0 where it is not given.
    srand : int, optional
        Replay the original's random draws: C's `rand()` after `srand(srand)`; 1 is a run that never called `srand`.
        Sources that are shuffled per epoch then keep their order.
    num_workers : int
        Threads that make examples, up to three batches ahead; 0 makes them when they are asked for.
    root : path, optional
        Folder that relative paths start from; the working directory by default.
    records : mapping of str to RecordStore, optional
        Layer name -> records to use instead of the CPMData layer's `source`.
    shard : (int, int)
        (rank, world): give only this process's rows of every batch.
    masked : bool
        CPMData layers give NaN for the label maps of parts that the person to find has no label for: for losses that
        ignore NaN.
    extras, boxes
        For CPMData layers, see `streams.CPMStream`.
    memory : mapping of str to (ndarray, ndarray), optional
        Layer name -> a MemoryData layer's data and labels.

    Returns
    -------
    DataSource

    Raises
    ------
    UnsupportedLayerError
        Data layers of other types, or with fields of unknown meaning; all are named.
    UsageError
        The net has no data layer, `records` names no CPMData layer, `memory` not the MemoryData layers, a batch cannot
        be shared equally, or a number is negative.
    LayerError, DataError, MissingFileError
        Fields or files that are not usable.
    """
    layers = [layer for layer in net_spec.layers if not layer.bottoms and not _computes(layer)]
    unsupported = [f"{layer.name!r} ({layer.type})" for layer in layers if layer.type not in (*_TYPES, *STREAMS)]
    if unsupported:
        found, known = ", ".join(unsupported), ", ".join((*_TYPES, *STREAMS))
        raise UnsupportedLayerError(f"{net_spec.source}: data layers {found}; supported: {known}")
    if not layers:
        raise UsageError(f"{net_spec.source}: no data layer in phase {phase}")
    strange = [f"layer {layer.name!r} ({layer.type}): {field}" for layer in layers for field in layer.strangers]
    if strange:
        raise UnsupportedLayerError(
            "\n  ".join([f"{net_spec.source}: {len(strange)} fields of unknown meaning", *strange])
        )
    records = dict(records or {})
    unknown = set(records) - {layer.name for layer in layers if layer.type == "CPMData"}
    if unknown:
        raise UsageError(f"records for {', '.join(sorted(unknown))}: no CPMData layer of that name")
    memory = dict(memory or {})
    from_memory = {layer.name for layer in layers if layer.type == "MemoryData"}
    if memory.keys() != from_memory:
        raise UsageError(
            f"{net_spec.source}: arrays for layers {sorted(memory)}; expected for the MemoryData layers, "
            f"{sorted(from_memory)} (--memory LAYER=F.npz)"
        )
    seed = 0 if seed is None else seed
    if seed < 0 or num_workers < 0 or not 0 <= shard[0] < shard[1]:
        raise UsageError(
            f"seed {seed}, num_workers {num_workers}, shard {shard}: expected 0 or more, 0 or more, and "
            "(rank, world) with 0 <= rank < world"
        )
    opener = _Opener(
        net_spec,
        phase,
        seed,
        srand,
        None if root is None else Path(root),
        records,
        shard,
        masked,
        extras,
        boxes,
        memory,
    )
    return DataSource(functools.partial(opener.streams, layers), seed, srand, num_workers)


class DataSource:
    """Batches of a net's data layers; a context manager that stops its workers at the end.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Top -> shape of a batch's blob, as the layers declare it.
    """

    def __init__(
        self, make_streams: Callable[[], list[Stream]], seed: int, srand: int | None, num_workers: int
    ) -> None:
        self._make_streams = make_streams
        self._streams = make_streams()
        self._seed, self._srand = seed, srand
        self._pool = ThreadPoolExecutor(num_workers, "batches") if num_workers else None
        self._ahead: collections.deque[_Pending] = collections.deque()
        self._given = 0
        self._names: list[str] = []
        self.shapes = {top: shape for stream in self._streams for top, shape in stream.shapes.items()}

    def next_batch(self) -> dict[str, NDArray[np.float32]]:
        """Return the next batch: top -> blob.

        Raises
        ------
        DataError, MissingFileError
            A record that is not usable.
        """
        if self._pool is None:
            pending = self._plan()
            found = [task(pending.blobs) for task in pending.tasks]
        else:
            while len(self._ahead) < _AHEAD:
                planned = self._plan()
                planned.futures += [self._pool.submit(task, planned.blobs) for task in planned.tasks]
                self._ahead.append(planned)
            pending = self._ahead.popleft()
            found = [_result(future) for future in pending.futures]
        self._given += 1
        self._names = _row_names(found, pending.ends)
        return pending.blobs

    def describe_last(self) -> list[str]:
        """Name the samples of the last batch, one per row; empty where rows have no names (DummyData, Input)."""
        return list(self._names)

    def state(self) -> dict[str, Any]:
        """Return the position after the last batch given, in JSON values."""
        return {"batches": self._given, "seed": self._seed, "srand": self._srand}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position that `state` returned, also that of another process or number of workers.

        Raises
        ------
        UsageError
            It is no position, or that of a source with another seed or `srand`.
        """
        if type(state.get("batches")) is not int or state["batches"] < 0:
            raise UsageError(f"a position in data: batches {state.get('batches')!r}; 0 or more expected")
        found = {name: state.get(name) for name in ("seed", "srand")}
        own = {"seed": self._seed, "srand": self._srand}
        if found != own:
            raise UsageError(f"a position in data drawn with {found} cannot be restored in data drawn with {own}")
        self._go_to(state["batches"])

    def skip(self, batches: int) -> None:
        """Go on as if that many batches had been taken."""
        if batches < 0:
            raise UsageError(f"skip {batches} batches: expected 0 or more")
        self._go_to(self._given + batches)

    def close(self) -> None:
        """Stop the workers."""
        self._drop_ahead()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> DataSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _go_to(self, batch: int) -> None:
        self._drop_ahead()
        self._streams = self._make_streams()
        for _ in range(batch):
            for stream in self._streams:
                stream.skip()
        self._given = batch
        self._names = []

    def _drop_ahead(self) -> None:
        for pending in self._ahead:
            for future in pending.futures:
                future.cancel()
        self._ahead.clear()

    def _plan(self) -> _Pending:
        blobs: dict[str, NDArray[np.float32]] = {}
        tasks: list[Task] = []
        ends = []
        for stream in self._streams:
            tasks += stream.plan()
            blobs |= {top: np.empty(shape, np.float32) for top, shape in stream.shapes.items()}
            ends.append(len(tasks))
        return _Pending(blobs, tasks, ends, [])


def _result(future: Future[Sequence[str]]) -> Sequence[str]:
    """Return what a worker has found; one that ended itself ends nothing but the run."""
    try:
        return future.result()
    except SystemExit as error:
        raise TrainingError(f"a thread that makes batches has ended: {error!r}") from error


@dataclass
class _Pending:
    """A batch that is being made: its blobs, its tasks and where each stream's tasks end, what they will return."""

    blobs: dict[str, NDArray[np.float32]]
    tasks: list[Task]
    ends: list[int]
    futures: list[Future[Sequence[str]]]


@dataclass(frozen=True)
class _Opener:
    """Makes the streams of a net, from the beginning, as often as they are needed."""

    net: NetSpec
    phase: str
    seed: int
    srand: int | None
    root: Path | None
    records: dict[str, RecordStore]
    shard: tuple[int, int]
    masked: bool
    extras: Extras | None
    boxes: Sequence[tuple[int, int]]
    memory: dict[str, tuple[NDArray[Any], NDArray[Any]]]

    def streams(self, layers: Sequence[LayerSpec]) -> list[Stream]:
        rand = None if self.srand is None else CRand(self.srand)
        return [self._stream(layer, rand) for layer in layers]

    def _stream(self, layer: LayerSpec, rand: CRand | None) -> Stream:
        params = layer.params
        if layer.type in STREAMS:
            return STREAMS[layer.type](layer, self.shard)
        if layer.type == "CPMData":
            store = self.records.get(layer.name)
            if store is None:
                store = self.records[layer.name] = open_records(
                    params.cpmdata_param.source,
                    params.transform_param.np_in_lmdb,
                    locate=functools.partial(self._locate, layer=layer),
                )
            return CPMStream(
                layer,
                store,
                phase=self.phase,
                seed=self.seed,
                rand=rand,
                shuffle=rand is None and not isinstance(store, LmdbRecords),
                rows=self._rows(layer, params.cpmdata_param.batch_size),
                root=Path(self.root or "."),
                masked=self.masked,
                extras=self.extras,
                boxes=self.boxes,
            )
        if layer.type == "MemoryData":
            rows = self._rows(layer, params.memory_data_param.batch_size)
            return MemoryStream(layer, self.memory[layer.name], rows=rows)
        mean = self._locate(params.transform_param.mean_file, layer) if params.transform_param.mean_file else None
        if layer.type == "ImageData":
            listed = self._locate(params.image_data_param.source, layer)
            rows = self._rows(layer, params.image_data_param.batch_size)
            locate = functools.partial(self._locate, layer=layer, beside=listed.parent)
            return ImageStream(layer, listed, mean, locate=locate, phase=self.phase, seed=self.seed, rows=rows)
        if layer.type == "WindowData":
            listed = self._locate(params.window_data_param.source, layer)
            rows = self._rows(layer, params.window_data_param.batch_size)
            locate = functools.partial(self._locate, layer=layer, beside=listed.parent)
            return WindowStream(layer, listed, mean, locate=locate, seed=self.seed, rows=rows)
        if layer.type == "Data":
            return DataStream(
                layer,
                self._locate(params.data_param.source, layer),
                mean,
                phase=self.phase,
                seed=self.seed,
                rows=self._rows(layer, params.data_param.batch_size),
            )
        if layer.type == "HDF5Data":
            listed = self._locate(params.hdf5_data_param.source, layer)
            files = [self._locate(line, layer, listed.parent) for line in listed_files(listed, layer)]
            rows = self._rows(layer, params.hdf5_data_param.batch_size)
            return HDF5Stream(layer, files, seed=self.seed, rows=rows)
        if layer.type == "DummyData":
            sizes = params.dummy_data_param
            first = sizes.shape[0].dim[0] if sizes.shape and sizes.shape[0].dim else (sizes.num or (0,))[0]
            return DummyStream(layer, seed=self.seed, rows=self._rows(layer, first))
        shapes = self.net.inputs
        first = next((shapes[top][0] for top in layer.tops if shapes.get(top)), 0)
        return InputStream(layer, shapes, rows=self._rows(layer, first))

    def _rows(self, layer: LayerSpec, batch_size: int) -> slice:
        rank, world = self.shard
        size, rest = divmod(batch_size, world)
        if rest:
            raise UsageError(f"layer {layer.name!r}: {world} processes cannot share a batch of {batch_size} equally")
        return slice(rank * size, (rank + 1) * size)

    def _locate(self, path: str, layer: LayerSpec, beside: Path | None = None) -> Path:
        """Return where a path of the net file is: from the root, or from the folder of the file that names it or one
        above.
        """
        path, folder = path.strip(), beside or Path(self.net.source).parent
        found = find_named(path, folder, self.root)
        if found is None:
            tried = " nor at ".join(dict.fromkeys((str((self.root or Path()) / path), str(folder / path))))
            raise MissingFileError(
                f"{self.net.source}: layer {layer.name!r} names {path!r}, which is not at {tried}, nor above it"
            )
        return found


def fed(net: NetSpec) -> NetSpec:
    """Return a net in which the data layers of `STREAMS` are Input layers: their batches come from a DataSource."""
    layers = []
    for layer in net.layers:
        if layer.type in STREAMS and not layer.bottoms:
            message: Any = layer.params.message()
            message.type = "Input"
            layer = replace(layer, type="Input", params=MessageView(message))
        layers.append(layer)
    return replace(net, layers=tuple(layers))


def enlarged(net: NetSpec, times: int) -> NetSpec:
    """Return a net whose data layers have so many times their batch size."""
    if times == 1:
        return net
    return replace(net, layers=tuple(_enlarged(layer, times) if not layer.bottoms else layer for layer in net.layers))


def _enlarged(layer: LayerSpec, times: int) -> LayerSpec:
    message: Any = layer.params.message()
    for field, part in message.ListFields():
        if field.name.endswith("data_param") and hasattr(part, "batch_size"):
            part.batch_size *= times
        if field.name in ("dummy_data_param", "input_param"):
            for shape in part.shape:
                shape.dim[0] *= times
    if layer.type == "DummyData":
        counts = message.dummy_data_param.num
        counts[:] = [count * times for count in counts]
    return replace(layer, params=MessageView(message))


def _computes(layer: LayerSpec) -> bool:
    """Tell whether a layer without bottoms makes its tops itself, as Parameter does, instead of reading data."""
    if layer.type in STREAMS:
        return False
    entry = LAYER_TYPES.get(layer.type)
    return entry is not None and entry.kind != "source"


def _row_names(found: Sequence[Sequence[str]], ends: Sequence[int]) -> list[str]:
    """Join the names that several layers give to a row."""
    columns = []
    for start, end in zip([0, *ends], ends, strict=False):
        names = [name for group in found[start:end] for name in group]
        if names:
            columns.append(names)
    rows = max(map(len, columns), default=0)
    return [" + ".join(names[row] for names in columns if row < len(names)) for row in range(rows)]
