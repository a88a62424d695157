"""A picture and a wish in, people and their belief maps out: the same steps as `cpm-port predict`, and all maps kept.

Runs on the worker's thread. Between two passes of the net a job may end (`WatchedNet`).

Conventions: joints, centers and boxes are 0-based image px; maps are (stages, levels, P + 1, h, w), float32, in cells
of each level's box, the background last; stages and levels in increasing order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.caffe import NetSpec
from cpm_port.imaging.boxing import BoxGeometry
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.interface import BeliefNet, NetInterface
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.people import GivenBoxes
from cpm_port.inference.predict import gather
from cpm_port.inference.results import PersonResult, Result
from cpm_port.inference.together import person_result, see_together
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.predictions.result_parts import PLACES

__all__ = ["FoundPeople", "Wish", "look_for"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Wish:
    """Whom to look for: everybody, those in boxes, or those whom another model was shown.

    Attributes
    ----------
    boxes : sequence of (x, y, width, height), or None
    like : FoundPeople or None
        What another model found: this one looks at the same places, at scales in proportion to its box.
    """

    boxes: Sequence[Box] | None = None
    like: FoundPeople | None = None


@dataclass(frozen=True, eq=False)
class FoundPeople:
    """What was found in a picture, without the picture.

    Attributes
    ----------
    name : str
        The picture's.
    model : ReadyNet
    model_name : str
    place : str
        As of `Result`.
    several : bool
    people : tuple of PersonResult
    maps : tuple of ndarray
        Of each person.
    geometries : tuple of tuple of BoxGeometry
        Of each person, one per level.
    """

    name: str
    model: ReadyNet
    model_name: str
    place: str
    several: bool
    people: tuple[PersonResult, ...]
    maps: tuple[NDArray[np.float32], ...]
    geometries: tuple[tuple[BoxGeometry, ...], ...]

    @property
    def interface(self) -> NetInterface:
        """What is known of the net."""
        return self.model.interface

    @property
    def bytes(self) -> int:
        """What the maps take."""
        return sum(maps.nbytes for maps in self.maps)

    def result(self, image: NDArray[np.uint8]) -> Result:
        """Return it as `cpm-port predict` knows it, with the picture's pixels."""
        return Result(self.name, image, self.people, self.model, self.place, self.several)


class WatchedNet(nn.Module):
    """A net that calls a function before every pass, with the number of boxes in it.

    Parameters
    ----------
    net : BeliefNet
    before : callable of int
        May raise.
    """

    def __init__(self, net: BeliefNet, before: Callable[[int], None]) -> None:
        super().__init__()
        self._net, self._before = net, before

    @property
    def spec(self) -> NetSpec:
        """The net's layers, inputs and outputs."""
        return self._net.spec

    @property
    def blob_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every blob."""
        return self._net.blob_shapes

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the net's outputs and the named blobs."""
        self._before(len(next(iter(inputs.values()))))
        return self._net(inputs, blobs)


def look_for(
    model: ReadyNet,
    model_name: str,
    picture_name: str,
    image: NDArray[np.uint8],
    wish: Wish,
    *,
    before: Callable[[int], None],
    say: Callable[[str], None],
) -> FoundPeople:
    """Find the people of a picture, as `cpm_port.load_model(...)(picture)` does, and keep every belief.

    Parameters
    ----------
    model : ReadyNet
    model_name, picture_name : str
        What results call them.
    image : ndarray, shape (H, W, 3), uint8, BGR
    wish : Wish
    before : callable of int
        Called before every pass of the net, with the number of boxes; what it raises ends the look.
    say : callable of str
        Called with what is done next, in words.

    Raises
    ------
    UsageError
        A box that makes no sense.
    ModelFileError
        The net's maps are not finite.
    """
    watched = replace(model, net=WatchedNet(model.net, before))
    at, place = _places(watched, image, wish, say)
    if at:
        count = len(at)
        say(f"Looking at {'the person' if count == 1 else f'{count} people'}, at {len(at[0][0].multipliers)} scales")
    people, maps, geometries = [], [], []
    seen = see_together(watched, image, [search for search, _ in at], stages=True)
    for (search, score), (pyramid, beliefs) in zip(at, seen, strict=True):
        prediction = gather(beliefs, pyramid.geometries, model.interface, search)
        people.append(person_result(prediction, score))
        maps.append(np.stack([stage.float().cpu().numpy() for stage in beliefs.stages.values()]))
        geometries.append(pyramid.geometries)
    several = place != "rule"
    return FoundPeople(
        picture_name, model, model_name, PLACES[place], several, tuple(people), tuple(maps), tuple(geometries)
    )


def _places(
    model: ReadyNet, image: NDArray[np.uint8], wish: Wish, say: Callable[[str], None]
) -> tuple[list[tuple[ScaleSearch, float | None]], str]:
    """Return where to look, with the finder's scores, and which of `PLACES` that is."""
    box_size = model.interface.box_size
    if wish.like is not None:
        share = box_size / wish.like.interface.box_size
        place = next(key for key, words in PLACES.items() if words == wish.like.place)
        return [(ScaleSearch(p.center, p.scale * share), p.finder_score) for p in wish.like.people], place
    if wish.boxes is not None:
        found, place = GivenBoxes(wish.boxes, box_size).find(image), "given"
    elif model.searches:
        say("Looking for people in the whole picture")
        found, place = CrowdFinder(model.net, sigma=model.sigma).find(image), "found"
    else:
        return [(Whereabouts().search((image.shape[0], image.shape[1]), box_size), None)], "rule"
    return [(ScaleSearch(person.center_xy, person.base_scale), person.score) for person in found], place
