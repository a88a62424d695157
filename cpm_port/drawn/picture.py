"""Drawn people in a picture: their place there, the picture's pixels, and which of their joints can be seen.

Lengths are px here; x runs right, y down, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Person
from cpm_port.drawn._kernels import CONE, SHAPE_FIELDS, cast, complete, shade
from cpm_port.drawn.people import Cone, Palette, joint_radii
from cpm_port.drawn.postures import Skeleton
from cpm_port.parts import CPM14
from cpm_port.release import MPII_PERSON_HEIGHT

__all__ = ["Placed", "draw_picture", "joints_of", "random_lamp"]

Array = NDArray[np.float64]
_FAR = -1e9


@dataclass(frozen=True, eq=False)
class Placed:
    """A person in the picture.

    Attributes
    ----------
    points : Skeleton
        In statures.
    cones : list of Cone
        Body and clothes, in statures.
    offset : ndarray, shape (3,)
        Where the middle of the hips lies, px.
    stature : float
        Px.
    """

    points: Skeleton
    cones: list[Cone]
    offset: Array
    stature: float

    @property
    def shapes(self) -> Array:
        """Body and clothes as rows of `SHAPE_FIELDS`."""
        rows = np.empty((len(self.cones), len(SHAPE_FIELDS)))
        starts, first_radii, ends, last_radii, materials = zip(*self.cones, strict=True)
        rows[:, 0:3] = np.array(starts) * self.stature + self.offset
        rows[:, 3] = np.array(first_radii) * self.stature
        rows[:, 4:7] = np.array(ends) * self.stature + self.offset
        rows[:, 7] = np.array(last_radii) * self.stature
        rows[:, 8], rows[:, 9], rows[:, 10] = CONE, materials, self.stature
        return rows


def joints_of(points: Skeleton) -> Array:
    """Return the joints of a skeleton in `CPM14`'s order, with depth, shape (14, 3)."""
    return np.stack([points[part] for part in CPM14.parts])


def random_lamp(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the light: direction (3), share of it that comes from everywhere, noise of the camera."""
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.1), rng.uniform(0.4, 1)])
    light /= np.linalg.norm(light)
    return np.array([*light, rng.uniform(0.4, 0.75), rng.uniform(0, 8)], np.float32)


def draw_picture(
    people: Sequence[Placed],
    shapes: Sequence[Array],
    palette: Palette,
    lamp: NDArray[np.float32],
    background: NDArray[np.uint8],
    noise: int,
) -> tuple[NDArray[np.uint8], list[Person]]:
    """Draw a picture.

    Parameters
    ----------
    people : sequence of Placed
        Who is annotated.
    shapes : sequence of ndarray, shape (N, 11)
        Everything in it, the people's own among them: rows of `SHAPE_FIELDS`.
    palette : Palette
        Their materials.
    lamp : ndarray, shape (5,), float32
        See `random_lamp`.
    background : ndarray, shape (3, H, W), uint8
    noise : int
        Seed of surfaces' and the camera's grain.

    Returns
    -------
    picture : ndarray, shape (H, W, 3), uint8, BGR
    people : list of Person
        In the order given.
    """
    rows = complete(np.concatenate(shapes))
    rows = rows[np.argsort(-(rows[:, 2] + rows[:, 3]), kind="stable")]
    depth = np.full(background.shape[1:], _FAR, np.float32)
    seen = np.full(background.shape[1:], -1, np.int16)
    cast(rows, depth, seen)
    planes = np.empty_like(background)
    shade(rows, np.stack(palette.rows), lamp, seen, background, noise % 2**32, planes)
    return np.ascontiguousarray(planes.transpose(1, 2, 0)), [_annotated(person, depth) for person in people]


def _annotated(person: Placed, depth: NDArray[np.float32]) -> Person:
    """Look whether something stands before each joint, and make the annotation."""
    joints = joints_of(person.points) * person.stature + person.offset
    xy = joints[:, :2]
    cell = np.floor(xy + 0.5).astype(int)
    inside = (cell >= 0).all(axis=1) & (cell < np.array(depth.shape[::-1])).all(axis=1)
    front = np.full(len(xy), np.inf)
    front[inside] = depth[cell[inside, 1], cell[inside, 0]]
    visible = front <= joints[:, 2] + 2.2 * person.stature * joint_radii()
    low, high = xy.min(axis=0), xy.max(axis=0)
    center = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    return Person(xy, visible, center, person.stature / MPII_PERSON_HEIGHT)
