"""`cpm-port test -model M -weights W -iterations N`: score a model on its net's own data layers, as `caffe test` does.

    cpm-port test --model lenet_train_test.prototxt --weights lenet_iter_10000.caffemodel --iterations 100

Every output of every batch, then the means. For poses there is `cpm-port evaluate`.
"""

from __future__ import annotations

import argparse

from cpm_port.cli._caffe import add_model_flags, opened_net

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_flags(parser, weights=True)


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from cpm_port.pycaffe.tool import score
    from cpm_port.training.caffe_log import headed

    score(
        opened_net(args, "TEST", args.weights),
        args.iterations,
        lambda line: print(headed(line) if args.log_format == "caffe" else line),
    )
    return 0
