"""`cpm-port predict IMAGE|DIR|VIDEO... [--model NAME] [--out DIR]`: the joints of the person in each of them.

Per image, in DIR: `STEM.json` (joints, where and how they were looked for, the model), `STEM_joints.png` (the limbs
over the image) and `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every
frame's joints and `STEM_joints.mp4` (`.avi` where no MPEG-4 encoder is there). Further files of the same stem get
`STEM-2`, `STEM-3`, ...

Where no place is given, the default model looks for everybody in the whole picture (`cpm_port.inference.crowd`), and
`people` lists them, the one who is meant most likely first; with `--people one` for that one only
(`cpm_port.inference.whole_picture`). In videos it follows everybody, each with a number that stays
(`cpm_port.inference.tracking`); `predict 0` shows a camera's people in a window. With any other model, and in videos
with `--people one`, LSP's rule holds as in the release: the image's centre, and its height as the person's. `--boxes
FILE` and several `--box` say who is there.

`--people notebook` finds everybody as the release's notebook does: a person net for the centers, a pose net at one
scale for each (`cpm_port.inference.notebook`), by default the official two; the JSON lists `people`, and there are no
maps.

`--format` adds other people's formats (`cpm_port.predictions.people_files`). Images are read, and their pyramids made,
on other threads while the net runs; not where the picture is searched first.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cpm_port.cli._devices import add_engine, chosen_engine
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import UsageError
from cpm_port.files.atomic import require_writable_folder

if TYPE_CHECKING:
    from cpm_port.inference.model import ReadyNet
    from cpm_port.inference.notebook import Notebook
    from cpm_port.inference.results import Result
    from cpm_port.inference.run import PeopleChoice
    from cpm_port.inference.targets import Target
    from cpm_port.inference.whereabouts import Whereabouts

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "images", nargs="+", metavar="FILE", help="images, videos, or folders of them; or a camera's number"
    )
    add_model(parser)
    parser.add_argument("--out", default="results", metavar="DIR", help="where the results go (default %(default)s)")
    parser.add_argument(
        "--mode",
        choices=("benchmark", "demo"),
        default="benchmark",
        help="sum the maps over 0.7 to 1.3 times the base scale, or average them over the demo's wider range",
    )
    where = parser.add_argument_group(
        "where the person is (default: the default model looks for them; others take the image's centre and height)"
    )
    where.add_argument(
        "--center", nargs=2, type=_finite, metavar=("X", "Y"), help="the person's middle; 0-based pixels"
    )
    where.add_argument("--base-scale", type=_finite, metavar="S", help="scaled px per image px, with --center")
    where.add_argument(
        "--box",
        nargs=4,
        type=_finite,
        action="append",
        metavar=("X", "Y", "W", "H"),
        help="the person's box; 0-based; once for each person",
    )
    where.add_argument(
        "--boxes",
        metavar="FILE",
        help="the people's boxes, by the images' names: COCO or OpenPose JSON, YOLO's text, CSV; or a folder of such",
    )
    where.add_argument(
        "--multipliers", nargs="+", type=_finite, metavar="M", help="scales to try, times the base scale"
    )
    people = parser.add_argument_group("several people")
    people.add_argument(
        "--people",
        choices=("one", "all", "notebook"),
        help="one person in each image; everybody; or everybody as the release's notebook finds them, by default with "
        "the models person and mpii-vgg (default: all with the default model, one with others)",
    )
    people.add_argument("--person-net", metavar="PROTOTXT", help="the notebook's person net, with --person-weights")
    people.add_argument("--person-weights", metavar="MODEL", help="its .caffemodel, .h5 or .safetensors")
    written = parser.add_argument_group("what is written")
    written.add_argument(
        "--format",
        nargs="+",
        choices=("json", "coco", "openpose", "mpii", "release-mat", "csv"),
        default=["json"],
        help="json and openpose: a file per image; others: one of all images (default %(default)s)",
    )
    written.add_argument("--no-pictures", action="store_true", help="leave out the limbs over the picture")
    written.add_argument(
        "--maps",
        action=argparse.BooleanOptionalAction,
        help="the belief maps of every part and stage (default: for images that are named, not for folders)",
    )
    written.add_argument(
        "--min-score", type=_share, default=0.0, metavar="S", help="leave joints of a lower score, 0 to 1, undrawn"
    )
    written.add_argument(
        "--person-score",
        type=_share,
        default=0.25,
        metavar="S",
        help="say that nobody is there where no person has this mean score, 0 to 1 (default %(default)s)",
    )
    written.add_argument("--sheet", action="store_true", help="write contact_sheet.png: all images, small")
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Predict every image and video; report broken ones and go on; 2 if there were any."""
    from tqdm import tqdm

    from cpm_port.imaging.reading import picture_count
    from cpm_port.inference.model import ready_net
    from cpm_port.inference.outputs import RunOutput
    from cpm_port.inference.run import Output, predict_files
    from cpm_port.inference.targets import list_files, name_results, refuse_to_overwrite
    from cpm_port.inference.whereabouts import Whereabouts

    boxes = args.box or []
    where = Whereabouts(
        center_xy=None if args.center is None else tuple(args.center),
        base_scale=args.base_scale,
        box=tuple(boxes[0]) if len(boxes) == 1 else None,
        multipliers=None if args.multipliers is None else tuple(args.multipliers),
        mode=args.mode,
    )
    if len(args.images) == 1 and args.images[0].isdecimal() and not Path(args.images[0]).exists():
        return _camera(int(args.images[0]), args, where)
    require_writable_folder(args.out)
    files, passed_over = list_files(args.images)
    for path in passed_over:
        _warn(f"{path}: not taken, its suffix is no image's or video's")
    targets = name_results(files, Path(args.out))
    for target in targets:
        if target.namesake is not None:
            _warn(f"{target.path}: {target.namesake} has its stem; the results are {target.stem.name}")
        if not target.is_video and (count := picture_count(target.path)) > 1:
            _warn(f"{target.path}: holds {count} pictures, an animation's or pages; the first one is taken")
    refuse_to_overwrite(targets)
    gathered = RunOutput(Path(args.out), args.format, sheet=args.sheet, min_score=args.min_score)
    gathered.refuse_to_overwrite(targets)
    _refuse_contradictions(args, any(target.is_video for target in targets))
    notebook = _notebook(args, where)
    model = notebook.pose if notebook else ready_net(chosen_model(args), chosen_engine(args))
    people = notebook or _people(args, model)
    named = not any(Path(image).is_dir() for image in args.images)
    output = Output(
        pictures=not args.no_pictures,
        maps=named if args.maps is None else args.maps,
        min_score=args.min_score,
        json="json" in args.format,
    )
    failed, doubtful, start = 0, 0, time.perf_counter()
    with (
        tqdm(total=len(targets), unit="file", disable=True if len(targets) < 2 else None, file=sys.stderr) as progress,
        closing(predict_files(targets, model, where, people, output)) as finished,
    ):
        for target, done in zip(sorted(targets, key=lambda target: target.is_video), finished, strict=True):
            if done.result is not None:
                gathered.add(target, done.result)
                doubtful += _said_of(done.result, args.person_score)
            if done.error is not None:
                failed += 1
                text = str(done.error)
                said = text if str(done.path) in text else f"{done.path}: {text}"
                tqdm.write(f"cpm-port predict: {said}", file=sys.stderr)
            progress.update()
    seconds = time.perf_counter() - start
    for path in gathered.end():
        print(path)
    if len(targets) == 1 and not failed:
        _say_where(targets[0], done.result)
    print(f"{len(targets) - failed} of {len(targets)} files predicted into {args.out}")
    if doubtful:
        print(f"nobody is there, most likely, in {doubtful}: no person scores {args.person_score:g} (--person-score)")
    if gathered.images:
        nobody = f"; nobody in {gathered.empty}" if gathered.empty else ""
        print(f"{gathered.people} people in {gathered.images} images{nobody}, {gathered.images / seconds:.2g} images/s")
    return 2 if failed else 0


def _said_of(result: Result, person_score: float) -> bool:
    """Say on standard error where nobody seems to be in a picture; return whether that is so."""
    best = max((person.score for person in result), default=0.0)
    if best >= person_score:
        return False
    seen = f"the best score is {best:.2f}, less than {person_score:g}" if len(result) else "no person was found"
    from tqdm import tqdm

    tqdm.write(f"cpm-port predict: {result.name}: nobody is there, most likely: {seen}", file=sys.stderr)
    return True


def _say_where(target: Target, result: Result | None) -> None:
    """Print where a single file's results are, and how sure they are."""
    for path in target.results():
        if path.exists():
            print(path)
    for number, person in enumerate(result or (), 1):
        least = int(person.scores.argmin())
        print(
            f"person {number}: score {person.score:.2f} of 1; least sure of {person.part_order.parts[least]} "
            f"({person.scores[least]:.2f})"
        )


def _camera(index: int, args: argparse.Namespace, where: Whereabouts) -> int:
    """Show a camera's people in a window."""
    from cpm_port.inference.following import show_camera
    from cpm_port.inference.model import ready_net

    if args.people not in (None, "all") or where.given or args.boxes is not None or len(args.box or []) > 1:
        raise UsageError(f"camera {index}: everybody in its pictures is followed; no --people, no place")
    count = show_camera(index, ready_net(chosen_model(args), chosen_engine(args)), where)
    print(f"{count} pictures of camera {index}")
    return 0


def _refuse_contradictions(args: argparse.Namespace, videos: bool) -> None:
    several = args.boxes is not None or len(args.box or []) > 1
    if several and (args.center is not None or (args.boxes is not None and args.box)):
        raise UsageError("give --boxes, or --box for each person, or one --center, not several of these")
    if args.people is not None and several:
        raise UsageError(f"give --people {args.people}, or boxes, not both: boxes say who is there")
    if args.people == "all" and (args.box or args.center is not None):
        raise UsageError("--people all finds the people itself: no --box and no --center")
    if several and videos:
        raise UsageError("several boxes are for images: in a video people move")
    if videos and args.format != ["json"]:
        raise UsageError(f"--format {' '.join(args.format)}: a video's results are JSON")


def _people(args: argparse.Namespace, model: ReadyNet) -> PeopleChoice:
    """Return who is looked for, as the options say."""
    from cpm_port.annotations.boxes import read_boxes
    from cpm_port.inference.people import BoxesByName, GivenBoxes

    if args.boxes is not None:
        return BoxesByName(read_boxes(args.boxes), model.interface.box_size)
    if len(args.box or []) > 1:
        return GivenBoxes([tuple(box) for box in args.box], model.interface.box_size)
    if args.people in ("one", "all"):
        return "all" if args.people == "all" else "one"
    return "all" if model.searches and not args.box and args.center is None else "one"


def _notebook(args: argparse.Namespace, where: Whereabouts) -> Notebook | None:
    """Load the notebook's two nets, where it is asked for."""
    from cpm_port.inference.model import ready_net
    from cpm_port.inference.notebook import Notebook, load_person_net
    from cpm_port.inference.whereabouts import Whereabouts
    from cpm_port.zoo import resolve

    if args.people != "notebook":
        if args.person_net is not None or args.person_weights is not None:
            raise UsageError("--person-net and --person-weights belong to --people notebook")
        return None
    if where != Whereabouts():
        raise UsageError("--people notebook finds the people itself, at its own scale: no other place, scales or mode")
    if (args.person_net is None) != (args.person_weights is None):
        raise UsageError("--person-net and --person-weights belong together")
    engine = chosen_engine(args)
    own = args.person_net is not None
    person = resolve(None, args.person_net, args.person_weights) if own else resolve("person")
    pose = chosen_model(args) if args.model or args.net or args.weights else resolve("mpii-vgg")
    return Notebook(load_person_net(person, engine), ready_net(pose, engine))


def _warn(text: str) -> None:
    print(f"cpm-port predict: {text}", file=sys.stderr)


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a finite number")
    return number


def _share(text: str) -> float:
    number = _finite(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} found, a number from 0 to 1 expected")
    return number
