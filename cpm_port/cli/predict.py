"""`cpm-port predict IMAGE... --net P --weights M --out DIR`: the joints of the person in each image.

Per image, in DIR: `STEM.json` (joints, where and how they were looked for, the model), `STEM_joints.png` (the limbs
over the image) and `STEM_maps.png` (the belief maps of every part at every stage). Further images of the same stem get
`STEM-2`, `STEM-3`, ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.cli._devices import add_device, checked_device
from cpm_port.errors import CpmPortError, UsageError

if TYPE_CHECKING:
    from cpm_port.graph import CaffeNet
    from cpm_port.imaging.pyramid import ScaleSearch
    from cpm_port.inference.predict import Prediction

__all__ = ["configure", "run"]

FRAME = "image pixels, 0-based, x to the right, y down; (0, 0) is the centre of the top left pixel"
SUFFIXES = {"json": ".json", "joints": "_joints.png", "maps": "_maps.png"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--net", metavar="PROTOTXT", help="the deploy net")
    parser.add_argument("--weights", metavar="MODEL", help=".caffemodel, .h5 or .safetensors")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the results go")
    parser.add_argument(
        "--mode",
        choices=("benchmark", "demo"),
        default="benchmark",
        help="sum the maps over 0.7 to 1.3 times the base scale, or average them over the demo's wider range",
    )
    where = parser.add_argument_group("where the person is (default: the image's centre, as tall as the image)")
    where.add_argument(
        "--center", nargs=2, type=_finite, metavar=("X", "Y"), help="the person's middle; 0-based pixels"
    )
    where.add_argument("--base-scale", type=_finite, metavar="S", help="scaled px per image px, with --center")
    where.add_argument("--box", nargs=4, type=_finite, metavar=("X", "Y", "W", "H"), help="the person's box; 0-based")
    where.add_argument(
        "--multipliers", nargs="+", type=_finite, metavar="M", help="scales to try, times the base scale"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Predict every image; report broken ones and go on; 1 if there were any."""
    if (args.center is None) != (args.base_scale is None):
        raise UsageError("--center and --base-scale belong together")
    if args.center is not None and args.box is not None:
        raise UsageError("give --box, or --center with --base-scale, not both")
    images = list_images(args.images)
    targets = name_results(images, Path(args.out))
    net, model = load_model(args)

    from tqdm import tqdm

    failed = 0
    progress = tqdm(targets, unit="image", disable=len(targets) < 2, file=sys.stderr)
    for image, stem in progress:
        try:
            predict_file(image, stem, net, model, args)
        except (CpmPortError, OSError) as error:
            failed += 1
            text = str(error) if str(image) in str(error) else f"{image}: {error}"
            tqdm.write(f"cpm-port predict: {text}", file=sys.stderr)
    print(f"{len(targets) - failed} of {len(targets)} images predicted into {args.out}")
    return 1 if failed else 0


def list_images(arguments: Sequence[str]) -> list[Path]:
    """Return the files to read: the named ones, and of folders those with an image's suffix, by name.

    Raises
    ------
    UsageError
        A folder holds no image.
    """
    from cpm_port.imaging.reading import IMAGE_SUFFIXES

    images: list[Path] = []
    for argument in map(Path, arguments):
        if not argument.is_dir():
            images.append(argument)
            continue
        files = sorted(path for path in argument.iterdir() if path.is_file())
        found = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise UsageError(f"{argument}: no image in this folder; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
        for path in files:
            if path not in found:
                print(f"cpm-port predict: {path}: not taken, its suffix is no image's", file=sys.stderr)
        images += found
    return images


def name_results(images: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Give every image its own stem in `out`; images whose stems coincide get a number, and stderr says so.

    Raises
    ------
    UsageError
        A result would overwrite one of the images.
    """
    stems = {image.stem.casefold() for image in images}
    taken: dict[str, Path] = {}
    targets = []
    for image in images:
        stem, number = image.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in stems):
            number += 1
            stem = f"{image.stem}-{number}"
        if number > 1:
            first = taken[image.stem.casefold()]
            print(f"cpm-port predict: {image}: {first} has its stem; the results are {stem}", file=sys.stderr)
        taken[stem.casefold()] = image
        targets.append((image, out / stem))
    sources = {image.resolve() for image in images}
    for image, stem_path in targets:
        for suffix in SUFFIXES.values():
            result = stem_path.with_name(stem_path.name + suffix)
            if result.resolve() in sources:
                raise UsageError(f"{image}: its result {result} would overwrite an image; choose another --out")
    return targets


def load_model(args: argparse.Namespace) -> tuple[CaffeNet, dict[str, Any]]:
    """Return the net, and what the results say of it: file names and their SHA-256."""
    if args.net is None or args.weights is None:
        raise UsageError("give the model: --net PROTOTXT and --weights MODEL")
    from cpm_port import load_net

    net = load_net(args.net, args.weights, device=checked_device(args.device))
    files = {"net": Path(args.net), "weights": Path(args.weights)}
    return net, {kind: {"file": path.name, "sha256": _sha256(path)} for kind, path in files.items()}


def choose_search(args: argparse.Namespace, image_size: tuple[int, int], box_size: int) -> ScaleSearch:
    """Return where to look and at which scales.

    Without a person given, LSP's rule: the image's centre, and its height as the person's. The demo's range of scales
    goes by the person's height in the image; with `--base-scale` that is the height which LSP's rule gives this scale.
    """
    from cpm_port.imaging import pyramid

    if args.center is not None:
        search = pyramid.ScaleSearch((args.center[0], args.center[1]), args.base_scale)
        height = pyramid.LSP_BOX_SHARE * box_size / pyramid.positive("--base-scale", args.base_scale)
    elif args.box is not None and args.mode == "demo":
        search, height = pyramid.demo_search(image_size, tuple(args.box), box_size), None
    elif args.box is not None:
        search, height = pyramid.box_search(tuple(args.box), box_size), None
    else:
        search, height = pyramid.lsp_search(image_size, box_size), float(image_size[0])
    if args.multipliers is not None:
        multipliers = tuple(pyramid.positive("--multipliers", multiplier) for multiplier in args.multipliers)
        return pyramid.ScaleSearch(search.center_xy, search.base_scale, multipliers)
    if args.mode == "demo" and height is not None:
        return pyramid.ScaleSearch(search.center_xy, 1.0, pyramid.demo_multipliers(image_size[0], height, box_size))
    return search


def predict_file(image_path: Path, stem: Path, net: CaffeNet, model: dict[str, Any], args: argparse.Namespace) -> None:
    """Predict one image and write its results; the JSON comes last, so that where it is, all are."""
    from cpm_port.imaging.reading import read_image
    from cpm_port.inference.interface import read_interface
    from cpm_port.inference.predict import predict_person
    from cpm_port.report.drawing import draw_joints, map_grid, map_window

    image = read_image(image_path)
    size = (image.shape[0], image.shape[1])
    box_size = read_interface(net).box_size
    search = choose_search(args, size, box_size)
    middle_scale = (min(search.scales) * max(search.scales)) ** 0.5
    window = map_window(size, search.center_xy, box_size / middle_scale)
    prediction = predict_person(
        net, image, search.center_xy, search.base_scale, search.multipliers, args.mode, stage_window=window
    )
    order = prediction.part_order
    grid = map_grid(image, window, prediction.stage_maps, order, prediction.peak_limit)
    _write_png(stem, "joints", draw_joints(image, prediction.joints_image, order))
    _write_png(stem, "maps", grid)
    text = json.dumps(result_json(image_path, prediction, model), indent=2, ensure_ascii=False, allow_nan=False)
    _write_bytes(stem.with_name(stem.name + SUFFIXES["json"]), (text + "\n").encode())


def result_json(image_path: Path, prediction: Prediction, model: dict[str, Any]) -> dict[str, Any]:
    """Return what `STEM.json` holds."""
    search = prediction.search
    height, width = prediction.image_size
    joints: Iterable[Any] = zip(prediction.part_order.parts, prediction.joints_image, prediction.scores, strict=True)
    return {
        "image": str(image_path),
        "image_size": {"width": width, "height": height},
        "frame": FRAME,
        "joints": [
            {"name": name, "x": float(xy[0]), "y": float(xy[1]), "score": float(score)} for name, xy, score in joints
        ],
        "score": f"belief map's peak, {'sum' if prediction.mode == 'benchmark' else 'mean'} over the scales",
        "mode": prediction.mode,
        "center": {"x": search.center_xy[0], "y": search.center_xy[1]},
        "base_scale": search.base_scale,
        "multipliers": list(search.multipliers),
        "scales": list(search.scales),
        "box_size": prediction.box_size,
        "part_order": prediction.part_order.name,
        "model": model,
    }


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _write_png(stem: Path, kind: str, picture: Any) -> None:
    import cv2

    done, data = cv2.imencode(".png", picture)
    assert done
    _write_bytes(stem.with_name(stem.name + SUFFIXES[kind]), data.tobytes())


def _write_bytes(path: Path, data: bytes) -> None:
    from cpm_port._atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
