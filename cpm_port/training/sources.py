"""Where training records come from, by one line of text: an LMDB, a JSON file of the release's layout, or drawn people.

FILES -> RECORDS. What `cpmdata_param { source: "..." }` may name:

- the folder of an LMDB in the release's layout (`lmdb.py`), the only kind that Caffe itself reads;
- a `.json` file of the release's `genJSON` layout (`genjson.py`); its images lie beside it or in `images/` beside it.
  To train on, records marked as validation are left out, as the release's LMDB writer does; to validate on
  (`held_out`), they are what is taken, or all where none is marked;
- `lspet:FOLDER`: the training people of the extended Leeds set, from its `joints.mat` and `images/` (`lspet.py`);
  `lspet-held-out:FOLDER`: the others, for validation;
- `drawn:count=2000,size=256,seed=1,difficulty=100`: people that are drawn on demand (`drawn.py`); every number has a
  default;
- `shards:FOLDER/index.json`: shards as WebDataset has them (`shards.py`), streamed; they are not joined with others;
- several of these, joined by ` + `: one set, the records of each after those of the one before; `3 * SOURCE` takes a
  source's records three times in every epoch. (An LMDB's folder can be joined where its path has no ` + `.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cpm_port.annotations.genjson import read_beside
from cpm_port.annotations.images import check_images
from cpm_port.annotations.lspet import read_held_out, read_training
from cpm_port.annotations.samples import Sample
from cpm_port.drawn.source import DrawnPeople, DrawnRecords
from cpm_port.errors import DataError, MissingFileError, UsageError
from cpm_port.records.lmdb import LmdbRecords
from cpm_port.records.record import JoinedRecords, RecordStore, SampleRecords, order_of
from cpm_port.records.shards import ShardRecords

__all__ = ["is_path", "json_samples", "open_records", "open_stores"]

DRAWN = "drawn:"
SHARDS = "shards:"
_AND = " + "
_TIMES = re.compile(r"\s*(\d+) \* ")
_LSPET = {"lspet:": read_training, "lspet-held-out:": read_held_out}


def is_path(source: str) -> bool:
    """Whether a source is one path, rather than one of the kinds that begin with their name, or several sources."""
    return not (source.startswith((DRAWN, SHARDS, *_LSPET)) or _AND in source or _TIMES.match(source))


def open_records(
    source: str | Path, num_joints: int = 16, *, held_out: bool = False, locate: Callable[[str], Path] = Path
) -> RecordStore:
    """Open a source of records.

    Parameters
    ----------
    source : str or path
        See the module.
    num_joints : int
        Joints per person in an LMDB (`np_in_lmdb`).
    held_out : bool
        The records are to be measured on, not trained on: of a JSON file, those marked as validation.
    locate : callable
        A path as the source writes it -> where it is.

    Raises
    ------
    MissingFileError
        Nothing is there, or images are missing: how many, and the first.
    DataError
        The source is not what it should be.
    UsageError
        A `drawn:` line that cannot be understood, or a source that is taken 0 times.
    """
    stores = open_stores(source, num_joints, held_out=held_out, locate=locate)
    if len(stores) == 1:
        return stores[0]
    named = {order.parts for order in map(order_of, stores) if order is not None}
    if len(named) > 1:
        raise DataError(
            f"{source}: the sources name their parts differently: {'; '.join(map(', '.join, sorted(named)))}; "
            "cpm_port.data.PoseDataset(parts=...) brings them into one order"
        )
    return JoinedRecords(stores)


def open_stores(
    source: str | Path, num_joints: int = 16, *, held_out: bool = False, locate: Callable[[str], Path] = Path
) -> list[RecordStore]:
    """Open the sources that a line of text joins, each as often as it says; parameters and errors as `open_records`."""
    text = str(source)
    if not (_AND in text or _TIMES.match(text)):
        return [_open_one(text, num_joints, held_out, locate)]
    stores: list[RecordStore] = []
    for term in text.split(_AND):
        times, one = _term(term)
        if one.startswith(SHARDS):
            raise UsageError(f"{text!r}: shards are streamed in an order of their own, and not joined with others")
        stores += [_open_one(one, num_joints, held_out, locate)] * times
    return stores


def _open_one(text: str, num_joints: int, held_out: bool, locate: Callable[[str], Path]) -> RecordStore:
    if text.startswith(DRAWN):
        return DrawnRecords(**_drawn_fields(text))
    if text.startswith(SHARDS):
        return ShardRecords(locate(text.removeprefix(SHARDS)))
    for prefix, read in _LSPET.items():
        if text.startswith(prefix):
            folder = Path(text.removeprefix(prefix))
            return _with_images(read(folder / "joints.mat", folder / "images"))
    path = locate(text)
    if path.suffix == ".json":
        return _with_images(json_samples(path, held_out=held_out))
    if not path.exists():
        raise MissingFileError(f"{path}: no training records there; expected an LMDB's folder or a .json file")
    return LmdbRecords(path, num_joints)


def _term(text: str) -> tuple[int, str]:
    """Return how often a joined source is taken, and the source."""
    match = _TIMES.match(text)
    times, one = (int(match[1]), text[match.end() :]) if match else (1, text)
    if times < 1:
        raise UsageError(f"{text.strip()!r}: expected a source taken 1 time or more")
    return times, one.strip()


def json_samples(path: Path, *, held_out: bool = False) -> list[Sample]:
    """Return the samples of a JSON file to train on, or those held out, with their images' places.

    Raises
    ------
    DataError
        It is no such file, or every record is marked as validation.
    MissingFileError
        It is not there, or images are missing.
    """
    everybody = read_beside(path)
    samples = [sample for sample in everybody if (sample.split == "validation") == held_out]
    if not samples and not held_out:
        raise DataError(f"{path}: every record is marked as validation, none is left to train on")
    samples = samples or everybody
    check_images(samples)
    return samples


def _with_images(samples: Sequence[Sample]) -> RecordStore:
    from cpm_port.imaging.reading import read_image

    check_images(samples)
    return SampleRecords(samples, read_image)


def _drawn_fields(text: str) -> dict[str, int]:
    fields = {}
    for item in filter(None, text.removeprefix(DRAWN).split(",")):
        name, _, value = item.partition("=")
        if name not in DrawnPeople.__dataclass_fields__ or not value.isdecimal():
            known = ", ".join(f"{field}=N" for field in DrawnPeople.__dataclass_fields__)
            raise UsageError(f"{text!r}: expected some of {known}, separated by commas, after {DRAWN!r}")
        fields[name] = int(value)
    return fields
