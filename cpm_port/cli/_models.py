"""The options that say which model: `--model NAME`, or `--net` and `--weights`, and which layers of that net; alike in
every verb that runs or reads one.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpm_port.caffe import NetState
    from cpm_port.zoo import Choice

__all__ = ["add_model", "add_stages", "add_state", "chosen_model", "chosen_stages", "chosen_state"]


def add_model(parser: argparse._ActionsContainer) -> None:
    """Declare `--model`, `--net` and `--weights`, and the options of `add_state`."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="one of `cpm-port models`, or a folder that `finetune` wrote; without it and the next two, the default "
        "model",
    )
    parser.add_argument("--net", metavar="PROTOTXT", help="a deploy net of your own, with --weights")
    parser.add_argument("--weights", metavar="MODEL", help=".caffemodel, .h5 or .safetensors, with --net")
    add_state(parser)


def add_state(parser: argparse._ActionsContainer, phase: str = "TEST") -> None:
    """Declare `--phase`, `--level` and `--stage`: which layers of a prototxt count."""
    parser.add_argument(
        "--phase", choices=("TEST", "TRAIN"), default=phase, help="which layers of the prototxt count (%(default)s)"
    )
    add_stages(parser)


def add_stages(parser: argparse._ActionsContainer) -> None:
    """Declare `--level` and `--stage`, for a verb that sets the phase itself; with one dash too, as Caffe has them."""
    parser.add_argument(
        "--level",
        "-level",
        type=int,
        default=0,
        metavar="N",
        help="the net's level, where its layers ask for one (default 0)",
    )
    parser.add_argument(
        "--stage",
        "-stage",
        action="append",
        default=[],
        metavar="S[,S]",
        help="the net's stages, where its layers ask for some: deploy, val, ...; repeatable",
    )


def chosen_model(args: argparse.Namespace, default: str | None = None) -> Choice:
    """Return the files of the model that the options say, or of `default`; errors as of `cpm_port.zoo.resolve`."""
    from cpm_port.zoo import resolve

    said = {args.model, args.net, args.weights} != {None}
    return resolve(args.model if said else default, args.net, args.weights, chosen_state(args))


def chosen_state(args: argparse.Namespace) -> NetState:
    """Return what the options of `add_state` say."""
    from cpm_port.caffe import NetState

    return NetState(args.phase, args.level, chosen_stages(args))


def chosen_stages(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the stages that `--stage` names."""
    return tuple(stage for given in args.stage for stage in given.split(",") if stage)
