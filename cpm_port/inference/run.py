"""Files in, files out: what `cpm-port predict` does, to be called from Python too.

    done = predict_paths(["photos", "video.mp4"], "results")
    print(done.files - done.failed, "of", done.files)

Where in the flow: around everything in this room. `predict_paths` is a whole run; `predict_files` is its middle, one
file after another; what a file's people are found by is `finding.py`'s and, for videos, `videos.py`'s.

Errors: what goes wrong with one file is that file's, and the others go on. What is wrong with the run itself, its names
or its options, is refused before the model is loaded.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from cpm_port.errors import CpmPortError, UsageError
from cpm_port.files.atomic import require_writable_folder
from cpm_port.imaging.reading import picture_count, read_image
from cpm_port.imaging.video import written_encoder
from cpm_port.inference.finding import Answer, find_results
from cpm_port.inference.looking import Looking, Wanted
from cpm_port.inference.model import Engine, ReadyNet, ready_net
from cpm_port.inference.notebook import Notebook, load_person_net
from cpm_port.inference.outputs import RunOutput
from cpm_port.inference.results import NOBODY, Result, write_image_results
from cpm_port.inference.sources import Picture
from cpm_port.inference.targets import Target, list_files, name_results, refuse_to_overwrite, remarks
from cpm_port.inference.videos import follow_video, predict_video
from cpm_port.zoo import Choice, resolve

__all__ = ["Done", "Output", "Summary", "predict_files", "predict_paths"]


@dataclass(frozen=True)
class Output:
    """What is written.

    Attributes
    ----------
    pictures : bool
        The limbs over every image.
    maps : bool or None
        The belief maps of every image; None: of images that are named, not of those in folders.
    min_score : float
        Joints of a lower score, 0 to 1, are not drawn.
    formats : tuple of str
        Of `cpm_port.inference.outputs.FORMATS`. A video's results are always JSON.
    sheet : bool
        A contact sheet of all images.
    person_score : float
        A person of a lower mean score, 0 to 1, counts as nobody in what is said; the files have them.

    Examples
    --------
    >>> from cpm_port.inference.run import Output
    >>> Output(maps=False, formats=("json", "coco")).pictures
    True
    """

    pictures: bool = True
    maps: bool | None = None
    min_score: float = 0.0
    formats: tuple[str, ...] = ("json",)
    sheet: bool = False
    person_score: float = NOBODY


@dataclass(frozen=True, eq=False)
class Done:
    """A file that is done with: its results are written, or there is an error; and what was found in an image."""

    target: Target
    error: CpmPortError | OSError | None = None
    result: Result | None = None


@dataclass(frozen=True, eq=False)
class Summary:
    """What became of a run.

    Attributes
    ----------
    files, failed : int
        How many files there were, and how many of them have an error instead of results.
    images, people, empty : int
        How many images were predicted, how many people are in them, and in how many of them there is nobody.
    written : tuple of Path
        The files of the whole run: other people's formats, the contact sheet.
    seconds : float
        For all files, without loading the model.
    last : Done
        The file that came last.
    """

    files: int
    failed: int
    images: int
    people: int
    empty: int
    written: tuple[Path, ...]
    seconds: float
    last: Done


def predict_paths(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    wanted: Wanted | None = None,
    output: Output | None = None,
    *,
    choice: Choice | None = None,
    person_choice: Choice | None = None,
    engine: Engine | None = None,
    say: Callable[[str], None] | None = None,
) -> Summary:
    """Predict images and videos, and write the results into a folder; a bar on standard error follows, where it shows.

    Parameters
    ----------
    paths : sequence of path
        Images, videos, and folders of them.
    out : path
        The folder of the results; files of one stem get `STEM`, `STEM-2`, ...
    wanted : Wanted, optional
        Who is looked for, and where.
    output : Output, optional
        What is written.
    choice : Choice, optional
        The model (`cpm_port.zoo.resolve`); by default the default model, for the notebook the official one.
    person_choice : Choice, optional
        The notebook's person net; by default the official one.
    engine : Engine, optional
        How the net runs.
    say : callable, optional
        Is given sentences, as they come up: a file's error, a file that is passed over, a picture without anybody, the
        parts that a format has no place for.

    Raises
    ------
    UsageError
        The run is refused: no file, options that do not go together, a result that would overwrite an input; or as of
        `ready_net`.
    OSError
        The folder cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import cpm_port
    >>> from cpm_port.imaging.writing import write_png
    >>> _, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> with TemporaryDirectory() as folder:
    ...     write_png(Path(folder) / "drawn.png", picture)
    ...     done = predict_paths([f"{folder}/drawn.png"], f"{folder}/results", Wanted(boxes=((0, 0, 256, 256),)))
    >>> done.files, done.failed, done.people
    (1, 0, 1)
    """
    out, wanted, output, say = Path(out), wanted or Wanted(), output or Output(), say or _silence
    require_writable_folder(out)
    targets = _targets(paths, out, say)
    if any(target.is_video for target in targets):
        _refuse_for_videos(wanted, output)
        if not (encoder := written_encoder()).in_browsers:
            say(f"videos are written as {encoder.name}, which browsers do not play: this OpenCV has no H.264 encoder")
    gathered = RunOutput(out, output.formats, sheet=output.sheet, min_score=output.min_score)
    gathered.refuse_to_overwrite(targets)
    model, looking = _loaded(wanted, choice, person_choice, engine)
    for left_out in gathered.remarks(model.interface.part_order):
        say(left_out)
    if output.maps is None:
        output = replace(output, maps=not any(os.path.isdir(path) for path in paths))
    failed, start = 0, time.perf_counter()
    with (
        tqdm(total=len(targets), unit="file", disable=True if len(targets) < 2 else None, file=sys.stderr) as progress,
        closing(predict_files(targets, model, looking, output)) as finished,
    ):
        for done in finished:
            failed += done.error is not None
            if done.result is not None:
                gathered.add(done.target, done.result, output.person_score)
            if (sentence := _remark(done, output.person_score)) is not None:
                say(sentence)
            progress.update()
    seconds = time.perf_counter() - start
    return Summary(
        len(targets), failed, gathered.images, gathered.people, gathered.empty, tuple(gathered.end()), seconds, done
    )


def predict_files(
    targets: Sequence[Target], model: ReadyNet, looking: Looking | None = None, output: Output | None = None
) -> Generator[Done, None, None]:
    """Predict images and videos and write the results, one after another: the images first.

    Per image: `STEM.json` (`cpm_port.predictions.results`), `STEM_joints.png` (the limbs over the image) and
    `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every frame's joints and
    `STEM_joints.mp4`: H.264 where OpenCV has an encoder for it, else MPEG-4 (`.avi` with Motion JPEG where that is not
    there either).

    Parameters
    ----------
    targets : sequence of Target
        Of `name_results`.
    model : ReadyNet
    looking : Looking, optional
        Who is looked for, and where; by default one person, whom the default model looks for in the whole picture, and
        others where LSP's rule says, as in videos.
    output : Output, optional
        What is written of an image.

    Yields
    ------
    Done
        Close the generator (`contextlib.closing`) where it is not exhausted.

    Examples
    --------
    >>> from pathlib import Path
    >>> import cpm_port
    >>> from cpm_port.imaging.writing import write_png
    >>> from cpm_port.inference.whereabouts import Whereabouts
    >>> write_png(Path("drawn.png"), cpm_port.DrawnPeople(seed=2, difficulty=0)[0][1])
    >>> Path("results").mkdir()
    >>> targets = name_results([Path("drawn.png")], Path("results"))
    >>> near = Looking(Whereabouts(box=(0.0, 0.0, 256.0, 256.0), multipliers=(1.0,)))
    >>> for done in predict_files(targets, cpm_port.load_model(), near, Output(maps=False)):
    ...     print(done.target.json.name, done.error, len(done.result))
    drawn.json None 1
    """
    looking, output = looking or Looking(), output or Output()
    images = [target for target in targets if not target.is_video]
    shown = (Picture(str(target.path), partial(read_image, target.path), target.path) for target in images)
    with closing(find_results(shown, model, looking, keep_maps=output.maps is not False)) as answers:
        for target, answer in zip(images, answers, strict=True):
            yield _written_image(target, answer, output)
    for target in targets:
        if target.is_video:
            yield _written_video(target, model, looking)


def _targets(paths: Sequence[str | os.PathLike[str]], out: Path, say: Callable[[str], None]) -> list[Target]:
    """Return the files and what their results are called; say what is not as one might expect."""
    files, passed_over = list_files(paths)
    if not files:
        raise UsageError("no files to predict")
    for sentence in remarks([path for path in passed_over if path.resolve() != out.resolve()]):
        say(sentence)
    targets = name_results(files, out)
    for target in targets:
        if target.namesake is not None:
            say(f"{target.path}: {target.namesake} has its stem; the results are {target.stem.name}")
        if not target.is_video and (count := picture_count(target.path)) > 1:
            say(f"{target.path}: holds {count} pictures, an animation's or pages; the first one is taken")
    refuse_to_overwrite(targets)
    return targets


def _refuse_for_videos(wanted: Wanted, output: Output) -> None:
    if wanted.boxed:
        raise UsageError("several boxes are for images: in a video people move")
    if output.formats != ("json",):
        raise UsageError(f"--format {' '.join(output.formats)}: a video's results are JSON")


def _loaded(
    wanted: Wanted, choice: Choice | None, person_choice: Choice | None, engine: Engine | None
) -> tuple[ReadyNet, Looking]:
    """Load the model, for the notebook both; return it with what is wanted of it."""
    if wanted.people != "notebook":
        model = ready_net(choice, engine)
        return model, wanted.with_model(model)
    person = load_person_net(person_choice, engine)
    notebook = Notebook(person, ready_net(choice or resolve("mpii-vgg"), engine))
    return notebook.pose, Looking(people=notebook)


def _remark(done: Done, person_score: float) -> str | None:
    """Return what is to be said of a file: its error, or that nobody seems to be in it."""
    if done.error is not None:
        text, path = str(done.error), str(done.target.path)
        return text if path in text else f"{path}: {text}"
    best = None if done.result is None else max((person.score for person in done.result), default=0.0)
    if done.result is None or best is None or best >= person_score:
        return None
    seen = f"the best score is {best:.2f}, less than {person_score:g}" if len(done.result) else "no person was found"
    return f"{done.result.name}: nobody is there, most likely: {seen}"


def _written_image(target: Target, answer: Answer, output: Output) -> Done:
    try:
        if answer.error is not None:
            raise answer.error
        assert answer.result is not None
        write_image_results(
            target,
            answer.result,
            pictures=output.pictures,
            maps=output.maps is not False,
            min_score=output.min_score,
            json="json" in output.formats,
        )
    except (CpmPortError, OSError) as error:
        return Done(target, error)
    return Done(target, result=answer.result)


def _written_video(target: Target, model: ReadyNet, looking: Looking) -> Done:
    try:
        if not isinstance(looking.people, str):
            raise UsageError(f"{target.path}: a video; finders and boxes are for images")
        (follow_video if looking.people == "all" else predict_video)(target, model, looking.where)
    except (CpmPortError, OSError) as error:
        return Done(target, error)
    return Done(target)


def _silence(sentence: str) -> None:
    """Say nothing."""
