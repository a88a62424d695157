"""The options that say which model: `--model NAME`, or `--net` and `--weights`; alike in every verb that runs one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpm_port.zoo import Choice

__all__ = ["add_model", "chosen_model"]


def add_model(parser: argparse._ActionsContainer) -> None:
    """Declare `--model`, `--net` and `--weights`."""
    parser.add_argument(
        "--model", metavar="NAME", help="one of `cpm-port models`; without it and the next two, the default model"
    )
    parser.add_argument("--net", metavar="PROTOTXT", help="a deploy net of your own, with --weights")
    parser.add_argument("--weights", metavar="MODEL", help=".caffemodel, .h5 or .safetensors, with --net")


def chosen_model(args: argparse.Namespace) -> Choice:
    """Return the files of the model that the options say; errors as of `cpm_port.zoo.resolve`."""
    from cpm_port.zoo import resolve

    return resolve(args.model, args.net, args.weights)
