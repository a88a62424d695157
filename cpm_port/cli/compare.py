"""`cpm-port compare [--net P --weights M] --reference NPZ`: where a net leaves its reference; then exit code 1."""

from __future__ import annotations

import argparse

from cpm_port.cli._devices import add_device
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import UsageError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("--reference", required=True, metavar="NPZ", help="arrays by blob name, from any framework")
    parser.add_argument("--input", metavar="NPZ", help="the inputs, where the reference does not hold them")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-5,
        help="largest difference allowed, relative to a blob's largest value (default 1e-5)",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table; return 1 where a blob differs."""
    from cpm_port.compute.devices import checked_device
    from cpm_port.graph import load_net
    from cpm_port.report.compare import compare, compare_text, read_arrays

    if not args.tolerance >= 0:
        raise UsageError(f"--tolerance {args.tolerance}; expected 0 or more")
    files = chosen_model(args)
    net = load_net(files.net, files.weights, device=checked_device(args.device), **files.state._asdict())
    reference = read_arrays(args.reference)
    inputs = read_arrays(args.input) if args.input else reference
    comparison = compare(net, reference, inputs, tolerance=args.tolerance, source=args.input or args.reference)
    print(compare_text(comparison))
    return 0 if comparison.first is None else 1
