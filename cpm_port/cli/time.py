"""`cpm-port time -model M -iterations N`: the milliseconds that every layer takes, as `caffe time` says them.

    cpm-port time --model lenet_train_test.prototxt --iterations 10

Forward and backward, layer by layer, on one batch after the other of the net's own data layers; a net without them is
fed zeros. For speed beside other programs there is `cpm-port bench`.
"""

from __future__ import annotations

import argparse

from cpm_port.cli._caffe import add_flag, add_model_flags, opened_net

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_flags(parser, weights=False)
    add_flag(
        parser, "phase", choices=("TRAIN", "TEST"), default="TRAIN", help="which layers count (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Time and print."""
    from cpm_port.pycaffe.tool import time_layers
    from cpm_port.training.caffe_log import headed

    time_layers(
        opened_net(args, args.phase, None),
        args.iterations,
        lambda line: print(headed(line) if args.log_format == "caffe" else line),
    )
    return 0
