"""Training data for a PyTorch loop of one's own: a data set, its batches, the labels and the losses.

    dataset = PoseDataset("own.json", box=184)
    loader = DataLoader(dataset, batch_size=8, shuffle=True, num_workers=4, collate_fn=collate)
    loss = StageLoss()
    for epoch in range(10):
        dataset.set_epoch(epoch)
        for batch in loader:
            total = loss(net(batch["data"]), batch["label"])

RECORDS -> EXAMPLES -> BATCHES -> LOSSES. The examples are those of the CPM data layer (`training/augment.py`,
`training/labels.py`), the losses Caffe's Euclidean ones; nothing here is needed for `cpm-port train`.

Conventions: `data` is (4, box, box) float32, blue, green, red as `pixel / 256 - 0.5` and the center map; `label` is
(2 (P + 1), cells, cells) float32: the maps of the person to find and their background, then everybody's. Stage 1
learns everybody's, the later ones the person's (`split_label`).

An example is a function of (seed, epoch, index) alone: whatever the number of workers, the sampler or the machine.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from cpm_port import release
from cpm_port.errors import DataError, ShapeError, UsageError
from cpm_port.parts import CPM14, FLIC9, MPII16, PartOrder
from cpm_port.records.record import ArrangedRecords, JoinedRecords, Record, RecordStore, order_of
from cpm_port.training.augment import Augmentation, Example, augment, blob_shapes, decide, draw, write_example
from cpm_port.training.extras import Extras
from cpm_port.training.labels import blank_unlabelled, center_map_at, labels
from cpm_port.training.loss import masked_euclidean_loss
from cpm_port.training.sources import open_stores
from cpm_port.training.transform_param import TransformParameters

__all__ = [
    "Augment",
    "PoseDataset",
    "StageLoss",
    "center_map_at",
    "collate",
    "labels",
    "masked_euclidean_loss",
    "split_label",
]


@dataclass(frozen=True)
class Augment:
    """How examples vary; the defaults are the release's.

    Attributes
    ----------
    scale : (float, float)
        Range of the random factor of a person's size.
    rotate : float
        Degrees, each way.
    shift : int
        Of the box from the person, px, each way.
    flip : float
        Probability of a mirror image.
    extras : Extras
        What the release does not have: colours, grey, full turns, patches that hide.

    Raises
    ------
    UsageError
        A scale that is no range of positive numbers, a turn that is not finite, or a probability outside 0 to 1.

    Examples
    --------
    >>> from cpm_port.data import Augment, PoseDataset
    >>> upright = PoseDataset("drawn:count=4,size=64", box=64, augment=Augment(rotate=10.0, flip=0.0))
    >>> upright.parameters.max_rotate_degree
    10.0
    """

    scale: tuple[float, float] = release.TRAIN_SCALES
    rotate: float = release.TRAIN_ROTATION
    shift: int = 0
    flip: float = 0.5
    extras: Extras = field(default_factory=Extras)

    def __post_init__(self) -> None:
        if not (isinstance(self.scale, Sequence) and len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]):
            raise UsageError(f"scale {self.scale!r}: expected the least and the greatest factor, such as (0.7, 1.3)")
        if not math.isfinite(self.rotate):
            raise UsageError(f"rotate {self.rotate}: expected a finite number of degrees")
        if not 0 <= self.flip <= 1:
            raise UsageError(f"flip {self.flip}: expected a probability from 0 to 1")


class PoseDataset(Dataset[dict[str, Any]]):
    """People as training examples, by number (map style).

    Parameters
    ----------
    source : str, path or RecordStore
        What a CPM data layer's `source` names: an annotation file, an LMDB's folder, `drawn:...`, several joined by
        ` + `, each with a weight (`3 * a.json + b.json`); or any store of records. An LMDB does not say how many joints
        it has: 16 are read. One of 9, as FLIC's, is `LmdbRecords(folder, 9)` (`cpm_port.records.lmdb`).
    parts : sequence of str or PartOrder, optional
        The maps' parts, by name; ones that a record's source lacks have no label. Default: the source's own (of MPII's
        16 the release's 14). So JSON files that name their parts in other orders can be joined.
    box : int
        Side of the input, px.
    augment : bool or Augment
        Whether and how examples vary.
    labels : {"maps", "masked", "joints"} or callable
        What `label` is: the maps; the maps with NaN for parts without a label, which `masked_euclidean_loss` leaves
        out; the joints, (P, 3): x, y (box px) and code (0 hidden, 1 seen, 2 without a label); or whatever a function of
        the `Example` returns.
    held_out : bool
        Take the people that the source marks as validation.
    seed : int
    stride : int
        Box px per cell of the maps.
    target_dist : float, optional
        A person's size in units of 200 box px; default 1.171 at a box of 368, in proportion elsewhere.

    Attributes
    ----------
    order : PartOrder
        The maps' parts.
    parameters : TransformParameters

    Raises
    ------
    UsageError
        A box that the stride does not divide, or an argument of another kind than said above.
    MissingFileError, DataError
        As of the source; or the sources name their parts differently and `parts` is not given.

    Examples
    --------
    >>> dataset = PoseDataset("drawn:count=4,size=64,seed=1,difficulty=0", box=64)
    >>> example = dataset[2]
    >>> tuple(example["data"].shape), tuple(example["label"].shape)
    ((4, 64, 64), (30, 8, 8))
    """

    def __init__(
        self,
        source: Any,
        parts: Sequence[str] | PartOrder | None = None,
        box: int = release.BOX_SIZE,
        augment: bool | Augment = True,
        labels: Literal["maps", "masked", "joints"] | Callable[[Example], Any] = "maps",
        *,
        held_out: bool = False,
        seed: int = 0,
        stride: int = release.STRIDE,
        target_dist: float | None = None,
    ) -> None:
        if isinstance(source, list | tuple) and not all(isinstance(one, Record) for one in source):
            raise UsageError(f"source {source!r}: expected one text or path; several are joined: 'a.json + b.json'")
        if augment and not isinstance(augment, bool | Augment):
            raise UsageError(f"augment {augment!r}: expected True, False or an Augment")
        if not callable(labels) and labels not in ("maps", "masked", "joints"):
            raise UsageError(f"labels {labels!r}: expected 'maps', 'masked', 'joints' or a function of the example")
        if stride < 1:
            raise UsageError(f"stride {stride}: expected 1 or more")
        if not isinstance(box, int | np.integer) or box < 1 or box % stride:
            raise UsageError(f"box {box}: expected a positive multiple of the stride {stride}")
        stores = [source] if _is_store(source) else open_stores(source, held_out=held_out)
        self._store, self.order = _arranged(stores, parts)
        self._augment = (augment if isinstance(augment, Augment) else Augment()) if augment else None
        self._labels = labels
        self._seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that live on see it change
        chance = self._augment or Augment()
        count = len(self.order)
        self.parameters = TransformParameters(
            stride=stride,
            flip_prob=chance.flip,
            max_rotate_degree=chance.rotate,
            crop_size_x=box,
            crop_size_y=box,
            scale_prob=1.0,
            scale_min=_float32(chance.scale[0]),
            scale_max=_float32(chance.scale[1]),
            target_dist=_float32(_target_dist(box) if target_dist is None else target_dist),
            center_perterb_max=chance.shift,
            sigma_center=_float32(round(release.center_sigma(box), 4)),
            num_parts=count,
            np_in_lmdb=count,
            transform_body_joint=False,
            mirror=self.order.mirrored(),
        )

    def __len__(self) -> int:
        return len(self._store)

    @property
    def epoch(self) -> int:
        """The epoch whose examples are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let examples vary as in this epoch, in all workers; call it before the loader's loop begins."""
        if not 0 <= epoch < 2**63:
            raise UsageError(f"epoch {epoch}: expected 0 or more")
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return example `index`: `data`, `label`, `index` and `name`.

        Raises
        ------
        IndexError
            There is no such example.
        DataError
            Its record is not usable, or its image not readable.
        """
        index = operator.index(index)  # a sampler may give a tensor
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        index %= len(self)
        record = self._store[index]
        example = self._example(record, index)
        data_shape, label_shape = blob_shapes(self.parameters)
        data, label = np.empty(data_shape, np.float32), np.empty(label_shape, np.float32)
        write_example(example, self.parameters, data, label)
        if self._labels == "masked":
            blank_unlabelled(label, example.people[0, :, 2])
        told: Any = torch.from_numpy(label)
        if callable(self._labels):
            told = self._labels(example)
        elif self._labels == "joints":
            told = torch.from_numpy(example.people[0].copy())
        return {"data": torch.from_numpy(data), "label": told, "index": index, "name": record.name}

    def _example(self, record: Record, index: int) -> Example:
        if self._augment is None:
            return augment(record, self.parameters, Augmentation())
        epoch = self.epoch
        what = decide(draw(self.parameters, self._seed, epoch, index), self.parameters)
        more = self._augment.extras.draw(self._seed, epoch, index)
        example = augment(replace(record, planes=more.recolored(record.planes)), self.parameters, more.turned(what))
        more.hide(example.planes)
        return example


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of examples of one data set, as a DataLoader's `collate_fn`.

    Returns
    -------
    dict
        `data` (N, 4, box, box), `label` stacked where it is a tensor (else a list), `index` (N,), and `names`, a list.

    Examples
    --------
    >>> from cpm_port.data import PoseDataset, collate
    >>> dataset = PoseDataset("drawn:count=4,size=64", box=64)
    >>> batch = collate([dataset[0], dataset[3]])
    >>> batch["data"].shape, batch["label"].shape, batch["index"].tolist()
    (torch.Size([2, 4, 64, 64]), torch.Size([2, 30, 8, 8]), [0, 3])
    """
    told = [example["label"] for example in examples]
    stacks = all(isinstance(one, Tensor) for one in told)
    return {
        "data": torch.stack([example["data"] for example in examples]),
        "label": torch.stack(told) if stacks else told,
        "index": torch.tensor([example["index"] for example in examples]),
        "names": [example["name"] for example in examples],
    }


def split_label(label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps of the person to find, for stages 2 and later, and everybody's, for stage 1.

    Parameters
    ----------
    label : Tensor, shape (N, 2 (P + 1), h, w)

    Raises
    ------
    ShapeError
        Another number of axes, or an odd one of channels.

    Examples
    --------
    >>> import torch
    >>> person, everybody = split_label(torch.zeros(2, 30, 8, 8))
    >>> person.shape
    torch.Size([2, 15, 8, 8])
    """
    if label.ndim != 4 or label.shape[1] % 2:
        raise ShapeError(f"label is {tuple(label.shape)}; expected (N, 2 (P + 1), h, w)")
    person, everybody = label.chunk(2, dim=1)
    return person, everybody


class StageLoss(nn.Module):
    """Caffe's Euclidean loss of every stage: stage 1 against everybody's maps, the later ones against the person's.

    Maps that are NaN (labels "masked") add neither loss nor gradient. It is a sum over maps and cells, halved, over the
    batch: rates from means do not carry over.

    Examples
    --------
    >>> import torch
    >>> stages = [torch.zeros(2, 3, 4, 4)] * 2
    >>> label = torch.cat([torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)], dim=1)
    >>> StageLoss()(stages, label), StageLoss().per_stage(stages, label)
    (tensor(24.), tensor([ 0., 24.]))
    """

    def forward(self, stages: Sequence[Tensor], label: Tensor) -> Tensor:
        """Return the sum over the stages, a float32 scalar; parameters and errors as `per_stage`."""
        return self.per_stage(stages, label).sum()

    def per_stage(self, stages: Sequence[Tensor], label: Tensor) -> Tensor:
        """Return the loss of each stage.

        Parameters
        ----------
        stages : sequence of Tensor, each (N, P + 1, h, w)
            As the readable nets return them (`cpm_port.models.CPM`).
        label : Tensor, shape (N, 2 (P + 1), h, w)

        Raises
        ------
        ShapeError
            The shapes do not fit each other, there is no stage, or the batch is empty.
        UsageError
            The stages are no sequence: `cpm_port.load_net`'s nets give a dict by names, which do not tell the stages.
        """
        if isinstance(stages, Tensor | Mapping):
            raise UsageError(f"stages: expected a list with the maps of each stage, got a {type(stages).__name__}")
        if not stages:
            raise ShapeError("stages: expected the maps of 1 stage or more, got none")
        person, everybody = split_label(label)
        targets = [everybody, *[person] * (len(stages) - 1)]
        return torch.stack([masked_euclidean_loss(maps, target) for maps, target in zip(stages, targets, strict=True)])


def _float32(value: float) -> float:
    """Return a number as a prototxt's field would hold it."""
    return float(np.float32(value))


def _target_dist(box: int) -> float:
    """Return the release's `target_dist`, in proportion to the box."""
    return round(release.TRAIN_TARGET_DIST * box / release.BOX_SIZE, 4)


def _is_store(source: Any) -> bool:
    return not isinstance(source, str) and hasattr(source, "__getitem__") and hasattr(source, "__len__")


def _arranged(stores: Sequence[RecordStore], parts: Sequence[str] | PartOrder | None) -> tuple[RecordStore, PartOrder]:
    """Bring every store's joints into one order of parts, and join them."""
    orders = [_known_order(store) for store in stores]
    if parts is None and len({order.parts for order in orders}) > 1:
        named = "; ".join(sorted({", ".join(order.parts) for order in orders}))
        raise DataError(f"the sources name their parts differently: {named}; say which are wanted by parts=")
    if parts is None:
        wanted = CPM14 if orders[0] == MPII16 else orders[0]
    else:
        wanted = parts if isinstance(parts, PartOrder) else _named(parts, orders)
    arranged = [ArrangedRecords(store, order, wanted) for store, order in zip(stores, orders, strict=True)]
    return arranged[0] if len(arranged) == 1 else JoinedRecords(arranged), wanted


def _known_order(store: RecordStore) -> PartOrder:
    if not len(store):
        raise DataError("the source holds no record")
    known = order_of(store)
    count = len(store[0].person.joints) if known is None else 0
    order = known or {len(MPII16): MPII16, len(FLIC9): FLIC9}.get(count)
    if order is None:
        raise DataError(f"records of {count} joints without names; give the store an `order`, a PartOrder")
    return order


def _named(parts: Sequence[str], orders: Sequence[PartOrder]) -> PartOrder:
    """Return an order of these parts, with the pairs and the limbs that the sources know of them."""
    known = set(parts)
    if isinstance(parts, str) or not parts or len(known) < len(parts):
        raise UsageError(f"parts {parts!r}: expected a list of names, each once, such as ['nose', 'tail']")
    pairs = dict.fromkeys(pair for order in orders for pair in order.pairs if set(pair) <= known)
    limbs = dict.fromkeys(limb for order in orders for limb in order.limbs if set(limb) <= known)
    return PartOrder("own", tuple(parts), tuple(limbs), pairs=tuple(pairs))
