"""A drawn film: people walk to and fro before each other, and cross; their joints in every frame are known.

The camera stands still. Each walks along a line of their own, nearer or farther than the others', turns at its ends
towards the viewer, and is hidden by whoever is nearer. Nobody leaves the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person
from cpm_port.drawn.people import Outfit, Palette, body_cones, random_outfit
from cpm_port.drawn.picture import Placed, draw_picture, random_lamp
from cpm_port.drawn.postures import skeleton, walking_posture
from cpm_port.drawn.scenes import random_background, random_clutter
from cpm_port.errors import UsageError

__all__ = ["DrawnWalkers"]

_WALKERS = 2  # so that films share no stream of numbers with the pictures of the same seed
_DIFFICULTY = 0.3  # of the place
_STEPS = 0.9  # how far two steps go, statures
_SIDEWAYS = 1.2  # how far those who walk are turned, radians


@dataclass(frozen=True)
class _Walker:
    """A person: what they wear, how far and how often they go to and fro, where their line lies."""

    outfit: Outfit
    build: float
    stature: float
    ground: float
    depth: float
    reach: float
    period: float
    start: float
    seed: int

    def at(self, time: float, middle: float) -> Placed:
        """Return the person after some seconds, about the middle of the picture."""
        turn = 2 * math.pi * time / self.period + self.start
        pace, half = math.cos(turn), math.floor(turn / math.pi + 0.5)
        way = self.reach * (2 * half + (-1) ** half * math.sin(turn))  # walked, px: the integral of |cos|
        phase = 2 * math.pi * way / (_STEPS * self.stature)
        points = skeleton(walking_posture(phase, abs(pace), _SIDEWAYS * pace, self.build))
        cones = body_cones(np.random.default_rng(self.seed), points, self.outfit)
        lowest = float(max(points[f"{side}_heel"][1] for side in ("left", "right")))
        offset = np.array([middle + self.reach * math.sin(turn), self.ground - lowest * self.stature, self.depth])
        return Placed(points, cones, offset, self.stature)


@dataclass(frozen=True, eq=False)
class _Place:
    """What stays: materials, people, background, what stands before it, light."""

    palette: Palette
    walkers: list[_Walker]
    background: NDArray[np.uint8]
    clutter: NDArray[np.float64]
    lamp: NDArray[np.float32]


@dataclass(frozen=True)
class DrawnWalkers:
    """A drawn film of people who walk to and fro and cross; `film[i]` draws frame i.

    Attributes
    ----------
    count : int
        How many frames there are.
    rate : float
        Frames a second.
    people : int
        1 to 5.
    size : (int, int)
        Width and height of a frame, px.
    seed : int
        Of the film.

    Raises
    ------
    UsageError
        A number is out of its range.

    Examples
    --------
    >>> from cpm_port.drawn.walkers import DrawnWalkers
    >>> people, frame = DrawnWalkers(seed=3)[0]
    >>> len(people), frame.shape
    (3, (360, 640, 3))
    """

    count: int = 600
    rate: float = 10.0
    people: int = 3
    size: tuple[int, int] = (640, 360)
    seed: int = 1

    def __post_init__(self) -> None:
        right = self.count >= 1 and self.rate > 0 and 1 <= self.people <= 5 and self.seed >= 0
        if not right or not all(32 <= side <= 2048 for side in self.size):
            raise UsageError(
                f"{self}: expected count from 1, rate above 0, 1 to 5 people, size 32 to 2048, seed from 0"
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[list[Person], NDArray[np.uint8]]:
        """Draw a frame: its people, always in the same order, and ndarray of shape (H, W, 3), uint8, BGR."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        place = self._place
        placed = [walker.at(index / self.rate, self.size[0] / 2) for walker in place.walkers]
        shapes, noise = [place.clutter, *(person.shapes for person in placed)], self.seed * 7919 + index
        frame, people = draw_picture(placed, shapes, place.palette, place.lamp, place.background, noise)
        return people, frame

    @cached_property
    def _place(self) -> _Place:
        rng, (width, height) = np.random.default_rng([_WALKERS, self.seed]), self.size
        palette = Palette([])
        background = random_background(rng, width, height, _DIFFICULTY)
        clutter = random_clutter(rng, width, height, palette, _DIFFICULTY)
        lamp = random_lamp(rng)
        walkers = []
        for k in range(self.people):  # the nearest first
            nearness = 1 - 0.09 * k
            stature = 0.72 * height * nearness * rng.uniform(0.97, 1.03)
            walkers.append(
                _Walker(
                    outfit=random_outfit(rng, palette),
                    build=1 + 0.05 * rng.normal(),
                    stature=stature,
                    ground=height * (0.6 + 0.37 * nearness),
                    depth=-1.5 * height * k,
                    reach=max(0.5 * width - 0.3 * stature, 1.0) * rng.uniform(0.75, 1.0),
                    period=rng.uniform(8.0, 13.0),
                    start=2 * math.pi * (k + rng.uniform(0, 0.8)) / self.people,
                    seed=int(rng.integers(2**31)),
                )
            )
        return _Place(palette, walkers, background, clutter, lamp)
