"""Where is the person, when no place is given? Look at the whole picture, coarse to fine, and keep the best place.

Where in the flow: before `predict_person`, instead of a data set's rule for center and scale. What comes out is a
`ScaleSearch` like theirs.

The rule is ours (the release has none; its test code is given the place, or takes LSP's rule):

1. *Survey.* A person's height is taken for 0.9, 0.5 and 0.28 of the picture's longer side. For each height the whole
   picture goes through the net once, at the scale that makes such a person as tall as `target_dist` says, with a center
   map of zeros: nobody is meant, so everybody's joints are seen, if less clearly than of somebody in the middle. A
   hypothesis is a window as large as the height; its joints are the parts' largest beliefs in it, its belief their
   mean. Of hypotheses with nearly the same joints the one of the highest belief stays. Here and below, those go whose
   belief is less than 0.6 of the highest one.
2. *First look.* The eight of the best score, moved to the middle of their joints and scaled to the longer side of the
   joints' box (at most by 1.6), and LSP's rule as ninth, are looked at as the net was trained to look: person in the
   middle, center map there.
3. *Second look.* The best three with different joints, moved and scaled again, are looked at at three scales. A pose
   that is there stays when the view changes; the sum over scales rewards that.
4. *LSP's rule stays where it agrees.* Where the best of the three is the person of LSP's rule too (center within a
   sixteenth of the picture's diagonal from the middle, height within a factor of 1.3), the rule is returned as it is: a
   picture cut to its person gives what it gives without the search.

The *score* is the belief, less 0.3 times the center's distance from the picture's middle (1 in a corner), plus 0.05
times the logarithm of the height as a share of the longer side. The last two break the many ties of a picture with
several people, or with a leg that looks like a person: the person who is meant is usually large and in the middle.

Of several people one is found. All of this sees the picture shrunk to three box sides. Where that is less than 8 px
tall, its height is no person's and LSP's rule is left out, unless there is no other hypothesis.

Cost: the survey is the work of 7 (3:4) to 9 boxes (square); the looks are 18 boxes at most. `cpm-port bench search`
measures time and hits.

Conventions: points are `(x, y)`, 0-based image px; a height is a person's, image px, in MPII's sense: the longer side
of the box around the joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from cpm_port.compute.devices import to_host
from cpm_port.errors import ShapeError
from cpm_port.evaluation import oks
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid, lsp_search, mpii_search
from cpm_port.imaging.resize import FACTOR_LIMIT, imresize
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.predict import Prediction, device_of, net_input, queue_finite_check, queue_gather, run_people
from cpm_port.parts import PartOrder
from cpm_port.release import MPII_PERSON_HEIGHT, PAD_VALUE, target_dist

__all__ = [
    "MULTIPLIERS",
    "ONCE",
    "Place",
    "Seen",
    "Survey",
    "SurveyWindows",
    "apart",
    "candidates",
    "find_person",
    "first_look",
    "look",
    "moved_to",
    "neighbours",
    "search_for",
    "second_look",
    "settle",
    "survey",
]

SHARES = (0.9, 0.5, 0.28)
WINDOW = 1.2
STEP = 0.1
NEAR = 0.25
OFF_CENTER, LARGE = 0.3, 0.05
SAME, LIKELY, APART = 0.5, 0.6, 0.4
FIRST_LOOKS, FINALISTS = 9, 3
ONCE, MULTIPLIERS = (1.0,), (0.8, 1.0, 1.25)
MOST = 1.6
SAME_HEIGHT, SAME_PLACE = 1.3, 0.125
WORKING_BOXES = 3
SMALLEST = 8.0
BOXES = 9
"""In every look: nine places, or three at three scales; one number, so that a GPU's graph is captured once."""
_MARGIN, _WHOLE = 24, 32  # px of nothing around a surveyed picture; its sides are multiples of the latter
_STRONGEST = 30  # windows of each height that are compared


_Strongest = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class Place(NamedTuple):
    """A person's supposed center and height, image px."""

    x: float
    y: float
    height: float

    def search(self, box_size: int, multipliers: tuple[float, ...] = MULTIPLIERS) -> ScaleSearch:
        """Return how to look at it."""
        at = mpii_search((self.x, self.y), self.height / MPII_PERSON_HEIGHT, box_size)
        return ScaleSearch(at.center_xy, at.base_scale, multipliers)


class Seen(NamedTuple):
    """A pose that was seen: where it was looked for, its joints (P, 2), picture px, and its mean peak."""

    place: Place
    joints: NDArray[np.float64]
    belief: float

    def moved(self) -> Place:
        """Return where to look for it next."""
        return moved_to(self.joints, self.place)


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


class SurveyWindows(NamedTuple):
    """The windows of one height that a survey compared.

    Attributes
    ----------
    beliefs : ndarray, shape (h, w), float32
        The mean peak in each.
    first, step : ndarray, shape (2,)
        Middle of the first one and distance to the next, picture px, (x, y).
    tall : float
        The height, picture px.
    """

    beliefs: NDArray[np.float32]
    first: NDArray[np.float64]
    step: NDArray[np.float64]
    tall: float


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
    hypotheses : list of Seen
        In the picture's px; the one of the highest belief first.
    windows : list of SurveyWindows
        For each height.
    """

    image_size: tuple[int, int]
    picture: NDArray[np.uint8]
    shrink: float
    hypotheses: list[Seen]
    windows: list[SurveyWindows]

    @property
    def picture_size(self) -> tuple[int, int]:
        """The picture's height and width."""
        return self.picture.shape[0], self.picture.shape[1]

    def in_image(self, place: Place, box_size: int) -> ScaleSearch:
        """Return how to look at a place of the picture in the image itself."""
        x, y = (place.x + 0.5) / self.shrink - 0.5, (place.y + 0.5) / self.shrink - 0.5
        return mpii_search((x, y), place.height / self.shrink / MPII_PERSON_HEIGHT, box_size)


def survey(net: BeliefNet, interface: NetInterface, image: NDArray[np.uint8]) -> Survey:
    """Look at the whole picture once for every height; errors as of `find_person`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ShapeError(f"image is {image.shape} {image.dtype}, expected (H, W, 3) uint8, not empty")
    longer = max(image.shape[:2])
    shrink = min(1.0, WORKING_BOXES * interface.box_size / longer)
    picture = imresize(image, factor=shrink) if shrink < 1 else image
    heights = [share * max(picture.shape[:2]) for share in SHARES]
    queued = [_queue_windows(net, interface, picture, tall) for tall in heights if tall >= SMALLEST]
    found, windows = [], []
    for each in queued:
        poses, compared = each()
        found += poses
        windows.append(compared)
    found.sort(key=lambda one: -one.belief)
    hypotheses = apart(found, SAME, interface.part_order)
    return Survey((image.shape[0], image.shape[1]), picture, shrink, hypotheses, windows)


def settle(net: BeliefNet, interface: NetInterface, seen: Survey) -> ScaleSearch:
    """Decide who is meant in a picture that was surveyed; errors as of `find_person`."""
    looked = first_look(net, interface, seen)
    return search_for(interface, seen, second_look(net, interface, seen, looked)[0])


def candidates(seen: Survey) -> list[Seen]:
    """Return the hypotheses that are looked at again in search for one person, best first."""
    return _likely(_best_first(seen.picture_size, seen.hypotheses))[: FIRST_LOOKS - 1]


def first_look(net: BeliefNet, interface: NetInterface, seen: Survey) -> list[Seen]:
    """Look at LSP's place and at the candidates, at one scale."""
    places = [one.moved() for one in candidates(seen)]
    if not places or seen.picture_size[0] >= SMALLEST:
        places.insert(0, _lsp_place(seen.picture_size, interface.box_size))
    return look(net, interface, seen.picture, places, ONCE)


def second_look(net: BeliefNet, interface: NetInterface, seen: Survey, looked: Sequence[Seen]) -> list[Seen]:
    """Look again at the best poses with different joints, at three scales; return them best first."""
    size = seen.picture_size
    finalists = _likely(apart(_best_first(size, looked), SAME, interface.part_order))[:FINALISTS]
    return _best_first(size, look(net, interface, seen.picture, [one.moved() for one in finalists], MULTIPLIERS))


def search_for(interface: NetInterface, seen: Survey, meant: Seen) -> ScaleSearch:
    """Return how to look in the image at who is meant; by LSP's rule where that means the same person."""
    size, place, box = seen.picture_size, meant.place, interface.box_size
    ratio = place.height / _lsp_place(size, box).height
    if _off_center(size, place) <= SAME_PLACE and 1 / SAME_HEIGHT <= ratio <= SAME_HEIGHT:
        return lsp_search(seen.image_size, box)
    return seen.in_image(place, box)


def _lsp_place(size: tuple[int, int], box_size: int) -> Place:
    """Return the place that LSP's rule takes."""
    rule = lsp_search(size, box_size)
    return Place(*rule.center_xy, target_dist(box_size) * MPII_PERSON_HEIGHT / rule.base_scale)


def neighbours(one: Place, other: Place) -> bool:
    """Tell whether two places are nearly the same: by less than 0.4 of the height, and heights by a factor of 1.6."""
    away = math.hypot(one.x - other.x, one.y - other.y)
    return away <= APART * min(one.height, other.height) and abs(math.log(one.height / other.height)) <= math.log(MOST)


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


def apart(poses: Sequence[Seen], same: float, order: PartOrder) -> list[Seen]:
    """Return the poses less those who are as similar as `same`, or more, to one that stays before them."""
    return [poses[i] for i in oks.distinct_poses([pose.joints for pose in poses], same, order)]


def look(
    net: BeliefNet,
    interface: NetInterface,
    image: NDArray[np.uint8],
    places: Sequence[Place],
    multipliers: tuple[float, ...],
) -> list[Seen]:
    """Look at every place at some scales; a belief is the parts' mean peak in the mean over the scales."""
    queued: list[tuple[Callable[[], None], list[Callable[[], Prediction]]]] = []
    people = BOXES // len(multipliers)
    captured = device_of(net).type != "cpu"
    for start in range(0, len(places), people):
        searches = [place.search(interface.box_size, multipliers) for place in places[start : start + people]]
        pyramids = [build_pyramid(image, s.center_xy, s.scales, interface.box_size) for s in searches]
        filled = pyramids + pyramids[-1:] * (people - len(pyramids) if captured else 0)
        beliefs = run_people(net, interface, filled)
        check = queue_finite_check(torch.cat([maps.final for maps in beliefs]), net, interface)
        found = [
            queue_gather(maps, pyramid.geometries, interface, search)
            for search, pyramid, maps in zip(searches, pyramids, beliefs, strict=False)
        ]
        queued.append((check, found))
    predictions: list[Prediction] = []
    for check, found in queued:
        check()
        predictions += [prediction() for prediction in found]
    return [
        Seen(place, seen.joints_image, float(seen.scores.mean()) / len(multipliers))
        for place, seen in zip(places, predictions, strict=True)
    ]


def _queue_windows(
    net: BeliefNet, interface: NetInterface, picture: NDArray[np.uint8], tall: float
) -> Callable[[], tuple[list[Seen], SurveyWindows]]:
    """Begin to survey a picture for people of one height.

    What is returned gives the strongest windows with the joints in them, and all of them; on a GPU only that waits.
    """
    in_box = target_dist(interface.box_size) * MPII_PERSON_HEIGHT
    factor = min(in_box / tall, FACTOR_LIMIT)
    scaled = imresize(picture, factor=factor)
    height, width = (-(-(length + 2 * _MARGIN) // _WHOLE) * _WHOLE for length in scaled.shape[:2])
    canvas = np.full((height, width, 3), PAD_VALUE, np.uint8)
    canvas[_MARGIN : _MARGIN + scaled.shape[0], _MARGIN : _MARGIN + scaled.shape[1]] = scaled
    with torch.inference_mode():
        data = net_input(canvas[None], interface.channels, device=device_of(net), centered=False)
        maps = net({interface.input: data})[interface.output].float()
        check = queue_finite_check(maps, net, interface)
        step = max(1, round(STEP * in_box * maps.shape[3] / width))
        compared, strongest = _queue_strongest(maps[:, :-1], in_box * maps.shape[3] / width, step)
    stride = np.array([width / maps.shape[3], height / maps.shape[2]])
    edge = np.array([picture.shape[1] - 1, picture.shape[0] - 1])
    first = (0.5 * stride - _MARGIN) / factor - 0.5

    def windows() -> tuple[list[Seen], SurveyWindows]:
        check()
        beliefs, *cells = strongest()
        middles, joints = (np.clip(((at + 0.5) * stride - _MARGIN) / factor - 0.5, 0, edge) for at in cells)
        seen = [
            Seen(Place(x, y, tall), xy, belief)
            for (x, y), xy, belief in zip(middles.tolist(), joints, beliefs.tolist(), strict=True)
        ]
        return seen, SurveyWindows(compared(), first, step * stride / factor, tall)

    return windows


def _queue_strongest(
    maps: Tensor, tall: float, step: int
) -> tuple[Callable[[], NDArray[np.float32]], Callable[[], _Strongest]]:
    """Compare the mean peaks of all windows; begin to fetch those that believe more than those around.

    Parameters
    ----------
    maps : Tensor, shape (1, P, h, w)
    tall : float
        A person's height, cells.
    step : int
        From window to window, cells.

    Returns
    -------
    compared : callable
        It gives the mean peaks, (h', w').
    strongest : callable
        It gives the beliefs (N,), the windows' middles (N, 2) and the peaks in them (N, P, 2), cells.
    """
    reach = max(1, round(WINDOW * tall / 2))
    peaks, at = max_pool2d(maps, 2 * reach + 1, step, reach, return_indices=True)
    beliefs = peaks.mean(dim=1)
    near = max(1, round(NEAR * tall / step))
    summit = beliefs >= max_pool2d(beliefs, 2 * near + 1, 1, near)
    count = min(_STRONGEST, beliefs.numel())
    strongest, chosen = torch.where(summit, beliefs, -torch.inf).flatten().topk(count)
    found = torch.cat(
        [strongest[None], chosen[None].to(strongest.dtype), at.flatten(2)[0, :, chosen].to(strongest.dtype)]
    )
    arrived = to_host(found.double())
    columns, width = beliefs.shape[2], maps.shape[3]

    def strongest_there() -> _Strongest:
        values, window, *cells = arrived()
        there = np.isfinite(values)
        middles = np.stack([window % columns, window // columns], axis=1) * step
        joints = np.stack([np.stack([cell % width, cell // width], axis=1) for cell in cells], axis=1)
        return values[there], middles[there], joints[there]

    return to_host(beliefs[0]), strongest_there


def _likely(poses: Sequence[Seen]) -> list[Seen]:
    """Return the poses less those of much less belief than another one: no other view makes up for that.

    The best one always stays: a net that believes in nothing may have peaks below 0.
    """
    most = max((one.belief for one in poses), default=0.0)
    return [one for one in poses if one.belief >= min(most, LIKELY * most)]


def _best_first(image_size: tuple[int, int], poses: Sequence[Seen]) -> list[Seen]:
    """Sort by the score of who is meant: belief, less for a place off the middle, more for a large one."""
    return sorted(poses, key=lambda one: -_score(image_size, one))


def _score(image_size: tuple[int, int], pose: Seen) -> float:
    large = math.log(pose.place.height / max(image_size))
    return pose.belief - OFF_CENTER * _off_center(image_size, pose.place) + LARGE * large


def _off_center(image_size: tuple[int, int], place: Place) -> float:
    """Return the distance of a place from the picture's middle: 0 there, 1 in a corner."""
    height, width = image_size
    return math.hypot(place.x - (width - 1) / 2, place.y - (height - 1) / 2) / (math.hypot(width, height) / 2)
