"""Pictures in, people out, one picture after another: the one way that the command line and the Python face both go.

    model = ready_net()
    for answer in find_results(pictures("photos"), model, Looking()):
        print(answer.name, answer.error or answer.result)

Where in the flow: below `run.py`, which writes files, and `face.py`. Images are read, and their pyramids made, on other
threads while the net runs (`stream.py`); not where the picture is searched first, since both need the net, and not for
several people.

Errors: what goes wrong with one picture is that picture's, and the others go on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import CpmPortError, UsageError
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.following import Follower
from cpm_port.inference.looking import Looking
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.notebook import Notebook
from cpm_port.inference.people import BoxesByName, GivenBoxes, PersonFinder
from cpm_port.inference.results import PersonResult, Result
from cpm_port.inference.sources import Picture
from cpm_port.inference.stream import PersonToFind, predict_stream
from cpm_port.inference.together import person_result, predict_together
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.inference.whole_picture import find_person
from cpm_port.predictions.result_parts import PLACES
from cpm_port.report.drawing import pictured_window

__all__ = ["Answer", "find_results", "people_of"]


@dataclass(frozen=True, eq=False)
class Answer:
    """A picture's result, or the error that kept it from being made."""

    name: str
    result: Result | None = None
    error: Exception | None = None


def find_results(
    pictures: Iterable[Picture], model: ReadyNet, looking: Looking, *, keep_maps: bool = False
) -> Generator[Answer, None, None]:
    """Find the people of pictures, one picture after another.

    Parameters
    ----------
    pictures : iterable of Picture
        Taken as the results are asked for, at most a few ahead.
    model : ReadyNet
    looking : Looking
    keep_maps : bool
        Keep every stage's maps in the square that is pictured, in each person's prediction.

    Yields
    ------
    Answer
        In the pictures' order. Close the generator where it is not exhausted.
    """
    people = looking.people
    if people == "one" and (looking.where.given or not model.searches):
        return _streamed(pictures, model, looking.where, keep_maps)
    finder = None if people in ("one", "all") else people
    if people == "all":
        finder = CrowdFinder(model.net, part_order=model.interface.part_order, sigma=model.sigma)
    if isinstance(finder, str):
        raise UsageError(f"people {finder!r}: expected 'one', 'all' or a finder of people")
    return _searched(pictures, model, looking.where, finder, keep_maps)


def _streamed(
    pictures: Iterable[Picture], model: ReadyNet, where: Whereabouts, keep_maps: bool
) -> Generator[Answer, None, None]:
    """One person in each picture, at a place that is known before: reading and the net overlap."""
    box_size = model.interface.box_size
    search, window = partial(where.search, box_size=box_size), partial(pictured_window, box_size=box_size)
    place = PLACES["given" if where.given else "rule"]
    waiting: list[Picture] = []

    def people() -> Iterator[PersonToFind]:
        for picture in pictures:
            waiting.append(picture._replace(read=_nothing))
            yield PersonToFind(picture.name, picture.read, search)

    stream = predict_stream(
        model.net,
        people(),
        where.mode,
        part_order=model.interface.part_order,
        sigma=model.sigma,
        stage_window=window if keep_maps else None,
    )
    with closing(stream) as outcomes:
        for outcome in outcomes:
            picture = waiting.pop(0)
            if outcome.error is not None:
                yield Answer(outcome.name, error=outcome.error)
                continue
            assert outcome.image is not None
            assert outcome.prediction is not None
            found = (person_result(outcome.prediction),)
            yield Answer(
                outcome.name,
                Result(outcome.name, outcome.image, found, model, place, path=picture.path, time=picture.time),
            )


def _searched(
    pictures: Iterable[Picture],
    model: ReadyNet,
    where: Whereabouts,
    finder: PersonFinder | BoxesByName | None,
    keep_maps: bool,
) -> Generator[Answer, None, None]:
    """Look at each picture for its people, then predict them; of a video's frames, know them again."""
    film, follower = None, None
    for picture in pictures:
        try:
            if picture.time is not None and isinstance(finder, CrowdFinder):
                if follower is None or film != picture.path:
                    film, follower = picture.path, Follower(model, where, finder)
                answer = Answer(picture.name, _followed(picture, model, follower))
            else:
                answer = Answer(picture.name, _found(picture, model, where, finder, keep_maps))
        except (CpmPortError, OSError) as error:
            answer = Answer(picture.name, error=error)
        yield answer


def _found(
    picture: Picture, model: ReadyNet, where: Whereabouts, finder: PersonFinder | BoxesByName | None, keep_maps: bool
) -> Result:
    image = picture.read()
    if isinstance(finder, BoxesByName):
        finder = finder.of(picture.name, (image.shape[0], image.shape[1]))
    place = PLACES["given" if isinstance(finder, GivenBoxes) else "found"]
    result = Result(
        picture.name, image, (), model, place, several=finder is not None, path=picture.path,
        time=picture.time,
    )  # fmt: skip
    if isinstance(finder, Notebook):
        return replace(result, people=tuple(_notebook_people(finder, image)), person_model=finder.person.record)
    return replace(result, people=tuple(people_of(image, model, where, finder, keep_maps)))


def _followed(picture: Picture, model: ReadyNet, follower: Follower) -> Result:
    image = picture.read()
    people = tuple(follower.follow(image))
    place = PLACES["found"]
    return Result(picture.name, image, people, model, place, several=True, path=picture.path, time=picture.time)


def _notebook_people(notebook: Notebook, image: NDArray[np.uint8]) -> Iterator[PersonResult]:
    order = notebook.pose.interface.part_order
    for person, peaks in notebook.predict(image):
        joints, scale = peaks.joints_resized / person.base_scale, person.base_scale
        scores = np.clip(peaks.scores, 0.0, 1.0)
        yield PersonResult(joints, scores, order, person.center_xy, scale, person.score, raw_scores=peaks.scores)


def people_of(
    image: NDArray[np.uint8],
    model: ReadyNet,
    where: Whereabouts,
    finder: PersonFinder | None,
    keep_maps: bool = False,
) -> list[PersonResult]:
    """Return whom a finder finds in an image; without one, the person whom the whole picture is searched for."""
    size, box_size = (image.shape[0], image.shape[1]), model.interface.box_size
    if finder is None:
        at: list[tuple[ScaleSearch, float | None]] = [(find_person(model.net, image, sigma=model.sigma), None)]
    else:
        at = [(ScaleSearch(p.center_xy, p.base_scale), p.score) for p in finder.find(image)]
    searches = [where.search(size, box_size, found) for found, _ in at]
    predictions = predict_together(model, image, searches, where.mode, keep_maps=keep_maps)
    return [person_result(found, score) for found, (_, score) in zip(predictions, at, strict=True)]


def _nothing() -> NDArray[np.uint8]:
    raise AssertionError("the stream has read this picture")
