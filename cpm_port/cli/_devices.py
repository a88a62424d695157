"""The options of every verb that runs a net: `--device`; and for prediction also how the net is made fast."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cpm_port.errors import UsageError

if TYPE_CHECKING:
    from cpm_port.inference.model import Engine

__all__ = ["add_device", "add_engine", "chosen_engine"]


def add_device(parser: argparse._ActionsContainer) -> None:
    """Declare `--device`."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Declare `--device` and the options that `chosen_engine` reads."""
    group = parser.add_argument_group("how the net runs")
    add_device(group)
    group.add_argument(
        "--precision",
        choices=("float32", "tf32", "bf16"),
        default="float32",
        help="the net's arithmetic (default %(default)s, as Caffe's); tf32, on GPUs only, and bf16 are coarser and "
        "faster; on a CPU, bf16 is faster for nets of small kernels only, like the default model, and only if the CPU "
        "has instructions for it (AVX512-BF16, AMX): else many times slower (`cpm-port bench precision` measures it)",
    )
    group.add_argument(
        "--flip", action="store_true", help="look at the mirror image too and average, which takes twice the time"
    )
    group.add_argument(
        "--memory-bound",
        type=int,
        metavar="MIB",
        help="on a CPU: what transformed weights and spectra may take (default 1792); less is slower, 0 runs every "
        "convolution directly",
    )
    group.add_argument(
        "--plan",
        choices=("model", "measure"),
        help="on a CPU: choose each layer's way by a cost model, alike everywhere (default), or by times measured once "
        "on this machine and kept in the user's cache folder",
    )


def chosen_engine(args: argparse.Namespace) -> Engine:
    """Return how the net runs, as the options of `add_engine` say."""
    from cpm_port.inference.model import Engine

    if args.memory_bound is not None and args.memory_bound < 0:
        raise UsageError(f"--memory-bound {args.memory_bound}: expected 0 or more")
    bound = None if args.memory_bound is None else args.memory_bound << 20
    return Engine(args.device, args.precision, bound, args.plan, args.flip)
