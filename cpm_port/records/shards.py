"""Shards: training records in tar files, as WebDataset has them, read as streams in an order that is known.

FILES <-> RECORDS, for data larger than memory and than one disk. A shard is a tar; a sample is the files of one key in
it: `KEY.jpg` (or another kind of picture, as the data set has it) and `KEY.json`, the sample's annotation in the layout
of the release (`genjson.py`), a whole file of its own that names its parts where they must be named. Beside the shards
lies `index.json`, in the form that WebDataset's `widsindex` writes: every shard's name, or URL, and its number of
samples.

The order: the rows of a batch are shared out to lanes, 16 or as many as the batch and the number of shards allow, and
every lane reads shards of its own, one after the other, in phase TRAIN in an order that each pass draws anew from the
seed; within a shard, samples come as they lie (the writer shuffles). So a batch mixes as many shards as there are
lanes; which samples it has depends on the index, the seed and its number alone; a process that makes a part of a
batch's rows opens the shards of its lanes only, which may lie on its own disk; and a run that goes on in the middle
skips to its place.

Reading needs WebDataset (the extra `shards`), which also opens http addresses; writing does not. Addresses that run a
command (`pipe:`) are refused: a net file names the source, and a net file runs no code.
"""

from __future__ import annotations

import bisect
import io
import itertools
import json
import os
import tarfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.genjson import samples_of
from cpm_port.annotations.samples import Sample
from cpm_port.errors import CpmPortError, DataError, MissingDependencyError, MissingFileError, UsageError
from cpm_port.files.atomic import partial_folder, writing
from cpm_port.files.json_text import parse_json, read_json
from cpm_port.imaging.reading import decode_image
from cpm_port.records.genjson import format_genjson
from cpm_port.records.record import Record, record_of, stored_order

__all__ = ["INDEX", "ShardRecords", "write_shards"]

INDEX = "index.json"
_KIND = "wids-shard-index-v1"
_BROKEN = (
    tarfile.TarError, OSError, EOFError, ValueError, AssertionError, AttributeError, KeyError, TypeError, OverflowError,
    MemoryError,
)  # fmt: skip
_LANES = 16
_OPEN = 40  # shards at once: every lane's, and the next ones while lanes pass from one to the other
_WAITING = 128  # samples of a shard that were read over and may still be asked for: threads are not in order


class ShardRecords:
    """The records of shards, by number over all of them; best read in the order of `places`.

    Parameters
    ----------
    index : path
        The index file; shards' names are relative to its folder.

    Attributes
    ----------
    order : PartOrder
        Of the records' joints, as the first sample that is here has it.
    urls : tuple of str
        The shards.

    Raises
    ------
    MissingFileError, DataError
        The index is absent or none, or no shard is here; the first sample cannot be read.
    MissingDependencyError
        WebDataset is not installed.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self._index = Path(index)
        self.urls, counts = _read_index(self._index)
        self._ends = list(itertools.accumulate(counts))
        self._counts = np.array(counts)
        self._readers: OrderedDict[int, _Reader] = OrderedDict()
        self._lock = threading.Lock()
        self.order = stored_order(self._first_here().order)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Record:
        sample, image = self._sample(index)
        if stored_order(sample.order) != self.order:
            raise DataError(f"{self._index}: sample {sample.name!r} has parts other than the first one's")
        return record_of(sample, decode_image(image, sample.name), index, len(self))

    def places(self, batch: int, batch_size: int, seed: int | None) -> list[tuple[int, int]]:
        """Return which records a batch has: for every row the pass over its lane's shards, and the record's number.

        Parameters
        ----------
        batch : int
            From 0.
        batch_size : int
        seed : int or None
            Of the shards' order; None: as the index has them.
        """
        lanes = lanes_of(batch_size, len(self.urls))
        each = batch_size // lanes
        found = []
        for lane in range(lanes):
            shards = np.arange(lane, len(self.urls), lanes)
            total = int(self._counts[shards].sum())
            for place in range(batch * each, (batch + 1) * each):
                epoch, left = divmod(place, total)
                order = shards if seed is None else shards[_shuffled(seed, lane, epoch, len(shards))]
                ends = np.cumsum(self._counts[order])
                slot = int(np.searchsorted(ends, left, side="right"))
                shard = int(order[slot])
                found.append((epoch, self._ends[shard] - int(ends[slot]) + left))
        return found

    def _first_here(self) -> Sample:
        """Return the first sample of the first shard that is here: the others' may lie on other machines."""
        missing: MissingFileError | None = None
        for start in (0, *self._ends[:-1]):
            try:
                return self._sample(start)[0]
            except MissingFileError as error:
                missing = missing or error
        assert missing is not None
        raise missing

    def _sample(self, index: int) -> tuple[Sample, bytes]:
        """Return a sample's annotation and its picture's file."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect.bisect_right(self._ends, index)
        number = index - (self._ends[shard - 1] if shard else 0)
        files = self._reader(shard).get(number)
        where = f"{self.urls[shard]}: {files['__key__']}"
        pictures = [name for name in files if name != "json" and not name.startswith("__")]
        if "json" not in files or len(pictures) != 1:
            raise DataError(f"{where}: files {', '.join(sorted(files))}; expected .json and a picture")
        (sample,) = samples_of(parse_json(files["json"], where), None, where)[:1]
        return sample, files[pictures[0]]

    def _reader(self, shard: int) -> _Reader:
        """Return the stream of a shard; those that were not asked for the longest time are closed."""
        with self._lock:
            reader = self._readers.pop(shard, None) or _Reader(self.urls[shard], self._index.parent)
            self._readers[shard] = reader
            while len(self._readers) > _OPEN:
                self._readers.popitem(last=False)
            return reader


def lanes_of(batch_size: int, shards: int) -> int:
    """Return among how many lanes the rows of a batch are shared out: the most that leave each the same number."""
    return next(lanes for lanes in range(min(_LANES, shards, batch_size), 0, -1) if batch_size % lanes == 0)


class _Reader:
    """One shard's samples, read forward; safe from several threads."""

    def __init__(self, url: str, folder: Path) -> None:
        scheme = urlparse(url).scheme
        if scheme not in ("", "http", "https"):
            raise UsageError(f"{url}: a shard by {scheme!r}; expected a file's name or an http address")
        self._url = url if scheme else os.fspath(folder / url)
        if not scheme and not Path(self._url).is_file():
            raise MissingFileError(f"{self._url}: no such shard")
        self._lock = threading.Lock()
        self._close: weakref.finalize[..., _Reader] | None = None
        self._begin()

    def _begin(self) -> None:
        self._samples, stream = _opened(self._url)
        if self._close is not None:
            self._close()
        self._close = weakref.finalize(self, stream.close)
        self._next = 0
        self._passed: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def get(self, number: int) -> dict[str, Any]:
        """Return a sample's files by suffix, and its `__key__`."""
        with self._lock:
            if number in self._passed:
                return self._passed.pop(number)
            if number < self._next:
                self._begin()
            while True:
                sample = self._read()
                self._next += 1
                if self._next > number:
                    return sample
                self._passed[self._next - 1] = sample
                if len(self._passed) > _WAITING:
                    self._passed.popitem(last=False)

    def _read(self) -> dict[str, Any]:
        try:
            return next(self._samples)
        except StopIteration:
            raise DataError(f"{self._url}: {self._next} samples; its index says more") from None
        except CpmPortError:
            raise
        except _BROKEN as error:
            raise DataError(f"{self._url}: not a whole shard: {error.args[:1]}") from error


def _opened(url: str) -> tuple[Iterator[dict[str, Any]], IO[bytes]]:
    """Return a shard's samples, one by one through WebDataset, and the stream that they come from."""
    try:
        from webdataset.gopen import gopen
        from webdataset.tariterators import group_by_keys, tar_file_expander
    except ImportError as error:
        raise MissingDependencyError(
            "WebDataset is not installed: pip install 'cpm_port[shards]' for shards of records"
        ) from error
    stream = gopen(url)
    return iter(group_by_keys(tar_file_expander([{"url": url, "stream": stream}]))), stream


def _shuffled(seed: int, lane: int, epoch: int, count: int) -> NDArray[np.intp]:
    raw = np.random.Philox(key=seed, counter=[0, lane, epoch, 7]).random_raw(count)
    return np.argsort(raw, kind="stable")


def _read_index(path: Path) -> tuple[tuple[str, ...], list[int]]:
    """Return the shards' names and sizes."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no index of shards; `widsindex create` writes one for tars that are there")
    content = read_json(path)
    listed = content.get("shardlist") if isinstance(content, dict) else None
    if not isinstance(listed, list) or content.get("__kind__") != _KIND or not listed:
        raise DataError(f"{path}: no index of shards; expected an object of kind {_KIND} with a shardlist")
    for number, one in enumerate(listed, 1):
        good = isinstance(one, dict) and isinstance(one.get("url"), str) and type(one.get("nsamples")) is int
        if not good or one["nsamples"] < 1:
            raise DataError(f"{path}: shard {number}: {one!r:.80}; expected a url, and nsamples of 1 or more")
    return tuple(one["url"] for one in listed), [one["nsamples"] for one in listed]


def write_shards(path: str | os.PathLike[str], samples: Sequence[Sample], per_shard: int, seed: int | None) -> int:
    """Write samples and their pictures' files, as they are, as shards with an index; return the number of shards.

    Parameters
    ----------
    path : path
        The folder, which must not exist; it appears whole or not at all.
    samples : sequence of Sample
        Each with its picture's file, its size, and the person's center and scale.
    per_shard : int
        Samples of a shard; the last one may have fewer.
    seed : int or None
        Of the order, drawn once; None: as they come.

    Raises
    ------
    UsageError
        The folder exists, or shards of less than one sample.
    DataError
        No samples, or one that lacks something.
    WriteError
        They cannot be written: a full disk.
    """
    target = Path(path)
    if target.exists():
        raise UsageError(f"{target}: it exists; shards are written to a new folder")
    if per_shard < 1 or not samples:
        raise UsageError(f"{target}: {len(samples)} samples, {per_shard} in a shard; expected 1 or more of both")
    order = range(len(samples)) if seed is None else np.random.default_rng(seed).permutation(len(samples)).tolist()
    starts = range(0, len(samples), per_shard)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(target.parent) as folder:
            new = folder / target.name
            new.mkdir()
            listed = []
            for number, start in enumerate(starts):
                chosen = order[start : start + per_shard]
                name = f"shard-{number:06d}.tar"
                _write_shard(new / name, [(place, samples[place]) for place in chosen])
                listed.append({"url": name, "nsamples": len(chosen), "filesize": (new / name).stat().st_size})
            index = {"__kind__": _KIND, "wids_version": 1, "shardlist": listed}
            (new / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
            os.rename(new, target)
    return len(starts)


def _write_shard(path: Path, samples: Sequence[tuple[int, Sample]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, sample in samples:
            image = sample.require_image()
            files = {
                f"{number:09d}{image.suffix.lower()}": image.read_bytes(),
                f"{number:09d}.json": "".join(format_genjson([sample])).encode(),
            }
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
