"""Pictures and videos in, results out: the one way that `cpm-port predict` and the Python face both go.

    model = ready_net()
    for answer in find_results(pictures("photos"), model, Looking()):
        print(answer.name, answer.error or answer.result)

Where in the flow: around everything in this room. Images are read, and their pyramids made, on other threads while the
net runs (`stream.py`); not where the picture is searched first, since both need the net, and not for several people.

Errors: what goes wrong with one picture is that picture's, and the others go on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import CpmPortError, UsageError
from cpm_port.imaging.pyramid import ScaleSearch
from cpm_port.imaging.reading import read_image
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.following import Follower, follow_video
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.notebook import Notebook
from cpm_port.inference.people import BoxesByName, GivenBoxes, PersonFinder
from cpm_port.inference.results import PersonResult, Result, write_image_results
from cpm_port.inference.sources import Picture
from cpm_port.inference.stream import Person, predict_stream
from cpm_port.inference.targets import Target
from cpm_port.inference.together import person_result, predict_together
from cpm_port.inference.videos import predict_video
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.inference.whole_picture import find_person
from cpm_port.predictions.results import PLACES
from cpm_port.report.drawing import pictured_window

__all__ = [
    "Answer",
    "Done",
    "Looking",
    "Output",
    "PeopleChoice",
    "find_results",
    "people_of",
    "predict_files",
]

PeopleChoice = Literal["one", "all"] | PersonFinder | BoxesByName


@dataclass(frozen=True)
class Looking:
    """Who is looked for.

    Attributes
    ----------
    where : Whereabouts
        Of one person; of several, how: mode and multipliers.
    people : {"one", "all"}, PersonFinder or BoxesByName
        One person, everybody whom the net itself finds, or whomever a finder finds, or a file of boxes names. A
        `Notebook` goes its own way.
    """

    where: Whereabouts = field(default_factory=Whereabouts)
    people: PeopleChoice = "one"


@dataclass(frozen=True)
class Output:
    """What is written of an image besides its JSON: picture, maps, and from which score on joints are drawn."""

    pictures: bool = True
    maps: bool = True
    min_score: float = 0.0
    json: bool = True


@dataclass(frozen=True, eq=False)
class Answer:
    """A picture's result, or the error that kept it from being made."""

    name: str
    result: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Done:
    """A file that is done with: its results are written, or there is an error; and what was found in an image."""

    path: Path
    error: CpmPortError | OSError | None = None
    result: Result | None = None


def predict_files(
    targets: Sequence[Target],
    model: ReadyNet,
    where: Whereabouts | None = None,
    people: PeopleChoice = "one",
    output: Output | None = None,
) -> Generator[Done, None, None]:
    """Predict images and videos and write the results, one after another: the images first.

    Per image: `STEM.json` (`cpm_port.predictions.results`), `STEM_joints.png` (the limbs over the image) and
    `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every frame's joints and
    `STEM_joints.mp4` (`.avi` where no MPEG-4 encoder is there).

    Parameters
    ----------
    targets : sequence of Target
        Of `name_results`.
    model : ReadyNet
    where : Whereabouts, optional
        Where the person is in each; by default unknown: the default model looks for them in the whole picture,
        others take LSP's rule, and so it is in videos.
    people : {"one", "all"} or PersonFinder
        As of `Looking`.
    output : Output, optional
        What is written of an image.

    Yields
    ------
    Done
        Close the generator (`contextlib.closing`) where it is not exhausted.
    """
    looking, output = Looking(where or Whereabouts(), people), output or Output()
    images = [target for target in targets if not target.is_video]
    shown = (Picture(str(target.path), partial(read_image, target.path), target.path) for target in images)
    with closing(find_results(shown, model, looking, keep_maps=output.maps)) as answers:
        for target, answer in zip(images, answers, strict=True):
            yield _written_image(target, answer, output)
    for target in targets:
        if target.is_video:
            yield _written_video(target, model, looking)


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
    finder = CrowdFinder(model.net, sigma=model.sigma) if people == "all" else None if people == "one" else people
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

    def people() -> Iterator[Person]:
        for picture in pictures:
            waiting.append(picture._replace(read=_nothing))
            yield Person(picture.name, picture.read, search)

    stream = predict_stream(
        model.net, people(), where.mode, sigma=model.sigma, stage_window=window if keep_maps else None
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


def _written_image(target: Target, answer: Answer, output: Output) -> Done:
    try:
        if answer.error is not None:
            raise answer.error
        assert answer.result is not None
        write_image_results(
            target,
            answer.result,
            pictures=output.pictures,
            maps=output.maps,
            min_score=output.min_score,
            json=output.json,
        )
    except (CpmPortError, OSError) as error:
        return Done(target.path, error)
    return Done(target.path, result=answer.result)


def _written_video(target: Target, model: ReadyNet, looking: Looking) -> Done:
    try:
        if not isinstance(looking.people, str):
            raise UsageError(f"{target.path}: a video; finders and boxes are for images")
        (follow_video if looking.people == "all" else predict_video)(target, model, looking.where)
    except (CpmPortError, OSError) as error:
        return Done(target.path, error)
    return Done(target.path)
