"""`cpm-port batches --net P [--srand S] [--count N] --out F.npz [--pictures DIR]`: a net's data layers alone.

`F.npz` holds the data layers' tops (`data`, `label`), batch after batch along the first axis, and `names`: the
samples, row by row. With `--srand S` the CPM data layer draws as the authors' fork does after `srand(S)`; 1 is a fork
that nobody seeded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--net", required=True, metavar="PROTOTXT", help="a train (or test) net with data layers")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TRAIN", help="default %(default)s")
    draws = parser.add_mutually_exclusive_group()
    draws.add_argument("--srand", type=int, metavar="S", help="replay the fork's C random sequence after srand(S)")
    draws.add_argument("--seed", type=int, metavar="S", help="seed of our own generator (default 0)")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="batches (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="threads (default %(default)s)")
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (default: the working directory)")
    parser.add_argument("--out", required=True, metavar="NPZ", help="where the blobs go")
    parser.add_argument("--pictures", metavar="DIR", help="also draw every example, its label maps laid over it")


def run(args: argparse.Namespace) -> int:
    """Write the blobs and the pictures, and print what there is."""
    import numpy as np

    from cpm_port.caffe import read_net
    from cpm_port.errors import UsageError
    from cpm_port.files.atomic import atomic_path
    from cpm_port.training.batches import open_data_layers

    if args.count < 1:
        raise UsageError(f"--count {args.count}: 1 or more expected")
    spec = read_net(args.net, phase=args.phase)
    with open_data_layers(
        spec, phase=args.phase, seed=args.seed, srand=args.srand, num_workers=args.workers, root=args.root
    ) as source:
        if args.pictures is not None and {"data", "label"} - set(source.shapes):
            raise UsageError(f"--pictures: tops data and label expected, the net has {', '.join(source.shapes)}")
        batches, names = [], []
        for number in range(args.count):
            batches.append(source.next_batch())
            found = source.describe_last()
            names += found
            if args.pictures is not None:
                _draw(Path(args.pictures), number, batches[-1]["data"], batches[-1]["label"], found)
    blobs = {top: np.concatenate([batch[top] for batch in batches]) for top in batches[0]}
    with atomic_path(args.out) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(names), **blobs)  # type: ignore[arg-type]
    for top, blob in blobs.items():
        low, high = blob.min(), blob.max()
        print(f"{top}: {'x'.join(map(str, blob.shape))}, {low:.4g} to {high:.4g}, mean {blob.mean(dtype=float):.4g}")
    return 0


def _draw(folder: Path, number: int, data: object, label: object, names: list[str]) -> None:
    import cv2

    from cpm_port.files.atomic import atomic_path
    from cpm_port.report.batch_pictures import example_picture

    for row, (crop, maps, name) in enumerate(zip(data, label, names, strict=True)):  # type: ignore[call-overload]
        with atomic_path(folder / f"batch{number:03d}_row{row:02d}.png") as temporary:
            cv2.imwrite(str(temporary), example_picture(crop, maps, Path(name).name))
