"""Images and videos in, files of results out: the whole way, as `cpm-port predict` goes it.

    model = load_model()
    targets = name_results(list_files(["photos"])[0], Path("results"))
    for done in predict_files(targets, model):
        print(done.path, done.error or "predicted")

Where in the flow: around everything in this room. Images are read, and their pyramids made, on other threads while the
net runs (`stream.py`); not where the picture is searched first (`whole_picture.py`), since both need the net.

Errors: what goes wrong with one file is that file's, and the others go on.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cpm_port.errors import CpmPortError, UsageError
from cpm_port.imaging.reading import read_image
from cpm_port.inference.model import Model
from cpm_port.inference.notebook import Notebook
from cpm_port.inference.predict import predict_person
from cpm_port.inference.results import write_image_results, write_notebook_results
from cpm_port.inference.stream import Outcome, Person, predict_stream
from cpm_port.inference.targets import Target
from cpm_port.inference.videos import predict_video
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.inference.whole_picture import find_person
from cpm_port.predictions.results import PLACES
from cpm_port.report.drawing import pictured_window

__all__ = ["Done", "predict_files", "predict_images"]


@dataclass(frozen=True)
class Done:
    """A file that is done with: its results are written, or there is an error."""

    path: Path
    error: CpmPortError | OSError | None = None


def predict_files(
    targets: Sequence[Target], model: Model, where: Whereabouts | None = None, notebook: Notebook | None = None
) -> Generator[Done, None, None]:
    """Predict images and videos and write the results, one after another: the images first.

    Per image: `STEM.json` (`cpm_port.predictions.results`), `STEM_joints.png` (the limbs over the image) and
    `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every frame's joints and
    `STEM_joints.mp4` (`.avi` where no MPEG-4 encoder is there).

    Parameters
    ----------
    targets : sequence of Target
        Of `name_results`.
    model : Model
    where : Whereabouts, optional
        Where the person is in each; by default unknown: the default model looks for them in the whole picture,
        others take LSP's rule, and so it is in videos.
    notebook : Notebook, optional
        Instead of all this, find the people of every image as the release's notebook does. Videos are refused.

    Yields
    ------
    Done
        Close the generator (`contextlib.closing`) where it is not exhausted.
    """
    if notebook is not None:
        for target in targets:
            yield _written_people(target, notebook)
        return
    where = where or Whereabouts()
    images = [target for target in targets if not target.is_video]
    place = PLACES["given" if where.given else "found" if model.searches else "rule"]
    with closing(predict_images([target.path for target in images], model, where)) as outcomes:
        for target, outcome in zip(images, outcomes, strict=True):
            yield _written_image(target, outcome, place, model)
    for target in targets:
        if target.is_video:
            yield _written_video(target, model, where)


def predict_images(paths: Sequence[Path], model: Model, where: Whereabouts) -> Generator[Outcome, None, None]:
    """Find the person in each image, with every stage's maps in the square that is pictured."""
    if model.searches and not where.given:
        return _searched(paths, model, where)
    box_size = model.interface.box_size
    search, window = partial(where.search, box_size=box_size), partial(pictured_window, box_size=box_size)
    people = (Person(str(path), partial(read_image, path), search) for path in paths)
    return predict_stream(model.net, people, where.mode, sigma=model.sigma, stage_window=window)


def _searched(paths: Sequence[Path], model: Model, where: Whereabouts) -> Generator[Outcome, None, None]:
    """Look for each image's person in the whole picture, then predict."""
    net, sigma, box_size = model.net, model.sigma, model.interface.box_size
    for path in paths:
        try:
            image = read_image(path)
            size = (image.shape[0], image.shape[1])
            search = where.search(size, box_size, find_person(net, image, sigma=sigma))
            window = pictured_window(size, search, box_size)
            found = predict_person(
                net, image, search.center_xy, search.base_scale, search.multipliers, where.mode, sigma=sigma,
                stage_window=window,
            )  # fmt: skip
            outcome = Outcome(str(path), image, found)
        except (CpmPortError, OSError) as error:
            outcome = Outcome(str(path), error=error)
        yield outcome


def _written_image(target: Target, outcome: Outcome, place: str, model: Model) -> Done:
    try:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.image is not None
        assert outcome.prediction is not None
        write_image_results(target, outcome.image, outcome.prediction, place, model.record)
    except (CpmPortError, OSError) as error:
        return Done(target.path, error)
    return Done(target.path)


def _written_people(target: Target, notebook: Notebook) -> Done:
    try:
        if target.is_video:
            raise UsageError(f"{target.path}: a video; the notebook's way is for images")
        write_notebook_results(target, read_image(target.path), notebook)
    except (CpmPortError, OSError) as error:
        return Done(target.path, error)
    return Done(target.path)


def _written_video(target: Target, model: Model, where: Whereabouts) -> Done:
    try:
        predict_video(target, model, where)
    except (CpmPortError, OSError) as error:
        return Done(target.path, error)
    return Done(target.path)
