"""Drawn people as a data set: articulated figures in clothes before cluttered backgrounds, with exact joints.

SEED, INDEX -> SAMPLE AND IMAGE. For tests, for the demo and to show training at work without anybody's photographs. A
figure is a pose in three dimensions (standing, gesturing, walking, sitting, crouching, leaping, seen from anywhere),
dressed in round cones with patterns, lit, and seen along the z axis; others stand before, beside and behind it, and
things may stand in the way.

Conventions: as everywhere (0-based px, images BGR); joints are in `CPM14`'s order, person-centric and exact to float
precision. A joint is `visible` where nothing lies more than a limb's thickness before it; hidden joints keep their
coordinates, and so do the few that lie outside the image. `scale` is stature / 200 px, `center` the middle of the
joints' box.

Image `index` of a seed is always the same, whatever else is drawn and on however many threads; no OpenCV is involved.
(This relies on NumPy's generators, whose numbers stay the same, and on the machine's sine and root: a difference in
their last bit can move a pixel by one level.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person, Sample
from cpm_port.drawn._kernels import CONE, SHAPE_FIELDS, cast, complete, shade
from cpm_port.drawn.people import (
    Cone,
    Palette,
    Skeleton,
    body_cones,
    joint_radii,
    random_outfit,
    random_skeleton,
)
from cpm_port.drawn.scenes import random_background, random_clutter, random_obstacles
from cpm_port.errors import UsageError
from cpm_port.parts import CPM14
from cpm_port.records.record import Record, record_of, stored_order
from cpm_port.release import MPII_PERSON_HEIGHT

__all__ = ["DrawnCrowds", "DrawnPeople", "DrawnRecords"]

Array = NDArray[np.float64]
_FAR = -1e9
_CROWDS = 1  # so that scenes share no stream of numbers with the people of the same seed
_TRIES = 20


@dataclass(frozen=True)
class DrawnPeople:
    """A data set of drawn people; `people[i]` draws image i.

    Attributes
    ----------
    count : int
        How many images there are.
    size : int
        Side of the square whose area every image has, px; the images are square, landscape or portrait.
    seed : int
        Of the whole set. Sets of different seeds share no image.
    difficulty : int
        0: one upright person facing the viewer in an almost empty place; 100: any pose, direction and company, clutter
        and obstacles.

    Raises
    ------
    UsageError
        A number is out of its range.

    Examples
    --------
    >>> import cpm_port
    >>> sample, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> picture.shape, sample.person.joints.shape
    ((296, 222, 3), (14, 2))
    """

    count: int = 2000
    size: int = 256
    seed: int = 1
    difficulty: int = 100

    def __post_init__(self) -> None:
        if self.count < 1 or not 32 <= self.size <= 2048 or self.seed < 0 or not 0 <= self.difficulty <= 100:
            raise UsageError(f"{self}: expected count from 1, size 32 to 2048, seed from 0 and difficulty 0 to 100")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Sample, NDArray[np.uint8]]:
        """Draw an image: its sample and ndarray of shape (H, W, 3), uint8, BGR; IndexError past the end."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        scene = _Scene(rng, self.size, self.difficulty / 100)
        planes, people = scene.draw(self.seed * 7919 + index)
        target, *others = people
        name = f"drawn_{self.seed}_{index:06d}"
        size = (planes.shape[2], planes.shape[1])
        sample = Sample("DRAWN", name, None, "train", CPM14, "person", target, tuple(others), image_size=size)
        return sample, np.ascontiguousarray(planes.transpose(1, 2, 0))


@dataclass(frozen=True)
class DrawnCrowds:
    """Drawn scenes with several people, of whom nobody is meant more than the others; `crowds[i]` draws scene i.

    Every scene has 1 to `most` people, each number as often as any other, of 0.3 to 0.85 of the picture's height, side
    by side or before each other: the middle of nobody's hips is nearer to another's than a quarter of the smaller one's
    stature.

    Attributes
    ----------
    count : int
        How many scenes there are.
    size : int
        Side of the square whose area every picture has, px.
    seed : int
        Of the whole set.
    difficulty : int
        As of `DrawnPeople`.
    most : int
        People in a scene at most.

    Raises
    ------
    UsageError
        A number is out of its range.

    Examples
    --------
    >>> from cpm_port.drawn.source import DrawnCrowds
    >>> people, picture = DrawnCrowds(seed=74, most=3)[4]
    >>> len(people), picture.shape
    (2, (462, 346, 3))
    """

    count: int = 500
    size: int = 400
    seed: int = 1
    difficulty: int = 50
    most: int = 5

    def __post_init__(self) -> None:
        DrawnPeople(self.count, self.size, self.seed, self.difficulty)
        if not 1 <= self.most <= 20:
            raise UsageError(f"{self}: 1 to 20 people expected")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[list[Person], NDArray[np.uint8]]:
        """Draw a scene: its people, and ndarray of shape (H, W, 3), uint8, BGR; IndexError past the end."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([_CROWDS, self.seed, index])
        scene = _Crowd(rng, self.size, self.difficulty / 100, people=int(rng.integers(1, self.most + 1)))
        planes, people = scene.draw(self.seed * 7919 + index)
        return people, np.ascontiguousarray(planes.transpose(1, 2, 0))


class DrawnRecords:
    """The same people as training records, drawn when asked for; arguments as `DrawnPeople`.

    Examples
    --------
    >>> from cpm_port.drawn.source import DrawnRecords
    >>> records = DrawnRecords(count=2, seed=2)
    >>> len(records), records[0].planes.shape, records[0].image_size
    (2, (3, 296, 222), (222, 296))
    """

    order = stored_order(CPM14)

    def __init__(self, count: int = 2000, size: int = 256, seed: int = 1, difficulty: int = 100) -> None:
        self._people = DrawnPeople(count, size, seed, difficulty)

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, index: int) -> Record:
        sample, image = self._people[index]
        return record_of(sample, image, index, len(self))


@dataclass
class _Placed:
    """A person in the scene: joints in px with depth, and their surface's distance, px."""

    joints: Array
    radii: Array
    stature: float


@dataclass
class _Scene:
    """One image in the making."""

    rng: np.random.Generator
    size: int
    difficulty: float
    palette: Palette = field(default_factory=lambda: Palette([]))
    shapes: list[Array] = field(default_factory=list)

    def draw(self, noise: int) -> tuple[NDArray[np.uint8], list[Person]]:
        rng = self.rng
        aspect = math.sqrt(rng.choice([1.0, 4 / 3, 3 / 4]))
        width, height = round(self.size * aspect), round(self.size / aspect)
        background = random_background(rng, width, height, self.difficulty)
        self.shapes.append(random_clutter(rng, width, height, self.palette, self.difficulty))
        placed = self._people(width, height)
        stature = placed[0].stature
        self.shapes.append(random_obstacles(rng, width, height, self.palette, self.difficulty, stature))
        shapes = complete(np.concatenate(self.shapes))
        shapes = shapes[np.argsort(-(shapes[:, 2] + shapes[:, 3]), kind="stable")]
        depth = np.full((height, width), _FAR, np.float32)
        seen = np.full((height, width), -1, np.int16)
        cast(shapes, depth, seen)
        light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.1), rng.uniform(0.4, 1)])
        light /= np.linalg.norm(light)
        lamp = np.array([*light, rng.uniform(0.4, 0.75), rng.uniform(0, 8)], np.float32)
        planes = np.empty((3, height, width), np.uint8)
        shade(shapes, np.stack(self.palette.rows), lamp, seen, background, noise % 2**32, planes)
        return planes, [_annotated(person, depth) for person in placed]

    def _people(self, width: int, height: int) -> list[_Placed]:
        rng = self.rng
        skeleton = random_skeleton(rng, self.difficulty)
        joints = _joints(skeleton)
        low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
        room = np.array([width, height]) * rng.uniform(0.6, 0.9, 2)
        stature = float(min(*(room / np.maximum(high - low, 0.25)), 1.3 * height))
        spare = np.array([width, height]) - stature * (high - low)
        origin = rng.uniform(0.3, 0.7, 2) * spare - stature * low
        people = [self._add(skeleton, origin, 0.0, stature)]
        chances = np.array([1.0, 0, 0, 0]) + self.difficulty * np.array([-0.55, 0.3, 0.15, 0.1])
        for number in range(int(rng.choice(4, p=chances))):
            other = random_skeleton(rng, self.difficulty)
            own = stature * rng.uniform(0.7, 1.15)
            ahead = rng.random() < 0.25
            distance = stature * (rng.uniform(0.3, 0.6) if ahead else rng.uniform(0.15, 0.8))
            aside = distance * (1 if rng.random() < 0.5 else -1)
            place = origin + np.array([aside, rng.normal(0, 0.06) * stature])
            people.append(self._add(other, place, (number + 1) * 1.5 * stature * (1 if ahead else -1), own))
        return people

    def _add(self, skeleton: Skeleton, origin: Array, depth: float, stature: float) -> _Placed:
        outfit = random_outfit(self.rng, self.palette)
        offset = np.array([*origin, depth])
        self.shapes.append(_rows(body_cones(self.rng, skeleton, outfit), offset, stature))
        return _Placed(_joints(skeleton) * stature + offset, joint_radii() * stature, stature)


@dataclass
class _Crowd(_Scene):
    """A scene in which nobody is meant more than the others."""

    people: int = 1

    def _people(self, width: int, height: int) -> list[_Placed]:
        rng = self.rng
        placed: list[_Placed] = []
        hips: list[tuple[Array, float]] = []
        for _ in range(_TRIES * self.people):
            skeleton = random_skeleton(rng, self.difficulty)
            joints = _joints(skeleton)[:, :2]
            low, high = joints.min(axis=0), joints.max(axis=0)
            stature = float(rng.uniform(0.3, 0.85) * height / max(float((high - low)[1]), 0.5))
            stature = min(stature, 0.95 * width / max(float((high - low)[0]), 0.25))
            spare = np.maximum(np.array([width, height]) - stature * (high - low), 0.0)
            origin = rng.uniform(0.05, 0.95, 2) * spare - stature * low
            if any(np.hypot(*(origin - other)) < 0.25 * min(stature, own) for other, own in hips):
                continue
            hips.append((origin, stature))
            placed.append(self._add(skeleton, origin, -1.5 * height * len(placed), stature))
            if len(placed) == self.people:
                break
        return placed


def _joints(skeleton: Skeleton) -> Array:
    return np.stack([skeleton[part] for part in CPM14.parts])


def _rows(cones: list[Cone], offset: Array, stature: float) -> Array:
    """Place cones in the scene: rows of `SHAPE_FIELDS`."""
    rows = np.empty((len(cones), len(SHAPE_FIELDS)))
    starts, first_radii, ends, last_radii, materials = zip(*cones, strict=True)
    rows[:, 0:3] = np.array(starts) * stature + offset
    rows[:, 3] = np.array(first_radii) * stature
    rows[:, 4:7] = np.array(ends) * stature + offset
    rows[:, 7] = np.array(last_radii) * stature
    rows[:, 8], rows[:, 9], rows[:, 10] = CONE, materials, stature
    return rows


def _annotated(person: _Placed, depth: NDArray[np.float32]) -> Person:
    """Look whether something stands before each joint, and make the annotation."""
    xy = person.joints[:, :2]
    cell = np.floor(xy + 0.5).astype(int)
    inside = (cell >= 0).all(axis=1) & (cell < np.array(depth.shape[::-1])).all(axis=1)
    front = np.full(len(xy), np.inf)
    front[inside] = depth[cell[inside, 1], cell[inside, 0]]
    visible = front <= person.joints[:, 2] + 2.2 * person.radii
    low, high = xy.min(axis=0), xy.max(axis=0)
    center = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    return Person(xy, visible, center, person.stature / MPII_PERSON_HEIGHT)
