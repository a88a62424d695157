"""`cpm-port convert SRC DST`: change a model's file format, by suffix."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_port.cli._models import add_state, chosen_state

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, help=".caffemodel, .caffemodel.h5 or .safetensors")
    parser.add_argument("target", type=Path, help="one of these, or .onnx")
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

    for line in convert(args.source, args.target, args.net, chosen_state(args)):
        print(line)
    return 0
