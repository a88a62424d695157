"""Several people as the release's notebook finds them: a person net for their centers, a pose net for each.

Where in the flow: instead of the pyramid. The image is brought to a height of 368 px once; the person net looks at all
of it, the pose net at one box about each center, at that one scale.

Conventions: points are `(x, y)`, 0-based. Resized px are those of the resized image; divided by `scale` they are image
px, as in the notebook (no half pixel is added).

Source: the reference notes (`people.md`), after the release's `testing/python/demo.ipynb`; checked on its steps run
with real Caffe (tests/inference/test_notebook.py). Its quirks are kept: a center is every maximum above 0.5 of a 3 x 3
neighbourhood, so a plateau gives several; and the box and the center map lie one pixel to the right of, and below,
those of the release's MATLAB code. Since the height becomes 368, a multiple of 8, its slip in padding below never
shows.

Knowingly different: an image that would become wider than `WIDEST` px is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.errors import ModelFileError, UsageError
from cpm_port.imaging.enlarging import enlarge
from cpm_port.imaging.gaussians import centered_map
from cpm_port.inference.interface import BeliefNet
from cpm_port.inference.model import Engine, ReadyNet, fast_choice
from cpm_port.inference.people import FoundPerson
from cpm_port.inference.predict import device_of, largest_batch, net_input, require_finite_maps
from cpm_port.predictions.result_parts import ModelRecord
from cpm_port.release import BOX_SIZE, PAD_VALUE, PIXEL_DIVISOR, PIXEL_OFFSET, STRIDE
from cpm_port.zoo import Choice, resolve

__all__ = [
    "BoxPeaks",
    "Notebook",
    "PersonNet",
    "box_peaks",
    "load_person_net",
    "peaks_about",
    "person_centers",
    "person_map",
    "resize_for_people",
]

THRESHOLD = 0.5
"""A center is where the map exceeds this."""

WIDEST = 8192
"""Of a resized image, px: the person net sees all of it at once."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PersonNet:
    """A net that maps where people's centers are.

    Attributes
    ----------
    net : BeliefNet
        One input of three channels, BGR, of any size; one output, a map 8 times smaller.
    record : ModelRecord
        What results say of it.
    """

    net: BeliefNet
    record: ModelRecord


class BoxPeaks(NamedTuple):
    """One person, from one box.

    Attributes
    ----------
    joints_resized : ndarray, shape (P, 2), float64
        Resized px, whole numbers.
    scores : ndarray, shape (P,), float64
        The enlarged map's value at each joint.
    beliefs : ndarray, shape (P + 1, b / 8, b / 8), float32
        The pose net's maps, the background last.
    """

    joints_resized: NDArray[np.float64]
    scores: NDArray[np.float64]
    beliefs: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Notebook:
    """The notebook's two nets; a `PersonFinder`, too.

    Attributes
    ----------
    person : PersonNet
    pose : ReadyNet
        With a box of 368 px and a center map.

    Raises
    ------
    UsageError
        The pose net has another input.
    """

    person: PersonNet
    pose: ReadyNet

    def __post_init__(self) -> None:
        found = self.pose.interface
        if found.box_size != BOX_SIZE or found.channels != 4:
            raise UsageError(
                f"{self.pose.net.spec.source}: a box of {found.box_size} px and {found.channels} channels; the "
                f"notebook's pose net has {BOX_SIZE} px, and 4 channels with the center map"
            )

    def find(self, image: Image) -> list[FoundPerson]:
        """Return the people's centers in image px, in the notebook's order; the score is the map's value there."""
        resized, scale = resize_for_people(image)
        return self._found(resized, scale)[1]

    def predict(self, image: Image) -> Iterator[tuple[FoundPerson, BoxPeaks]]:
        """Yield the people in the notebook's order; their joints, in resized px, over `base_scale` are image px."""
        resized, scale = resize_for_people(image)
        centers, people = self._found(resized, scale)
        yield from zip(people, box_peaks(self.pose, resized, centers), strict=True)

    def _found(self, resized: Image, scale: float) -> tuple[NDArray[np.int64], list[FoundPerson]]:
        belief = person_map(self.person, resized)
        centers = person_centers(belief)
        scores = enlarge(belief, STRIDE)[centers[:, 1], centers[:, 0]]
        people = zip(centers.tolist(), scores.tolist(), strict=True)
        return centers, [FoundPerson((x / scale, y / scale), scale, score) for (x, y), score in people]


def load_person_net(choice: Choice | None = None, engine: Engine | None = None) -> PersonNet:
    """Load a person net.

    Parameters
    ----------
    choice : Choice, optional
        What `cpm_port.zoo.resolve` returned; by default the official person net.
    engine : Engine, optional
        By default float32 on a CPU.

    Raises
    ------
    UsageError
        It has another input or output; or as of `ready_net`.
    """
    net, record = fast_choice(choice or resolve("person"), engine or Engine())
    shapes, outputs = net.blob_shapes, net.spec.outputs
    inputs = {name: tuple(shape) for name, shape in net.spec.inputs.items()}
    if len(inputs) != 1 or any(len(shape) != 4 or shape[1] != 3 for shape in inputs.values()):
        raise UsageError(f"{net.spec.source}: inputs are {inputs}; a person net has one of 3 channels, (1, 3, h, w)")
    _, _, height, width = next(iter(inputs.values()))
    expected = (1, 1, height // STRIDE, width // STRIDE)
    if len(outputs) != 1 or tuple(shapes[outputs[0]]) != expected:
        found = {name: tuple(shapes[name]) for name in outputs}
        raise UsageError(f"{net.spec.source}: outputs are {found}; a person net has one map, here {expected}")
    return PersonNet(net, record)


def resize_for_people(image: Image) -> tuple[Image, float]:
    """Return the image at a height of 368 px, (368, w, 3), and the scale: 368 over its height."""
    from cpm_port.imaging.warp import resize_cubic, resized_size  # compiled loops that nobody else needs here

    scale = BOX_SIZE / image.shape[0]
    width, height = resized_size(image.shape[1], image.shape[0], scale)
    if width > WIDEST:
        raise UsageError(
            f"an image of {image.shape[1]} x {image.shape[0]} is {width} px wide at a height of {height}; "
            f"the notebook's person net takes at most {WIDEST}"
        )
    return np.ascontiguousarray(resize_cubic(image.transpose(2, 0, 1), scale).transpose(1, 2, 0)), scale


def person_map(person: PersonNet, resized: Image) -> NDArray[np.float32]:
    """Return the person net's map of a resized image, padded on the right: (h / 8, w / 8 rounded up)."""
    height, width = resized.shape[:2]
    padded = np.full((height, -(-width // STRIDE) * STRIDE, 3), PAD_VALUE, np.uint8)
    padded[:, :width] = resized
    data = torch.from_numpy(padded).to(device_of(person.net)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        blobs = person.net({next(iter(person.net.spec.inputs)): data.div_(PIXEL_DIVISOR).sub_(PIXEL_OFFSET)})
        maps = blobs[person.net.spec.outputs[0]]
    if not bool(torch.isfinite(maps).all()):
        raise ModelFileError(f"{person.net.spec.source}: its map is not finite: are the weights?")
    result: NDArray[np.float32] = maps[0, 0].float().cpu().numpy()
    return result


def person_centers(belief: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the centers in a person net's map.

    Parameters
    ----------
    belief : ndarray, shape (h, w), float32

    Returns
    -------
    ndarray, shape (N, 2), int64
        `(x, y)`, resized px, row by row from the top, each from the left: where the map, enlarged 8 times, exceeds 0.5
        and nothing in the 3 x 3 neighbourhood exceeds it.
    """
    grown = enlarge(belief, STRIDE)
    height, width = grown.shape
    around = np.pad(grown, 1, mode="symmetric")
    highest = np.max([around[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
    rows, columns = np.nonzero((grown == highest) & (grown > THRESHOLD))
    return np.stack([columns, rows], axis=1).astype(np.int64)


def box_peaks(model: ReadyNet, resized: Image, centers: NDArray[np.int64]) -> Iterator[BoxPeaks]:
    """Yield each center's person; as many boxes go through the net together as its memory allows.

    Parameters
    ----------
    model : ReadyNet
    resized : ndarray, shape (h, w, 3), uint8, BGR
    centers : ndarray, shape (N, 2), int64
        `(x, y)`, resized px.
    """
    box, half = model.interface.box_size, model.interface.box_size // 2
    ground = np.pad(resized, ((half, half), (half, half), (0, 0)), constant_values=PAD_VALUE)
    limit = largest_batch(model.net)
    for start in range(0, len(centers), limit):
        group = centers[start : start + limit]
        # The ground begins half a box before the image, so the box about (x, y) begins at its row y and column x.
        crops = np.stack([_cut(ground, int(x), int(y), box) for x, y in group])
        data = net_input(crops, 4, device=device_of(model.net))
        data[:, 3] = torch.from_numpy(centered_map(box, model.sigma, half).copy()).to(data.device)
        with torch.inference_mode():
            maps = model.net({model.interface.input: data})[model.interface.output]
        require_finite_maps(maps, model.net, model.interface)
        for center, beliefs in zip(group, maps.float().cpu().numpy(), strict=True):
            yield peaks_about(center, beliefs)


def peaks_about(center: NDArray[np.int64], beliefs: NDArray[np.float32]) -> BoxPeaks:
    """Return the highest points of a box's maps, enlarged 8 times; of equal ones the first, row by row.

    Parameters
    ----------
    center : ndarray, shape (2,), int64
        `(x, y)` of the box's pixel (b / 2, b / 2), resized px.
    beliefs : ndarray, shape (P + 1, b / 8, b / 8), float32
    """
    box = STRIDE * beliefs.shape[-1]
    grown = enlarge(beliefs[:-1], STRIDE).reshape(len(beliefs) - 1, -1)
    highest = grown.argmax(axis=1)
    joints = np.stack([highest % box, highest // box], axis=1) - box // 2 + center
    return BoxPeaks(joints.astype(np.float64), grown.max(axis=1).astype(np.float64), beliefs)


def _cut(ground: Image, left: int, top: int, side: int) -> Image:
    """Cut a square; what lies beyond the ground (a center in the padding on the right) is padding, too."""
    part = ground[top : top + side, left : left + side]
    missing = (side - part.shape[0], side - part.shape[1])
    return np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=PAD_VALUE)
