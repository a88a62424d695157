"""Augmentation as the authors' data layer does it: draw the numbers first, apply them second.

RECORDS -> AUGMENTATION -> LABELS -> LOSS. Three steps: `draw` or `draw_c` gives the raw random numbers of one example
(`Draws`), `decide` turns them into what will be done (`Augmentation`), `augment` does it (`Example`), and
`write_example` makes the net's blobs of it. Only the first step is random, so examples can be made by any number of
threads, in any order.

Order of the steps on an image: CLAHE, grey, scale to a standard size (times a random factor), turn about the middle,
crop a box about the person (padded with 128), flip. Scaling and turning are done as one, for the pixels that the crop
keeps.

Conventions: images are planes `(3, H, W)` uint8, blue, green, red; coordinates `(x, y)`, 0-based, float32 after each
step as in the original; sizes and windows are (width, height).

Quirks of the original, all kept and named:

- `half_pixel_turn`: the box about the turned image is one pixel larger than it need be and the image is centered in
  it, so even 0 degrees move everything by (+0.5, +0.5) and resample the image;
- coordinates are multiplied by the scale without the half-pixel shift that the resize of the image makes, and by the
  scale asked for rather than the one that the rounded size has;
- the crop's middle is rounded half to even, the offset of the crop towards zero;
- whether a joint counts (code 2 if not) is decided on the original image and never again;
- a random number equal to the probability counts as a hit, so probability 0 still hits when `rand()` is 0; and a draw
  divided by the largest can be 1;
- one number fewer is drawn where the scale is left alone, two fewer unless `aug_way` is "rand";
- a flip exchanges left and right for 9, 14 and 28 parts only, and only where joints are reordered;
- in the TEST phase nothing is done at all, not even scaling: the image must have the crop's size (`DataError` here,
  memory overwritten there).

Differs knowingly: `draw` is a generator of our own, keyed by (seed, epoch, index); Philox numbers of 24 bits in [0,
1). `draw_c` replays glibc's `rand()`. `put_gaussian: false` and fewer stored joints than the layer uses read or write
beyond their memory in the original; here they are errors.

*Source*: shihenw/caffe@d154e89 `data_transformer.cpp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.imaging.warp import Window, resize_and_warp, resized_size
from cpm_port.records.record import Annotation, Record
from cpm_port.release import PAD_VALUE
from cpm_port.training._label_kernels import normalize
from cpm_port.training.crand import RAND_MAX, CRand
from cpm_port.training.labels import center_map_at, labels
from cpm_port.training.transform_param import TransformParameters, arrange_parts

__all__ = [
    "Augmentation",
    "Draws",
    "Example",
    "augment",
    "blob_shapes",
    "decide",
    "draw",
    "draw_c",
    "skip_c",
    "write_example",
]

_ONE = np.float32(1)


@dataclass(frozen=True)
class Draws:
    """The raw random numbers of one example, in [0, 1], in the order of drawing; None where none is drawn."""

    scale_dice: float
    scale_value: float | None
    rotate: float | None
    crop_x: float
    crop_y: float
    flip: float | None


@dataclass(frozen=True)
class Augmentation:
    """What is done to one example.

    Attributes
    ----------
    multiplier : float
        Of the standard scale.
    degree : float
        Counterclockwise as seen.
    offset : (int, int)
        Of the crop's middle from the person, px of the turned image.
    flip : bool
    """

    multiplier: float = 1.0
    degree: float = 0.0
    offset: tuple[int, int] = (0, 0)
    flip: bool = False


@dataclass(frozen=True, eq=False)
class Example:
    """One example, ready to be drawn into blobs.

    Attributes
    ----------
    planes : ndarray, shape (3, crop_size_y, crop_size_x), uint8
        Blue, green, red.
    objpos : ndarray, shape (2,), float32
        The person, crop px.
    people : ndarray, shape (1 + others, num_parts, 3), float32
        x, y (crop px) and code: 0 hidden, 1 seen, 2 without a peak.
    """

    planes: NDArray[np.uint8]
    objpos: NDArray[np.float32]
    people: NDArray[np.float32]


def draw(parameters: TransformParameters, seed: int, epoch: int, index: int) -> Draws:
    """Draw with our own generator: a function of its arguments, whatever was drawn before.

    Numbers are drawn for every purpose whether used or not, so each depends on (seed, epoch, index) alone.

    Raises
    ------
    UsageError
        An argument that is negative or beyond 64 bits.
    """
    if not all(0 <= number < 2**64 for number in (seed, epoch, index)):
        raise UsageError(f"seed {seed}, epoch {epoch}, index {index}: expected 0 to 2**64 - 1")
    raw = np.random.Philox(key=seed, counter=[0, index, epoch, 0]).random_raw(6)
    dice = ((raw >> np.uint64(40)) * 2.0**-24).tolist()
    scaled = dice[0] <= parameters.scale_prob
    rand = parameters.aug_way == "rand"
    return Draws(
        dice[0], dice[1] if scaled else None, dice[2] if rand else None, dice[3], dice[4], dice[5] if rand else None
    )


def draw_c(parameters: TransformParameters, rand: CRand) -> Draws:
    """Draw as the original does, from C's `rand()`.

    Five numbers, or six where the scale changes; two fewer unless `aug_way` is "rand".
    """
    scale_dice = _dice(rand)
    scale_value = None if scale_dice > parameters.scale_prob else _dice(rand)
    by_chance = parameters.aug_way == "rand"
    rotate = _dice(rand) if by_chance else None
    crop_x, crop_y = _dice(rand), _dice(rand)
    return Draws(scale_dice, scale_value, rotate, crop_x, crop_y, _dice(rand) if by_chance else None)


def skip_c(parameters: TransformParameters, rand: CRand, examples: int) -> None:
    """Draw for so many examples as `draw_c` does, and forget the numbers."""
    others = 4 if parameters.aug_way == "rand" else 2
    for _ in range(examples):
        for _ in range(others if _dice(rand) > parameters.scale_prob else others + 1):
            rand.rand()


def _dice(rand: CRand) -> float:
    return float(np.float32(rand.rand()) / np.float32(RAND_MAX))


def decide(draws: Draws, parameters: TransformParameters, table: tuple[float, bool] | None = None) -> Augmentation:
    """Turn raw numbers into what is done.

    Parameters
    ----------
    draws : Draws
    parameters : TransformParameters
    table : (float, bool), optional
        Degree and flip from the tables of `aug_way: "table"`.

    Raises
    ------
    UsageError
        `aug_way` is "table" and no table entry is given.
    """
    multiplier = _ONE
    if draws.scale_value is not None:
        low, high = np.float32(parameters.scale_min), np.float32(parameters.scale_max)
        multiplier = (high - low) * np.float32(draws.scale_value) + low
    degree, flip = 0.0, False
    if draws.rotate is not None and draws.flip is not None:
        degree = float(np.float32((draws.rotate - 0.5) * 2 * parameters.max_rotate_degree))
        flip = draws.flip <= parameters.flip_prob
    elif parameters.aug_way == "table":
        if table is None:
            raise UsageError('aug_way "table": expected degree and flip from the tables')
        degree, flip = float(np.float32(table[0])), table[1]
    offset_x, offset_y = (
        int((dice - 0.5) * 2 * parameters.center_perterb_max) for dice in (draws.crop_x, draws.crop_y)
    )
    return Augmentation(float(multiplier), degree, (offset_x, offset_y), flip)


def augment(record: Record, parameters: TransformParameters, augmentation: Augmentation | None) -> Example:
    """Make an example of a record.

    Parameters
    ----------
    record : Record
    parameters : TransformParameters
    augmentation : Augmentation or None
        None is the TEST phase: the image as it is.

    Raises
    ------
    DataError
        The person's scale is not positive, the scaled image has no pixels or too many, or (TEST) the image has not the
        crop's size.
    """
    planes = _enhanced(record.planes, parameters)
    people = np.stack([_parts(person, record.image_size, parameters) for person in (record.person, *record.others)])
    objpos = record.person.objpos.astype(np.float32)
    size = planes.shape[2], planes.shape[1]
    if augmentation is None:
        if size != parameters.crop_size:
            raise DataError(
                f"{record.name}: image of {size[0]} x {size[1]}; in the TEST phase it must have the crop's size, "
                f"{parameters.crop_size[0]} x {parameters.crop_size[1]}"
            )
        return Example(np.ascontiguousarray(planes), objpos, people)
    if not record.person.scale > 0:
        raise DataError(f"{record.name}: scale {record.person.scale:g}; expected a positive number")
    scale = np.float32(parameters.target_dist) / np.float32(record.person.scale) * np.float32(augmentation.multiplier)
    try:
        scaled_size = resized_size(*size, float(scale))
    except UsageError as error:
        raise DataError(f"{record.name}: {error}") from error
    matrix, turned_size = _turn(scaled_size, augmentation.degree)
    points = np.concatenate([objpos[None], people[:, :, :2].reshape(-1, 2)]) * scale
    points = (points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    width, height = parameters.crop_size
    offset = np.array(augmentation.offset, np.float32)
    middle_x, middle_y = (round(float(value)) for value in points[0] + offset)
    window = Window(middle_x - width // 2, middle_y - height // 2, width, height)
    crop = resize_and_warp(planes, float(scale), matrix, turned_size, window, PAD_VALUE)
    points += np.array([width // 2 - middle_x, height // 2 - middle_y], np.float32)
    if augmentation.flip:
        crop = np.ascontiguousarray(crop[:, :, ::-1])
        points[:, 0] = np.float32(width - 1) - points[:, 0]
    people[:, :, :2] = points[1:].reshape(len(people), -1, 2)
    if augmentation.flip:
        people = people[:, parameters.flip_order]
    return Example(crop, points[0], people)


def blob_shapes(parameters: TransformParameters) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the shapes of one example's data and label."""
    width, height = parameters.crop_size
    cells = height // parameters.stride, width // parameters.stride
    return (4, height, width), (2 * (parameters.num_parts + 1), *cells)


def write_example(
    example: Example, parameters: TransformParameters, data: NDArray[np.float32], label: NDArray[np.float32]
) -> None:
    """Write one example into its place in the blobs.

    Parameters
    ----------
    data : ndarray, shape (4, crop_size_y, crop_size_x), float32
        Written: blue, green, red as `(value - 128) / 256`, and the center map.
    label : ndarray, shape (2 * (num_parts + 1), crop_size_y // stride, crop_size_x // stride), float32
        Written: see `labels`.
    """
    normalize(example.planes, data[:3])
    data[3] = center_map_at(example.objpos, parameters.sigma_center, parameters.crop_size)
    label[:] = labels(example.people, parameters.num_parts, parameters.stride, parameters.sigma, parameters.crop_size)


def _enhanced(planes: NDArray[np.uint8], parameters: TransformParameters) -> NDArray[np.uint8]:
    """Apply CLAHE to the lightness, then turn to grey, as asked. These functions agree in all OpenCV from 4.8 to 5."""
    if not parameters.do_clahe and parameters.gray != 1:
        return planes
    from cpm_port.imaging.opencv import cv2

    image: Any = np.ascontiguousarray(planes.transpose(1, 2, 0))
    if parameters.do_clahe:
        tile = int(parameters.clahe_tile_size)
        lab = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2Lab)))
        lab[0] = cv2.createCLAHE(int(parameters.clahe_clip_limit), (tile, tile)).apply(lab[0])
        image = cv2.cvtColor(cv2.merge(lab), cv2.COLOR_Lab2BGR)
    if parameters.gray == 1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _parts(person: Annotation, image_size: tuple[int, int], parameters: TransformParameters) -> NDArray[np.float32]:
    """Return a person's parts in the layer's order, x, y (image px) and code, shape (num_parts, 3)."""
    joints = person.joints.astype(np.float32)
    x, y = joints[:, 0], joints[:, 1]
    outside = (x < 0) | (y < 0) | (x >= image_size[0]) | (y >= image_size[1])
    joints[:, 2] = np.where(outside, 2, joints[:, 2] != 0)
    return arrange_parts(joints, parameters)


def _turn(size: tuple[int, int], degree: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the matrix that turns an image about its middle into its box, and the box's size (`half_pixel_turn`)."""
    width, height = size
    x, y = width / 2, height / 2
    radians = degree * math.pi / 180
    cosine, sine = math.cos(radians), math.sin(radians)
    # the corners are taken in float32, which decides how borderline cases round
    f = np.float32
    across, along = f(cosine) * f(0.5), f(sine) * f(0.5)
    w, h, middle_x, middle_y = f(width), f(height), f(x), f(y)
    corners_x = [middle_x - along * h - across * w, middle_x + along * h - across * w]
    corners_y = [middle_y + across * h - along * w, middle_y - across * h - along * w]
    corners_x += [f(2) * middle_x - value for value in corners_x]
    corners_y += [f(2) * middle_y - value for value in corners_y]
    box_width = math.ceil(max(corners_x)) - math.floor(min(corners_x)) + 1
    box_height = math.ceil(max(corners_y)) - math.floor(min(corners_y)) + 1
    matrix = np.array(
        [
            [cosine, sine, (1 - cosine) * x - sine * y + (box_width / 2 - x)],
            [-sine, cosine, sine * x + (1 - cosine) * y + (box_height / 2 - y)],
        ]
    )
    return matrix, (box_width, box_height)
