"""Training records: an image with the person to find and the others in it, as the release's LMDBs hold them.

FILES -> RECORDS -> augmentation. Every source of training data gives `Record`s through one small protocol,
`RecordStore`: `lmdb.py` (the release's layout), `SampleRecords` here (any data set's samples and their images) and
`drawn/source.py`.

Conventions: coordinates are `(x, y)`, 0-based image px, float32: the layout stores 1-based float32 values, and the
original subtracts 1 in float32. `record_of` does the same, so a sample trains alike with and without an LMDB
in between. Images are planes, `(3, H, W)` uint8, blue, green, red.

Quirks of the layout, kept: a joint that is not annotated is (-1, -1); a joint's third value is 0 where it is hidden
and 1 where it is seen; the image may be wider than `image_size` says (the writer pads narrow ones).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person, Sample
from cpm_port.errors import DataError
from cpm_port.parts import CPM14, LSP14, MPII16, PartOrder

__all__ = [
    "Annotation",
    "ArrangedRecords",
    "JoinedRecords",
    "Record",
    "RecordStore",
    "SampleRecords",
    "order_of",
    "place_of_other",
    "record_of",
    "renumbered",
    "stored_dataset",
    "stored_joints",
    "stored_order",
]


@dataclass(frozen=True, eq=False)
class Annotation:
    """One person.

    Attributes
    ----------
    objpos : ndarray, shape (2,), float32
        Where the person is, 0-based image px.
    scale : float
        Height / 200 px, a float32 value.
    joints : ndarray, shape (J, 3), float32
        x and y, 0-based image px, (-1, -1) where not annotated; 0 hidden, 1 seen.
    """

    objpos: NDArray[np.float32]
    scale: float
    joints: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Record:
    """One training example.

    Attributes
    ----------
    name : str
        Says which record of which source this is, for messages.
    dataset : str
        "MPI", "LEEDS", "FLIC", ...
    planes : ndarray, shape (3, H, W), uint8
        Blue, green, red.
    image_size : (int, int)
        Width and height that the annotations mean.
    person : Annotation
        The person to find.
    others : tuple of Annotation
        Everybody else annotated in the image.
    is_validation : bool
    annolist_index, people_index : int
        The data set's own numbers of image and person.
    write_number, total_write_number : int
        Place in the LMDB, from 0, and the number of its records.
    """

    name: str
    dataset: str
    planes: NDArray[np.uint8]
    image_size: tuple[int, int]
    person: Annotation
    others: tuple[Annotation, ...] = ()
    is_validation: bool = False
    annolist_index: int = 0
    people_index: int = 0
    write_number: int = 0
    total_write_number: int = 0


class RecordStore(Protocol):
    """Records by number; reading one is safe from several threads at once.

    A store that knows the order of its records' joints has it as `order` (see `order_of`); an LMDB does not hold it.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


def order_of(store: RecordStore) -> PartOrder | None:
    """Return the order of a store's joints, None where it does not know."""
    order: PartOrder | None = getattr(store, "order", None)
    return order


class SampleRecords:
    """The records of a list of samples, images read when asked for.

    Parameters
    ----------
    samples : sequence of Sample
        Each with `center` and `scale` for its person (for LSP: `mpi_like_scale.with_mpi_like_scale`).
    read_image : callable
        Path -> ndarray of shape (H, W, 3), uint8, BGR.

    Attributes
    ----------
    order : PartOrder
        Of the records' joints.

    Raises
    ------
    DataError
        No sample, one without center or a positive scale, or several part orders.
    """

    def __init__(self, samples: Sequence[Sample], read_image: Callable[[Path], NDArray[np.uint8]]) -> None:
        if not samples:
            raise DataError("training records: no sample")
        lacking = [s.name for s in samples if s.person.center is None or s.person.scale is None]
        if lacking:
            raise DataError(
                f"training records: {len(lacking)} samples have no center or scale, the first {lacking[0]!r}"
            )
        flat = [s.name for s in samples if not (s.person.scale or 0) > 0]
        if flat:
            raise DataError(f"training records: {len(flat)} samples have no positive scale, the first {flat[0]!r}")
        orders = {sample.order.name for sample in samples}
        if len(orders) > 1:
            raise DataError(f"training records: samples of several part orders: {', '.join(sorted(orders))}")
        self.order = stored_order(samples[0].order)
        self._samples = tuple(samples)
        self._read_image = read_image

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Record:
        sample = self._samples[index]
        return record_of(sample, self._read_image(sample.require_image()), index, len(self))


class JoinedRecords:
    """Several stores as one, the records of each after those of the one before.

    Attributes
    ----------
    order : PartOrder or None
        Of the records' joints, where all stores know the same.
    """

    def __init__(self, stores: Sequence[RecordStore]) -> None:
        self._stores = tuple(stores)
        first, *rest = (order_of(store) for store in self._stores)
        self.order = first if all(order == first for order in rest) else None
        self._ends = list(itertools.accumulate(len(store) for store in stores))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Record:
        which = bisect.bisect_right(self._ends, index)
        start = self._ends[which - 1] if which else 0
        return self._stores[which][index - start]


class ArrangedRecords:
    """A store's records with their joints in another order, by the parts' names; parts that it lacks have no label.

    Attributes
    ----------
    order : PartOrder
        Of the records' joints.

    Raises
    ------
    DataError
        The store has none of the parts.
    """

    def __init__(self, store: RecordStore, source: PartOrder, order: PartOrder) -> None:
        if not set(source.parts) & set(order.parts):
            raise DataError(f"records of {', '.join(source.parts)}: none of {', '.join(order.parts)} is among them")
        self.order = order
        self._store = store
        self._rows = [source.parts.index(part) if part in source.parts else -1 for part in order.parts]

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Record:
        record = self._store[index]
        others = tuple(map(self._arranged, record.others))
        return replace(record, person=self._arranged(record.person), others=others)

    def _arranged(self, person: Annotation) -> Annotation:
        rows = np.array(self._rows)
        joints = person.joints[rows]
        joints[rows < 0] = (-1, -1, 0)
        return replace(person, joints=joints)


def record_of(sample: Sample, image: NDArray[np.uint8], write_number: int = 0, total: int = 1) -> Record:
    """Make a record of a sample and its image.

    Parameters
    ----------
    sample : Sample
        Orders of 14 parts move into MPII's order of 16 with pelvis and thorax absent, as the release writes LSP; every
        other order stays.
    image : ndarray, shape (H, W, 3), uint8, BGR
    write_number, total : int
        Place among the records and their number.

    Raises
    ------
    DataError
        The image has another size than annotated, or the person no center or scale. (Others without are given the
        center of their joints and the person's scale, which no label depends on.)
    """
    person = sample.person
    if person.center is None or person.scale is None:
        raise DataError(f"{sample.dataset} {sample.name}: the person has no center or scale; training needs both")
    sample.check_size((image.shape[1], image.shape[0]))
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    return Record(
        f"{sample.dataset} {sample.name}",
        stored_dataset(sample.dataset),
        planes,
        (planes.shape[2], planes.shape[1]),
        _annotation(person, sample.order, person.center, person.scale),
        tuple(_annotation(other, sample.order, *place_of_other(other, person)) for other in sample.others),
        sample.split == "validation",
        sample.annolist_index or 0,
        sample.people_index or 0,
        write_number,
        total,
    )


def renumbered(store: RecordStore, shuffle_seed: int | None = None) -> Iterator[Record]:
    """Yield a store's records for a new store: numbered anew, in their order or, with a seed, in a random one."""
    order: Sequence[int] = range(len(store))
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(len(store)).tolist()
    for number, index in enumerate(order):
        yield replace(store[index], write_number=number, total_write_number=len(store))


def place_of_other(other: Person, person: Person) -> tuple[tuple[float, float], float]:
    """Return center and scale of a neighbour; where they are not told, the middle of the joints and the person's scale.

    No label depends on them.
    """
    assert person.scale is not None
    return other.center or _middle(other), person.scale if other.scale is None else other.scale


def stored_joints(person: Person, order: PartOrder) -> NDArray[np.float64]:
    """Return a person's joints as the release stores them.

    Returns
    -------
    ndarray, shape (J, 3), float64
        x and y, 1-based, (0, 0) where not annotated; 0 hidden, 1 seen. Orders of 14 parts become MPII's 16.
    """
    target = stored_order(order)
    stored = np.zeros((len(target), 3))
    places = [target.index(part) for part in order.parts]
    stored[places, :2] = np.where(person.annotated[:, None], person.joints + 1, 0)
    stored[places, 2] = person.visible
    return stored


def stored_dataset(name: str) -> str:
    """Return the name that the release stores for a data set: LSP is "LEEDS" there."""
    return "LEEDS" if name == "LSP" else name


def stored_order(order: PartOrder) -> PartOrder:
    """Return the order that joints are stored in: the release keeps 14 parts in MPII's order of 16."""
    return MPII16 if order in (LSP14, CPM14) else order


def _annotation(person: Person, order: PartOrder, center: tuple[float, float], scale: float) -> Annotation:
    joints = stored_joints(person, order).astype(np.float32)
    joints[:, :2] -= np.float32(1)
    objpos = (np.array(center) + 1).astype(np.float32) - np.float32(1)
    return Annotation(objpos, float(np.float32(scale)), joints)


def _middle(person: Person) -> tuple[float, float]:
    known = person.joints[person.annotated]
    x, y = (known.min(axis=0) + known.max(axis=0)) / 2 if len(known) else (0.0, 0.0)
    return float(x), float(y)
