"""`cpm-port predict IMAGE|DIR|VIDEO... [--model NAME] [--out DIR]`: the joints of the person in each of them.

Per image, in DIR: `STEM.json` (joints, where and how they were looked for, the model), `STEM_joints.png` (the limbs
over the image) and `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every
frame's joints and `STEM_joints.mp4`: H.264, which browsers play, where the OpenCV at hand has an encoder for it; else
MPEG-4, and standard error says so (`.avi` with Motion JPEG where that is not there either). Further files of the same
stem get `STEM-2`, `STEM-3`, ...

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
from pathlib import Path
from typing import TYPE_CHECKING

from cpm_port.cli._devices import add_engine, chosen_engine
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import UsageError

if TYPE_CHECKING:
    from cpm_port.inference.looking import Wanted
    from cpm_port.inference.run import Output, Summary
    from cpm_port.zoo import Choice

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
    from cpm_port.inference.run import predict_paths

    wanted = _wanted(args)
    if len(args.images) == 1 and args.images[0].isdecimal() and not Path(args.images[0]).exists():
        return _camera(int(args.images[0]), args, wanted)
    done = predict_paths(
        args.images,
        args.out,
        wanted,
        _output(args),
        choice=chosen_model(args, "mpii-vgg" if args.people == "notebook" else None),
        person_choice=_person_net(args),
        engine=chosen_engine(args),
        say=_say,
    )
    _report(args, done)
    return 2 if done.failed else 0


def _wanted(args: argparse.Namespace) -> Wanted:
    """Return who is looked for, as the options say."""
    from cpm_port.inference.looking import Wanted
    from cpm_port.inference.whereabouts import Whereabouts

    boxes = [tuple(box) for box in args.box or []]
    where = Whereabouts(
        center_xy=None if args.center is None else tuple(args.center),
        base_scale=args.base_scale,
        box=boxes[0] if len(boxes) == 1 else None,
        multipliers=None if args.multipliers is None else tuple(args.multipliers),
        mode=args.mode,
    )
    box_file = None if args.boxes is None else Path(args.boxes)
    return Wanted(where, args.people, tuple(boxes) if len(boxes) > 1 else None, box_file)


def _output(args: argparse.Namespace) -> Output:
    """Return what is written, as the options say."""
    from cpm_port.inference.run import Output

    return Output(
        pictures=not args.no_pictures,
        maps=args.maps,
        min_score=args.min_score,
        formats=tuple(args.format),
        sheet=args.sheet,
        person_score=args.person_score,
    )


def _person_net(args: argparse.Namespace) -> Choice | None:
    """Return the notebook's own person net, where one is given."""
    from cpm_port.zoo import resolve

    if (args.person_net is None) != (args.person_weights is None):
        raise UsageError("--person-net and --person-weights belong together")
    if args.person_net is None:
        return None
    if args.people != "notebook":
        raise UsageError("--person-net and --person-weights belong to --people notebook")
    return resolve(None, args.person_net, args.person_weights)


def _camera(index: int, args: argparse.Namespace, wanted: Wanted) -> int:
    """Show a camera's people in a window."""
    from cpm_port.inference.following import show_camera
    from cpm_port.inference.model import ready_net

    if wanted.people not in (None, "all") or wanted.where.given or wanted.boxed:
        raise UsageError(f"camera {index}: everybody in its pictures is followed; no --people, no place")
    count = show_camera(index, ready_net(chosen_model(args), chosen_engine(args)), wanted.where)
    print(f"{count} pictures of camera {index}")
    return 0


def _report(args: argparse.Namespace, done: Summary) -> None:
    """Print where the results are; of a single file also how sure they are."""
    for path in done.written:
        print(path)
    if done.files == 1 and not done.failed:
        for path in filter(Path.exists, done.last.target.results()):
            print(path)
        for number, person in enumerate(done.last.result or (), 1):
            least = int(person.scores.argmin())
            print(
                f"person {number}: score {person.score:.2f} of 1; least sure of {person.part_order.parts[least]} "
                f"({person.scores[least]:.2f})"
            )
    print(f"{done.files - done.failed} of {done.files} files predicted into {args.out}")
    if done.empty:
        print(f"nobody is there, most likely, in {done.empty}: no person scores {args.person_score:g} (--person-score)")
    if done.images:
        people = "1 person" if done.people == 1 else f"{done.people} people"
        images = "1 image" if done.images == 1 else f"{done.images} images"
        print(f"{people} in {images}, {done.images / done.seconds:.2g} images/s")


def _say(text: str) -> None:
    """Print a sentence on standard error, above the bar where there is one."""
    from tqdm import tqdm

    tqdm.write(f"cpm-port predict: {text}", file=sys.stderr)


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
