"""`cpm-port inspect FILE`: what a Caffe file holds and what it costs to run."""

from __future__ import annotations

import argparse
import json
import re

from cpm_port.cli._models import add_state, chosen_state
from cpm_port.errors import UsageError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from cpm_port.caffe.schema import DIALECTS

    kinds = ".prototxt, .caffemodel, .h5, .safetensors, .solverstate or .binaryproto"
    parser.add_argument("file", help=kinds)
    add_state(parser)
    parser.add_argument("--dialect", choices=DIALECTS, help="the schema, where its content misleads")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=NxCxHxW",
        help="an input's shape, where the file lacks it or another is wanted; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from cpm_port.report.inspect import inspect_file
    from cpm_port.report.inspect_text import inspect_text

    shapes = dict(_shape(text) for text in args.input)
    report = inspect_file(args.file, state=chosen_state(args), dialect=args.dialect, input_shapes=shapes)
    print(json.dumps(report, indent=2) if args.json else inspect_text(report))
    return 0


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"(.+)=(\d+(?:[x,]\d+)*)", text)
    if match is None:
        raise UsageError(f"--input {text!r}; expected NAME=NxCxHxW, for instance data=1x4x368x368")
    return match[1], tuple(int(dim) for dim in re.split("[x,]", match[2]))
