"""`cpm-port batches --net P [--srand S] [--count N] --out F.npz [--pictures DIR]`: a net's data layers alone.

`F.npz` holds the data layers' tops (`data`, `label`), batch after batch along the first axis, and `names`: the
samples, row by row. With `--srand S` the CPM data layer draws as the authors' fork does after `srand(S)`; 1 is the
fork without a seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_port.cli._models import add_state, chosen_state
from cpm_port.errors import UsageError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--net", required=True, metavar="PROTOTXT", help="a train (or test) net with data layers")
    add_state(parser, "TRAIN")
    draws = parser.add_mutually_exclusive_group()
    draws.add_argument("--srand", type=int, metavar="S", help="replay the fork's C random sequence after srand(S)")
    draws.add_argument("--seed", type=int, metavar="S", help="seed of our own generator (default 0)")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="batches (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="threads (default %(default)s)")
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (default: the working directory)")
    parser.add_argument("--out", required=True, metavar="NPZ", help="where the blobs go")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="also draw every example, its label maps laid over it"
    )


def run(args: argparse.Namespace) -> int:
    """Write the blobs and the pictures, and print what there is."""
    from cpm_port.caffe import read_net
    from cpm_port.training.batch_files import write_batches
    from cpm_port.training.batches import open_data_layers

    spec = read_net(args.net, **chosen_state(args)._asdict())
    sources = {layer.type for layer in spec.layers if not layer.bottoms}
    if sources == {"Input"}:
        raise UsageError(
            f"{args.net}: a deploy net: it declares its inputs ({', '.join(spec.inputs)}) and has no data layer that "
            "reads anything"
        )
    with open_data_layers(
        spec, phase=args.phase, seed=args.seed, srand=args.srand, num_workers=args.workers, root=args.root
    ) as source:
        blobs = write_batches(source, args.count, args.out, args.pictures)
    for top, blob in blobs.items():
        low, high = blob.min(), blob.max()
        print(f"{top}: {'x'.join(map(str, blob.shape))}, {low:.4g} to {high:.4g}, mean {blob.mean(dtype=float):.4g}")
    return 0
