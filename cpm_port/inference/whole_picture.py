"""Where is the person, when no place is given? Try places and heights in the whole picture, and keep the best.

Where in the flow: before `predict_person`, instead of a data set's rule for center and scale. What comes out is a
`ScaleSearch` like theirs.

The rule is ours (the release has none; its test code is given the place, or takes LSP's rule):

1. *Hypotheses.* A person's height is taken for 1, 0.63, 0.4 and 0.25 of the picture's longer side, and their center for
   the points of a grid whose step is half that height. The net looks at each once, in a box as it was trained on:
   person in the middle, as tall as `target_dist` says.
2. *Score.* The mean of the parts' peaks, less 0.3 times the center's distance from the picture's middle (1 in a
   corner), plus 0.05 times the logarithm of the height as a share of the longer side. The last two break the many
   ties of a picture with several people, or with a leg that looks like a person: the person who is meant is usually
   large and in the middle.
3. *Second look.* The best four that are not neighbours, moved to the middle of the joints found and scaled to the
   longer side of their box (at most by 1.6), and LSP's rule as fifth, are looked at twice, at three scales, moved and
   scaled again in between. A pose that is there stays when the view changes; the sum over scales rewards that.
4. *LSP's rule stays where it agrees.* Where the best of the five is the person of LSP's rule too (center within a
   sixteenth of the picture's diagonal from the middle, height within a factor of 1.3), the rule is returned as it is: a
   picture cut to its person gives what it gives without the search.

Of several people one is found. All of this sees the picture shrunk to four box sides. Where that is less than 8 px
tall, its height is no person's and LSP's rule is left out, unless there is no other hypothesis.

Conventions: points are `(x, y)`, 0-based image px; a height is a person's, image px, in MPII's sense: the longer side
of the box around the joints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid, lsp_search, mpii_search
from cpm_port.imaging.resize import imresize
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.predict import gather, require_finite_maps, run_people
from cpm_port.release import BOX_SIZE, MPII_PERSON_HEIGHT, TARGET_DIST

__all__ = ["MULTIPLIERS", "Place", "Survey", "find_person", "look", "moved_to", "places", "settle", "survey"]

SHARES = (1.0, 0.63, 0.4, 0.25)
STEP = 0.5
OFF_CENTER, LARGE = 0.3, 0.05
FINALISTS = 4
MULTIPLIERS = (0.8, 1.0, 1.25)
LOOKS = 2
MOST = 1.6
SAME_HEIGHT, SAME_PLACE = 1.3, 0.125
WORKING_BOXES = 4
SMALLEST = 8.0
BOXES = 15
"""In every pass: the five finalists at three scales; one number, so that a net plans or captures for one shape."""


class Place(NamedTuple):
    """A person's supposed center and height, image px."""

    x: float
    y: float
    height: float

    def search(self, box_size: int, multipliers: tuple[float, ...] = MULTIPLIERS) -> ScaleSearch:
        """Return how to look at it."""
        at = mpii_search((self.x, self.y), self.height / MPII_PERSON_HEIGHT, box_size)
        return ScaleSearch(at.center_xy, at.base_scale, multipliers)


def find_person(net: BeliefNet, image: NDArray[np.uint8], *, sigma: float | None = None) -> ScaleSearch:
    """Find where to look for the person whom a picture shows.

    Parameters
    ----------
    net : BeliefNet
    image : ndarray, shape (H, W, 3), uint8, BGR
    sigma : float, optional
        Of the center map, box px (`read_interface`).

    Returns
    -------
    ScaleSearch
        With the benchmark's multipliers, for `predict_person`.

    Raises
    ------
    UsageError
        The net is no pose net.
    ShapeError
        The image is not (H, W, 3) uint8.
    ModelFileError
        The net's maps are not finite.
    """
    interface = read_interface(net, sigma=sigma)
    return settle(net, interface, survey(net, interface, image))


class Survey(NamedTuple):
    """What a look at the whole picture saw.

    Attributes
    ----------
    image_size : (int, int)
        Height and width before shrinking.
    picture : ndarray, shape (h, w, 3), uint8, BGR
        The image, shrunk to `WORKING_BOXES` box sides where it is larger.
    shrink : float
        Its px per image px.
    grid : list of Place
        The hypotheses; this and what follows in the picture's px.
    joints : list of ndarray, shape (P, 2)
        What the net saw from each.
    beliefs : ndarray, shape (N,)
        The mean peak of each.
    """

    image_size: tuple[int, int]
    picture: NDArray[np.uint8]
    shrink: float
    grid: list[Place]
    joints: list[NDArray[np.float64]]
    beliefs: NDArray[np.float64]

    def in_image(self, place: Place, box_size: int) -> ScaleSearch:
        """Return how to look at a place of the picture in the image itself."""
        x, y = (place.x + 0.5) / self.shrink - 0.5, (place.y + 0.5) / self.shrink - 0.5
        return mpii_search((x, y), place.height / self.shrink / MPII_PERSON_HEIGHT, box_size)


def survey(net: BeliefNet, interface: NetInterface, image: NDArray[np.uint8]) -> Survey:
    """Look at the whole picture once, from every hypothesis; errors as of `find_person`."""
    shrink = min(1.0, WORKING_BOXES * interface.box_size / max(image.shape[:2]))
    picture = imresize(image, factor=shrink) if shrink < 1 else image
    grid = places((picture.shape[0], picture.shape[1]))
    joints, beliefs = look(net, interface, picture, grid, (1.0,))
    return Survey((image.shape[0], image.shape[1]), picture, shrink, grid, joints, beliefs)


def settle(net: BeliefNet, interface: NetInterface, seen: Survey) -> ScaleSearch:
    """Decide who is meant in a picture that was surveyed; errors as of `find_person`."""
    _, picture, _, grid, joints, beliefs = seen
    box = interface.box_size
    size = picture.shape[0], picture.shape[1]
    rule = lsp_search(size, box)
    given = Place(*rule.center_xy, TARGET_DIST * MPII_PERSON_HEIGHT * box / BOX_SIZE / rule.base_scale)
    kept = _apart(grid, _scores(size, grid, beliefs))
    finalists = [moved_to(joints[i], grid[i]) for i in kept]
    if not finalists or size[0] >= SMALLEST:
        finalists.insert(0, given)
    for again in range(LOOKS):
        if again:
            finalists = [moved_to(found, place) for found, place in zip(joints, finalists, strict=True)]
        joints, beliefs = look(net, interface, picture, finalists, MULTIPLIERS)
    scores = _scores(size, finalists, beliefs)
    best = finalists[int(np.argmax(scores))]
    if _off_center(size, best) <= SAME_PLACE and 1 / SAME_HEIGHT <= best.height / given.height <= SAME_HEIGHT:
        return lsp_search(seen.image_size, box)
    return seen.in_image(best, box)


def places(image_size: tuple[int, int]) -> list[Place]:
    """Return the hypotheses of a picture of this height and width, tallest first, rows from the top.

    None is smaller than 8 px: a picture of fewer has no hypothesis but LSP's rule.
    """
    height, width = image_size
    found = []
    for share in SHARES:
        tall = share * max(height, width)
        if tall < SMALLEST:
            break
        rows, columns = (max(1, math.ceil(length / (STEP * tall))) for length in (height, width))
        found += [
            Place((column + 0.5) / columns * width - 0.5, (row + 0.5) / rows * height - 0.5, tall)
            for row in range(rows)
            for column in range(columns)
        ]
    return found


def moved_to(joints_image: NDArray[np.float64], place: Place) -> Place:
    """Return the place of the joints that were found from `place`: the middle and longer side of their box.

    Parameters
    ----------
    joints_image : ndarray, shape (P, 2)
        Image px.
    place : Place
        The new height is at most `MOST` times this one's, and at least this one's by `MOST`.
    """
    low, high = joints_image.min(axis=0), joints_image.max(axis=0)
    x, y = (low + high) / 2
    tall = float(np.clip((high - low).max(), place.height / MOST, place.height * MOST))
    return Place(float(x), float(y), tall)


def _scores(
    image_size: tuple[int, int], supposed: Sequence[Place], beliefs: NDArray[np.float64]
) -> NDArray[np.float64]:
    off_center = np.array([_off_center(image_size, place) for place in supposed])
    height = np.array([place.height for place in supposed])
    return beliefs - OFF_CENTER * off_center + LARGE * np.log(height / max(image_size))


def _off_center(image_size: tuple[int, int], place: Place) -> float:
    """Return the distance of a place from the picture's middle: 0 there, 1 in a corner."""
    height, width = image_size
    return math.hypot(place.x - (width - 1) / 2, place.y - (height - 1) / 2) / (math.hypot(width, height) / 2)


def _apart(grid: Sequence[Place], scores: NDArray[np.float64]) -> list[int]:
    """Return the best places' indices, best first, leaving out neighbours of better ones."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if len(kept) < FINALISTS and not any(_neighbours(grid[i], grid[k]) for k in kept):
            kept.append(int(i))
    return kept


def _neighbours(one: Place, other: Place) -> bool:
    apart = math.hypot(one.x - other.x, one.y - other.y)
    return apart <= 0.4 * min(one.height, other.height) and abs(math.log(one.height / other.height)) <= 0.5


def look(
    net: BeliefNet,
    interface: NetInterface,
    image: NDArray[np.uint8],
    supposed: Sequence[Place],
    multipliers: tuple[float, ...],
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Look at every place at some scales.

    Returns
    -------
    joints : list of ndarray, shape (P, 2), image px
    beliefs : ndarray, shape (N,)
        The parts' mean peak in the mean over the scales.
    """
    joints, beliefs = [], []
    people = BOXES // len(multipliers)
    for start in range(0, len(supposed), people):
        searches = [place.search(interface.box_size, multipliers) for place in supposed[start : start + people]]
        pyramids = [build_pyramid(image, s.center_xy, s.scales, interface.box_size) for s in searches]
        filled = pyramids + pyramids[-1:] * (people - len(pyramids))
        seen = run_people(net, interface, filled)
        require_finite_maps(torch.cat([maps.final for maps in seen]), net, interface)
        for search, pyramid, maps in zip(searches, pyramids, seen, strict=False):
            found = gather(maps, pyramid.geometries, interface, search)
            joints.append(found.joints_image)
            beliefs.append(float(found.scores.mean()) / len(multipliers))
    return joints, np.array(beliefs)
