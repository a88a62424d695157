"""`cpm-port prototxt`: write the deploy, train and solver files of a released CPM, or of one's own variant."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from cpm_port.models.architectures import ARCHITECTURES
    from cpm_port.models.prototxt import SolverSettings, TrainingData

    net = parser.add_argument_group("the net")
    net.add_argument(
        "--arch",
        choices=tuple(ARCHITECTURES),
        default="mpi",
        help="; ".join(f"{name}: {arch.summary}" for name, arch in ARCHITECTURES.items()) + " (default mpi)",
    )
    net.add_argument("--stages", type=int, metavar="T", help="number of stages, where another is wanted")
    net.add_argument("--parts", type=int, metavar="P", help="number of parts, where another is wanted")
    net.add_argument("--width", type=int, metavar="W", help="no hidden convolution has more channels than this")
    net.add_argument(
        "--front-share", type=float, metavar="S", help="a VGG front has this share of its channels (0.25: a quarter)"
    )
    net.add_argument(
        "--box-size", type=int, nargs="+", metavar="N", help="the input's height and width, or one number for both"
    )
    data, default = parser.add_argument_group("the training data"), TrainingData()
    data.add_argument(
        "--source", default=default.source, help="the LMDB, as the solver will find it (default %(default)s)"
    )
    data.add_argument("--batch-size", type=int, default=default.batch_size, help="default %(default)s")
    data.add_argument("--target-dist", type=float, help="size of a person in 200 box pixels (default 1.171 at box 368)")
    data.add_argument(
        "--scale", type=float, nargs=2, metavar=("MIN", "MAX"), default=(default.scale_min, default.scale_max)
    )
    data.add_argument("--rotate", type=float, default=default.max_rotate_degree, help="degrees (default %(default)s)")
    data.add_argument(
        "--shift", type=int, default=default.center_perterb_max, help="box px, each way (default %(default)s)"
    )
    solver, values = parser.add_argument_group("the solver"), SolverSettings()
    for name in ("base_lr", "gamma", "stepsize", "max_iter", "display", "snapshot"):
        value = getattr(values, name)
        option = f"--{name.replace('_', '-')}"
        solver.add_argument(option, type=type(value), default=value, help="default %(default)s")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")


def run(args: argparse.Namespace) -> int:
    """Write the three files and print their paths."""
    from cpm_port.errors import UsageError
    from cpm_port.models.architectures import architecture
    from cpm_port.models.prototxt import SolverSettings, TrainingData, write_files

    box = None
    if args.box_size is not None:
        if len(args.box_size) > 2:
            raise UsageError(f"--box-size has {len(args.box_size)} numbers; expected height and width, or one for both")
        box = (args.box_size[0], args.box_size[-1])
    net = architecture(
        args.arch, stages=args.stages, parts=args.parts, width=args.width, front_share=args.front_share, box=box
    )
    low, high = args.scale
    data = TrainingData(args.source, args.batch_size, args.target_dist, low, high, args.rotate, args.shift)
    names = ("base_lr", "gamma", "stepsize", "max_iter", "display", "snapshot")
    solver = SolverSettings(**{name: getattr(args, name) for name in names})
    for path in write_files(net, args.out, data, solver):
        print(path)
    return 0
