"""`cpm-port forward [--net P --weights M] --input in.npz --output out.npz`: run a net on arrays."""

from __future__ import annotations

import argparse

from cpm_port.cli._devices import add_device
from cpm_port.cli._models import add_model, chosen_model

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("--input", required=True, metavar="NPZ", help="arrays by input name, in any batch and size")
    parser.add_argument("--output", required=True, metavar="NPZ", help="where the net's outputs go, by blob name")
    parser.add_argument("--blobs", nargs="+", default=[], metavar="BLOB", help="further blobs to write")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Write the outputs and print their shapes."""
    import numpy as np

    from cpm_port.compute.devices import checked_device
    from cpm_port.files.atomic import atomic_path
    from cpm_port.graph import load_net
    from cpm_port.report.compare import forward_arrays, read_arrays

    files = chosen_model(args)
    net = load_net(files.net, files.weights, device=checked_device(args.device), **files.state._asdict())
    found = forward_arrays(net, read_arrays(args.input), args.blobs, args.input)
    with atomic_path(args.output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    for name, blob in found.items():
        print(f"{name}: {'x'.join(map(str, blob.shape)) or 'one value'}")
    return 0
