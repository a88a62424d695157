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
from cpm_port.drawn.people import Palette, body_cones, random_outfit
from cpm_port.drawn.picture import Placed, draw_picture, joints_of, random_lamp
from cpm_port.drawn.postures import Skeleton, random_posture, skeleton
from cpm_port.drawn.scenes import random_background, random_clutter, random_obstacles
from cpm_port.errors import UsageError
from cpm_port.parts import CPM14
from cpm_port.records.record import Record, record_of, stored_order

__all__ = ["DrawnCrowds", "DrawnPeople", "DrawnRecords"]

Array = NDArray[np.float64]
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
        image, people = scene.draw(self.seed * 7919 + index)
        target, *others = people
        name = f"drawn_{self.seed}_{index:06d}"
        size = (image.shape[1], image.shape[0])
        sample = Sample("DRAWN", name, None, "train", CPM14, "person", target, tuple(others), image_size=size)
        return sample, image


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
        image, people = scene.draw(self.seed * 7919 + index)
        return people, image


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
        return draw_picture(placed, self.shapes, self.palette, random_lamp(rng), background, noise)

    def _people(self, width: int, height: int) -> list[Placed]:
        rng = self.rng
        points = skeleton(random_posture(rng, self.difficulty))
        joints = joints_of(points)
        low, high = joints[:, :2].min(axis=0), joints[:, :2].max(axis=0)
        room = np.array([width, height]) * rng.uniform(0.6, 0.9, 2)
        stature = float(min(*(room / np.maximum(high - low, 0.25)), 1.3 * height))
        spare = np.array([width, height]) - stature * (high - low)
        origin = rng.uniform(0.3, 0.7, 2) * spare - stature * low
        people = [self._add(points, origin, 0.0, stature)]
        chances = np.array([1.0, 0, 0, 0]) + self.difficulty * np.array([-0.55, 0.3, 0.15, 0.1])
        for number in range(int(rng.choice(4, p=chances))):
            other = skeleton(random_posture(rng, self.difficulty))
            own = stature * rng.uniform(0.7, 1.15)
            ahead = rng.random() < 0.25
            distance = stature * (rng.uniform(0.3, 0.6) if ahead else rng.uniform(0.15, 0.8))
            aside = distance * (1 if rng.random() < 0.5 else -1)
            place = origin + np.array([aside, rng.normal(0, 0.06) * stature])
            people.append(self._add(other, place, (number + 1) * 1.5 * stature * (1 if ahead else -1), own))
        return people

    def _add(self, points: Skeleton, origin: Array, depth: float, stature: float) -> Placed:
        outfit = random_outfit(self.rng, self.palette)
        placed = Placed(points, body_cones(self.rng, points, outfit), np.array([*origin, depth]), stature)
        self.shapes.append(placed.shapes)
        return placed


@dataclass
class _Crowd(_Scene):
    """A scene in which nobody is meant more than the others."""

    people: int = 1

    def _people(self, width: int, height: int) -> list[Placed]:
        rng = self.rng
        placed: list[Placed] = []
        hips: list[tuple[Array, float]] = []
        for _ in range(_TRIES * self.people):
            points = skeleton(random_posture(rng, self.difficulty))
            joints = joints_of(points)[:, :2]
            low, high = joints.min(axis=0), joints.max(axis=0)
            stature = float(rng.uniform(0.3, 0.85) * height / max(float((high - low)[1]), 0.5))
            stature = min(stature, 0.95 * width / max(float((high - low)[0]), 0.25))
            spare = np.maximum(np.array([width, height]) - stature * (high - low), 0.0)
            origin = rng.uniform(0.05, 0.95, 2) * spare - stature * low
            if any(np.hypot(*(origin - other)) < 0.25 * min(stature, own) for other, own in hips):
                continue
            hips.append((origin, stature))
            placed.append(self._add(points, origin, -1.5 * height * len(placed), stature))
            if len(placed) == self.people:
                break
        return placed
