"""`cpm-port predict IMAGE|DIR|VIDEO... [--model NAME] [--out DIR]`: the joints of the person in each of them.

Per image, in DIR: `STEM.json` (joints, where and how they were looked for, the model), `STEM_joints.png` (the limbs
over the image) and `STEM_maps.png` (the belief maps of every part at every stage). Per video: `STEM.json` with every
frame's joints and `STEM_joints.mp4` (`.avi` where no MPEG-4 encoder is there). Further files of the same stem get
`STEM-2`, `STEM-3`, ...

Where nobody says where the person is, the default model looks for them in the whole picture
(`cpm_port.inference.whole_picture`); in videos, and with any other model, LSP's rule holds as in the release: the
image's centre, and its height as the person's.

Images are read, and their pyramids made, on other threads while the net runs; not where the picture is searched first.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.cli._devices import add_engine, made_fast
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.cli._predict_results import RESULT_SUFFIXES, looked_at, write_image_results
from cpm_port.cli._predict_video import predict_video, video_result_suffixes
from cpm_port.errors import CpmPortError, UsageError
from cpm_port.files.atomic import require_writable_folder
from cpm_port.files.digest import file_sha256

if TYPE_CHECKING:
    from cpm_port.imaging.pyramid import ScaleSearch
    from cpm_port.inference.interface import BeliefNet
    from cpm_port.inference.stream import Outcome
    from cpm_port.zoo import ModelEntry

__all__ = ["configure", "run"]

PLACES = {
    "given": "given by the user",
    "found": "looked for in the whole picture",
    "rule": "taken for the image's centre, as tall as the image",
}
"""Where the person was looked for, in the results' words."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", nargs="+", metavar="FILE", help="images, videos, or folders of them")
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
    where.add_argument("--box", nargs=4, type=_finite, metavar=("X", "Y", "W", "H"), help="the person's box; 0-based")
    where.add_argument(
        "--multipliers", nargs="+", type=_finite, metavar="M", help="scales to try, times the base scale"
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Predict every image and video; report broken ones and go on; 2 if there were any."""
    if (args.center is None) != (args.base_scale is None):
        raise UsageError("--center and --base-scale belong together")
    if args.center is not None and args.box is not None:
        raise UsageError("give --box, or --center with --base-scale, not both")
    _check_numbers(args)
    require_writable_folder(args.out)
    targets = name_results(list_files(args.images), Path(args.out))
    net, model, entry = load_model(args)
    sigma = None if entry is None else entry.center_sigma
    given = args.center is not None or args.box is not None
    searched = entry is not None and entry.embedded and not given

    from tqdm import tqdm

    from cpm_port.inference.interface import read_interface

    choose = partial(choose_search, args, box_size=read_interface(net).box_size)
    failed = 0
    with tqdm(total=len(targets), unit="file", disable=len(targets) < 2, file=sys.stderr) as progress:

        def attempt(path: Path, predict: Callable[[], None]) -> None:
            nonlocal failed
            try:
                predict()
            except (CpmPortError, OSError) as error:
                failed += 1
                text = str(error) if str(path) in str(error) else f"{path}: {error}"
                tqdm.write(f"cpm-port predict: {text}", file=sys.stderr)
            progress.update()

        images = [target for target in targets if not is_video(target[0])]
        outcomes = found_people(images, net, args.mode, choose, sigma) if searched else None
        place = PLACES["given" if given else "found" if searched else "rule"]
        predict_images(images, net, {"place": place, "model": model}, args.mode, choose, attempt, sigma, outcomes)
        for path, stem in targets:
            if is_video(path):
                attempt(path, partial(predict_video, path, stem, net, model, args.mode, choose, sigma))
    print(f"{len(targets) - failed} of {len(targets)} files predicted into {args.out}")
    return 2 if failed else 0


def predict_images(
    targets: Sequence[tuple[Path, Path]],
    net: BeliefNet,
    said: dict[str, Any],
    mode: Any,
    choose: Callable[[tuple[int, int]], ScaleSearch],
    attempt: Callable[[Path, Callable[[], None]], None],
    sigma: float | None,
    outcomes: Generator[Outcome] | None = None,
) -> None:
    """Predict images, given with the stems of their results; `attempt` calls what may fail.

    `outcomes` are the images' (`found_people`); by default they go through one stream, each searched as `choose` says.
    """
    from cpm_port.imaging.reading import read_image
    from cpm_port.inference.interface import read_interface
    from cpm_port.inference.stream import Person, predict_stream

    def write(path: Path, stem: Path, outcome: Outcome) -> None:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.image is not None
        assert outcome.prediction is not None
        write_image_results(path, stem, outcome.image, outcome.prediction, said)

    if outcomes is None:
        people = (Person(str(path), partial(read_image, path), choose) for path, _ in targets)
        window = partial(looked_at, box_size=read_interface(net).box_size)
        outcomes = predict_stream(net, people, mode, sigma=sigma, stage_window=window)
    with closing(outcomes):
        for (path, stem), outcome in zip(targets, outcomes, strict=True):
            attempt(path, partial(write, path, stem, outcome))


def found_people(
    targets: Sequence[tuple[Path, Path]],
    net: BeliefNet,
    mode: Any,
    choose: Callable[..., ScaleSearch],
    sigma: float | None,
) -> Generator[Outcome]:
    """Look for each image's person in the whole picture, then predict; one after another, since both need the net."""
    from cpm_port.imaging.reading import read_image
    from cpm_port.inference.interface import read_interface
    from cpm_port.inference.predict import predict_person
    from cpm_port.inference.stream import Outcome
    from cpm_port.inference.whole_picture import find_person

    for path, _ in targets:
        try:
            image = read_image(path)
            size = (image.shape[0], image.shape[1])
            search = choose(size, found=find_person(net, image, sigma=sigma))
            window = looked_at(size, search, read_interface(net).box_size)
            found = predict_person(
                net, image, search.center_xy, search.base_scale, search.multipliers, mode, sigma=sigma,
                stage_window=window,
            )  # fmt: skip
            yield Outcome(str(path), image, found)
        except (CpmPortError, OSError) as error:
            yield Outcome(str(path), error=error)


def is_video(path: Path) -> bool:
    """Tell a video by its suffix."""
    from cpm_port.imaging.video import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES


def list_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files to read: the named ones, and of folders those with an image's or video's suffix, by name.

    Raises
    ------
    UsageError
        A folder holds none.
    """
    from cpm_port.imaging.reading import IMAGE_SUFFIXES
    from cpm_port.imaging.video import VIDEO_SUFFIXES

    listed: list[Path] = []
    for argument in map(Path, arguments):
        if not argument.is_dir():
            listed.append(argument)
            continue
        known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
        files = sorted(path for path in argument.iterdir() if path.is_file())
        found = [path for path in files if path.suffix.lower() in known]
        if not found:
            raise UsageError(f"{argument}: no image or video in this folder; known are {', '.join(sorted(known))}")
        for path in files:
            if path not in found:
                print(f"cpm-port predict: {path}: not taken, its suffix is no image's or video's", file=sys.stderr)
        listed += found
    return listed


def name_results(files: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Give every file its own stem in `out`; files whose stems coincide get a number, and stderr says so.

    Raises
    ------
    UsageError
        A result would overwrite one of the files.
    """
    stems = {file.stem.casefold() for file in files}
    taken: dict[str, Path] = {}
    targets = []
    for file in files:
        stem, number = file.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in stems):
            number += 1
            stem = f"{file.stem}-{number}"
        if number > 1:
            first = taken[file.stem.casefold()]
            print(f"cpm-port predict: {file}: {first} has its stem; the results are {stem}", file=sys.stderr)
        taken[stem.casefold()] = file
        targets.append((file, out / stem))
    sources = {file.resolve() for file in files}
    for file, stem_path in targets:
        for suffix in video_result_suffixes() if is_video(file) else RESULT_SUFFIXES.values():
            result = stem_path.with_name(stem_path.name + suffix)
            if result.resolve() in sources:
                raise UsageError(f"{file}: its result {result} would overwrite an input; choose another --out")
    return targets


def load_model(args: argparse.Namespace) -> tuple[BeliefNet, dict[str, Any], ModelEntry | None]:
    """Return the net, made fast; what the results say of it (file names, SHA-256); its entry, if it is the zoo's."""
    choice = chosen_model(args)
    from cpm_port import load_net
    from cpm_port.compute.devices import checked_device

    net = made_fast(load_net(choice.net, choice.weights, device=checked_device(args.device)), args)
    files = {"net": choice.net, "weights": choice.weights}
    said: dict[str, Any] = {kind: {"file": path.name, "sha256": file_sha256(path)} for kind, path in files.items()}
    if choice.entry is None:
        return net, said, None
    return net, {"name": choice.entry.name, **said}, choice.entry


def choose_search(
    args: argparse.Namespace, image_size: tuple[int, int], box_size: int, found: ScaleSearch | None = None
) -> ScaleSearch:
    """Return where to look and at which scales.

    Without a person given: where one was found, else LSP's rule, the image's centre and its height as the person's. The
    demo's range of scales goes by the person's height in the image; with `--base-scale`, and where one was found, that
    is the height which LSP's rule gives this scale.
    """
    from cpm_port import release
    from cpm_port.imaging import pyramid

    if args.center is not None:
        search = pyramid.ScaleSearch((args.center[0], args.center[1]), args.base_scale)
        height = release.LSP_BOX_SHARE * box_size / args.base_scale
    elif args.box is not None and args.mode == "demo":
        search, height = pyramid.demo_search(image_size, tuple(args.box), box_size), None
    elif args.box is not None:
        search, height = pyramid.box_search(tuple(args.box), box_size), None
    elif found is not None:
        search, height = found, release.LSP_BOX_SHARE * box_size / found.base_scale
    else:
        search, height = pyramid.lsp_search(image_size, box_size), float(image_size[0])
    if args.multipliers is not None:
        return pyramid.ScaleSearch(search.center_xy, search.base_scale, tuple(args.multipliers))
    if args.mode == "demo" and height is not None:
        return pyramid.ScaleSearch(search.center_xy, 1.0, pyramid.demo_multipliers(image_size[0], height, box_size))
    return search


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse scales and sizes that no image could make sense of, before any work is done."""
    from cpm_port.imaging.pyramid import positive

    for multiplier in args.multipliers or ():
        positive("--multipliers", multiplier)
    if args.base_scale is not None:
        positive("--base-scale", args.base_scale)
    if args.box is not None:
        positive("--box: width", args.box[2])
        positive("--box: height", args.box[3])


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} found, a finite number expected")
    return number
