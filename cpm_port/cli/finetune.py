"""`cpm-port finetune --data own.json --out DIR`: a model for parts of one's own, from a trained one.

    cpm-port finetune --data own.json --out horses
    cpm-port finetune --data own.json --from mpii-lsp-6s --out horses
    cpm-port finetune --data more.json --from horses --out horses2      more data later

The folder is a model that `--model DIR` takes; it says what was done. The same command again goes on where an
interrupted run stopped (exit code 3). Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

__all__ = ["STOPPED", "configure", "run"]

STOPPED = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="F.json", help="annotations that name their parts: `records json`"
    )
    parser.add_argument(
        "--from", dest="start", default="default", metavar="MODEL", help="a model's name or folder (default: default)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder")
    recipe = parser.add_argument_group("the recipe")
    for name, kind, meaning in (
        ("iterations", int, "at most so many (default 2000)"),
        ("batch-size", int, "people in each (default 8)"),
        ("rate", float, "the highest; a run that it breaks starts again at a quarter of it (default 0.0005)"),
        ("validate-interval", int, "iterations between measurements of the people held out (default 100)"),
        ("patience", int, "measurements without a better one after which the run ends (default 6)"),
        ("box", int, "side of the net's input, px, a multiple of 16 (default: as the model that it starts from)"),
        ("rotate", float, "degrees, each way (default 40)"),
        ("seed", int, "of what is drawn by chance (default 0)"),
    ):
        recipe.add_argument(f"--{name}", type=kind, metavar="N", help=meaning)
    recipe.add_argument("--no-flip", action="store_true", help="mirror no examples")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--no-onnx", action="store_true", help="write no model.onnx")


def run(args: argparse.Namespace) -> int:
    """Train and say what came of it; return 0, or 3 where a signal stopped the run."""
    from cpm_port.training.recipe import Recipe, finetune
    from cpm_port.training.validation import parts_line

    names = ("iterations", "batch_size", "rate", "validate_interval", "patience", "box", "rotate", "seed")
    chosen = {name: value for name in names if (value := getattr(args, name)) is not None}
    recipe = Recipe(**chosen, flip=not args.no_flip)
    found = finetune(args.data, args.out, args.start, recipe, device=args.device, console=sys.stderr)
    if not found.finished:
        print(f"stopped: {found.folder}; the same command goes on")
        return STOPPED
    measured = found.record["validation"]
    print(
        f"{measured['protocol']}, threshold {measured['threshold']}: {measured['before']:.1f} % before, "
        f"{measured['percent']:.1f} % after {found.record['best_iteration']} iterations, of {measured['people']} "
        "people held out"
    )
    print(f"  {parts_line(measured['parts'])}")
    print("this follows the training; the number to quote is another measure, that of `cpm-port evaluate`")
    print("(docs/how-to/finetune.md, Use it)")
    if found.record["best_iteration"] == 0:
        print("no measurement was better than the first, so the weights are those that the training began with;")
        print("longer training may help, or a look at labels.png (docs/how-to/finetune.md, If it does not work)")
    if not args.no_onnx:
        _write_onnx(found.folder)
    print(f"{found.folder}: look at found.png and curves.svg")
    print(f"to find the parts in a picture: cpm-port predict PHOTO.jpg --model {found.folder}")
    return 0


def _write_onnx(folder: Path) -> None:
    """Write the model as ONNX, or say why not."""
    from cpm_port.errors import MissingDependencyError
    from cpm_port.export import convert
    from cpm_port.inference.interface import described
    from cpm_port.zoo import read_own_model

    model = read_own_model(folder)
    describe = partial(described, sigma=model.center_sigma, part_order=model.order)
    try:
        for line in convert(folder / model.weights, folder / "model.onnx", folder / model.net, describe=describe):
            print(line)
    except MissingDependencyError as error:
        print(f"no model.onnx: {error}")
