"""`cpm-port convert SRC DST`, or `--model NAME DST`: change a model's file format, by suffix.

An ONNX file of a pose net says in its metadata how its input is prepared and what its maps are
(`cpm_port.inference.interface.described`).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from cpm_port.cli._models import add_state, chosen_state
from cpm_port.errors import UsageError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="SRC DST: .caffemodel, .caffemodel.h5 or .safetensors, and one of these or .onnx; with --model: DST",
    )
    parser.add_argument("--model", metavar="NAME", help="one of `cpm-port models` instead of SRC, with its net")
    parser.add_argument(
        "--net",
        type=Path,
        metavar="PROTOTXT",
        help="the net, where the source holds none (.h5), or another one is wanted (a training model to .onnx)",
    )
    add_state(parser)


def run(args: argparse.Namespace) -> int:
    """Convert and print what was done."""
    from cpm_port.export import convert

    files, net, sigma, order = args.files, args.net, None, None
    if args.model is not None:
        from cpm_port.zoo import resolve

        choice = resolve(args.model)
        files, net = [choice.weights, *files], net or choice.net
        sigma, order = None if choice.entry is None else choice.entry.center_sigma, choice.part_order
    if len(files) != 2:
        raise UsageError(f"{' '.join(map(str, args.files))}: expected SRC DST, or --model NAME DST")
    source, target = files
    describe = None
    if target.suffix.lower() == ".onnx":
        from cpm_port.inference.interface import described

        describe = partial(described, sigma=sigma, part_order=order)
    for line in convert(source, target, net, chosen_state(args), describe):
        print(line)
    return 0
