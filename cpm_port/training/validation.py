"""PCK during training: how often the joints that a net finds in held-out boxes lie where they are labelled.

Flow: held-out records -> boxes, once -> the net's belief maps, every time -> peaks -> **PCK per stage**. Every record
is cut like a training example without chance: scaled to `target_dist`, centered on the person, neither turned nor
flipped. One scale, one arg-max of the bicubically enlarged maps, in the box: a quick relative of the test pipeline
(which searches scales in the whole image), made to follow a run and not to be quoted.

Conventions: coordinates are crop px, (x, y), 0-based; a joint without a label (code 2) does not count. The normalizer
is the torso's diameter, left shoulder to right hip, where the parts' order is known and has them (the reordered 14
parts, sources that know their order, 9 parts of an LMDB as FLIC's; people who lack one of the two are left out), and
half the larger side of the labelled joints' box elsewhere, and where there is one part, half the size of the person as
their scale tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.errors import DataError
from cpm_port.evaluation.own import half_box
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.graph import CaffeNet
from cpm_port.models.interface import belief_maps, cpm_data_layer
from cpm_port.parts import PartOrder, release_order
from cpm_port.records.record import RecordStore, order_of
from cpm_port.release import MPII_PERSON_HEIGHT, PIXEL_DIVISOR, PIXEL_OFFSET
from cpm_port.training.augment import Augmentation, augment, blob_shapes
from cpm_port.training.labels import center_map_at
from cpm_port.training.transform_param import TransformParameters

__all__ = [
    "HeldOut",
    "data_and_label",
    "hold_out",
    "parts_line",
    "peaks_in_crop",
    "stage_errors",
    "stage_pck",
    "stage_peaks",
]

THRESHOLD = 0.2
"""Of the normalizer; an error equal to it is a hit."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Boxes to validate on, as they go into the net.

    Attributes
    ----------
    planes : ndarray, shape (N, 3, H, W), uint8
        Blue, green, red.
    centers : ndarray, shape (N, 2), float32
        The person, crop px.
    joints : ndarray, shape (N, P, 2), float64
        Crop px; NaN without a label.
    normalizer : ndarray, shape (N,), float64
        Crop px.
    parameters : TransformParameters
        Of the data layer whose boxes these resemble.
    length : str
        What the normalizer is, in words.
    names : tuple of str
        Of the parts; empty where they are not known.
    """

    planes: NDArray[np.uint8]
    centers: NDArray[np.float32]
    joints: NDArray[np.float64]
    normalizer: NDArray[np.float64]
    parameters: TransformParameters
    length: str = "the torso"
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.planes)

    def data(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the data blob of some boxes, shape (stop - start, 4, H, W): image and center map."""
        planes = self.planes[start:stop]
        blob = np.empty((len(planes), 4, *planes.shape[2:]), np.float32)
        np.multiply(planes, np.float32(1 / PIXEL_DIVISOR), out=blob[:, :3])
        blob[:, :3] -= np.float32(PIXEL_OFFSET)
        for row, center in zip(blob, self.centers[start:stop], strict=True):
            row[3] = center_map_at(center, self.parameters.sigma_center, self.parameters.crop_size)
        return blob


def hold_out(records: RecordStore, parameters: TransformParameters, limit: int | None = None) -> HeldOut:
    """Cut the boxes of held-out records.

    Parameters
    ----------
    records : RecordStore
    parameters : TransformParameters
        Of the train net's CPM data layer.
    limit : int, optional
        Take that many records, spread evenly; default all.

    Raises
    ------
    DataError
        No record has the labels that its normalizer needs.
    """
    count = len(records) if limit is None else min(limit, len(records))
    chosen = [i * len(records) // count for i in range(count)]
    examples = [augment(records[index], parameters, Augmentation()) for index in chosen]
    people = np.stack([example.people[0] for example in examples]).astype(np.float64)
    joints = np.where(people[:, :, 2:] == 2, np.nan, people[:, :, :2])
    order = _order(records, parameters)
    normalizer, length = _normalizer(joints, order, parameters)
    kept = np.flatnonzero(np.isfinite(normalizer) & (normalizer > 0))
    if not len(kept):
        raise DataError(
            f"validation: none of {count} people held out has the labels that errors are measured by, {length}; "
            "expected two parts or more of a person"
        )
    return HeldOut(
        np.stack([examples[i].planes for i in kept]),
        np.stack([examples[i].objpos for i in kept]),
        joints[kept],
        normalizer[kept],
        parameters,
        length,
        () if order is None else order.parts,
    )


def data_and_label(net: CaffeNet) -> tuple[str, str, TransformParameters]:
    """Return the names of a train net's two CPM data blobs, and how its layer transforms.

    Raises
    ------
    LayerError
        The net has no CPMData layer, or several.
    """
    layer = cpm_data_layer(net.spec)
    data, label = layer.tops
    return data, label, TransformParameters.from_message(layer.params.transform_param)


def stage_pck(net: CaffeNet, held_out: HeldOut) -> tuple[dict[str, Any], str]:
    """Return PCK@0.2 in percent: `pck` of the last stage, `stages` by blob, `parts` of the last stage; and a line.

    With the parts' `names`, where they are known, the `length` that errors are divided by, and how many `people` were
    measured. A part that is labelled on nobody has no score: None.
    """
    stages = list(belief_maps(net.spec, net.blob_shapes).values())
    hits = stage_errors(net, held_out, stages) <= THRESHOLD
    labelled = ~np.isnan(held_out.joints).any(axis=2)
    percent = [100 * float(row.sum()) / int(labelled.sum()) for row in hits]
    counts = labelled.sum(axis=0)
    per_part = [
        100 * int(hit) / int(count) if count else None for hit, count in zip(hits[-1].sum(axis=0), counts, strict=True)
    ]
    values: dict[str, Any] = {"pck": percent[-1], "stages": dict(zip(stages, percent, strict=True)), "parts": per_part}
    words = ", ".join(f"{name} {value:.1f}" for name, value in values["stages"].items())
    line = f"PCK@{THRESHOLD} {percent[-1]:.2f} % of {labelled.sum()} joints ({words}), by {held_out.length}"
    if held_out.names:
        values |= {"names": list(held_out.names)}
        line += f"; {parts_line(dict(zip(held_out.names, per_part, strict=True)))}"
    return {**values, "length": held_out.length, "people": len(held_out)}, line


def parts_line(scores: Mapping[str, float | None]) -> str:
    """Return parts' scores as a line of text."""
    return ", ".join(f"{name} {'not labelled' if score is None else f'{score:.1f}'}" for name, score in scores.items())


def stage_errors(net: CaffeNet, held_out: HeldOut, stages: Sequence[str], batch: int = 16) -> NDArray[np.float64]:
    """Return each stage's distance from label to peak over the normalizer, the net running as in phase TEST.

    Parameters
    ----------
    net : CaffeNet
        With one CPMData layer; its label is fed zeros.
    held_out : HeldOut
    stages : sequence of str
        Blobs of belief maps: at least as many channels as parts.
    batch : int
        Boxes per forward pass.

    Returns
    -------
    ndarray, shape (len(stages), N, P), float64
        NaN where a joint has no label.
    """
    found = stage_peaks(net, held_out, stages, batch)
    return np.stack([normalized_errors(row, held_out.joints, held_out.normalizer) for row in found])


def stage_peaks(net: CaffeNet, held_out: HeldOut, stages: Sequence[str], batch: int = 16) -> NDArray[np.float64]:
    """Return where each stage finds the parts, crop px, shape (len(stages), N, P, 2); parameters as `stage_errors`."""
    data, label, _ = data_and_label(net)
    device = next(net.parameters()).device
    _, label_shape = blob_shapes(held_out.parameters)
    num_parts = held_out.joints.shape[1]
    found = np.empty((len(stages), *held_out.joints.shape))
    for start in range(0, len(held_out), batch):
        stop = min(start + batch, len(held_out))
        blob = torch.from_numpy(held_out.data(start, stop)).to(device)
        with torch.no_grad(), _test_phase(net):
            blobs = net({data: blob, label: blob.new_zeros(stop - start, *label_shape)}, blobs=list(stages))
        for row, name in zip(found, stages, strict=True):
            row[start:stop] = peaks_in_crop(blobs[name][:, :num_parts], held_out.parameters.stride).cpu().numpy()
    return found


def peaks_in_crop(beliefs: Tensor, stride: int) -> Tensor:
    """Return the highest place of every map, enlarged bicubically to crop px.

    Parameters
    ----------
    beliefs : Tensor, shape (N, P, h, w)
    stride : int
        Crop px per cell.

    Returns
    -------
    Tensor, shape (N, P, 2), float64
        (x, y), crop px; the first in row order of equal ones.
    """
    large = F.interpolate(beliefs.float(), scale_factor=stride, mode="bicubic", align_corners=False)
    width = large.shape[3]
    index = large.flatten(2).argmax(dim=2)
    return torch.stack([index % width, index // width], dim=2).double()


@contextmanager
def _test_phase(net: CaffeNet) -> Iterator[None]:
    """Let Dropout and BatchNorm behave as in phase TEST."""
    before = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _order(records: RecordStore, parameters: TransformParameters) -> PartOrder | None:
    """Return the order of the net's parts as far as it is known."""
    known = order_of(records)
    if known is None or parameters.reorders or len(known) != parameters.num_parts:
        return release_order(parameters.num_parts)
    return known


def _normalizer(
    joints: NDArray[np.float64], order: PartOrder | None, parameters: TransformParameters
) -> tuple[NDArray[np.float64], str]:
    """Return the length that errors are divided by, NaN where the labels do not tell it, and what it is."""
    if order is not None and {"left_shoulder", "right_hip"} <= set(order.parts):
        return np.asarray(torso_diameter(joints, order)), "the torso"
    if joints.shape[1] == 1:
        size = MPII_PERSON_HEIGHT * parameters.target_dist  # px of the crop, whatever the scale
        return np.where(np.isnan(joints[:, 0, 0]), np.nan, size / 2), "half the person's size"
    return half_box(joints), "half the labels' box"
