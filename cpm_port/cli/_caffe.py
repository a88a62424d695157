"""The flags of the program `caffe`, under its names: `--solver S`, `-solver S` and `-solver=S` mean the same."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from cpm_port.cli._models import add_stages, chosen_stages
from cpm_port.errors import UsageError

if TYPE_CHECKING:
    from cpm_port.pycaffe import Net

__all__ = [
    "PYTHON_LAYERS",
    "add_flag",
    "add_model_flags",
    "allow_python_layers",
    "chosen_gpus",
    "opened_net",
]

PYTHON_LAYERS = "let the net import the modules that its Python layers name, as Caffe does; else it runs no code"


def add_flag(parser: argparse._ActionsContainer, name: str, **options: Any) -> None:
    """Declare a flag with two dashes and with one; an underscore may also be a dash."""
    names = [f"--{name}", f"-{name}"]
    if "_" in name:
        names.insert(0, f"--{name.replace('_', '-')}")
    parser.add_argument(*names, dest=name, **options)


def add_model_flags(parser: argparse.ArgumentParser, *, weights: bool) -> None:
    """Declare what `caffe test` and `caffe time` have in common."""
    add_flag(parser, "model", required=True, metavar="M", help="the net's prototxt, with its data layers")
    if weights:
        add_flag(parser, "weights", required=True, metavar="W", help="its .caffemodel, .h5 or .safetensors")
    add_flag(parser, "iterations", type=int, default=50, metavar="N", help="batches (default %(default)s)")
    add_flag(parser, "gpu", default="", metavar="N", help="the GPU's number; without: the CPU")
    add_stages(parser)
    parser.add_argument("--python-layers", action="store_true", help=PYTHON_LAYERS)
    parser.add_argument(
        "--log-format", choices=("plain", "caffe"), default="plain", help="caffe: with the head that glog gives lines"
    )


def opened_net(args: argparse.Namespace, phase: str, weights: str | None) -> Net:
    """Return the net that the flags of `add_model_flags` say, with its data layers open."""
    from cpm_port.pycaffe import Net, modes
    from cpm_port.pycaffe.net import TEST, TRAIN

    if args.python_layers:
        allow_python_layers()
    gpus = chosen_gpus(args.gpu)
    if gpus:
        modes.set_device(gpus[0])
        modes.set_mode_gpu()
    return Net(
        args.model,
        TRAIN if phase == "TRAIN" else TEST,
        weights=weights,
        level=args.level,
        stages=chosen_stages(args),
    )


def chosen_gpus(text: str) -> list[int]:
    """Return the numbers that `--gpu` names, "all" being every GPU that is here.

    Raises
    ------
    UsageError
        Words that are no numbers, or GPUs that are not here.
    """
    if not text:
        return []
    import torch

    count = torch.cuda.device_count()
    words = [str(number) for number in range(count)] if text == "all" else text.split(",")
    if not all(word.strip().isdecimal() for word in words) or not words:
        raise UsageError(f"--gpu {text}: expected numbers with commas between them, or all; {count} GPUs are here")
    numbers = [int(word) for word in words]
    absent = [number for number in numbers if number >= count]
    if absent or len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpu {text}: {count} GPUs are here; without --gpu the CPU computes, or --device says where")
    return numbers


def allow_python_layers() -> None:
    """Let nets run the Python layers that they name, from the working directory too, and those say `import caffe`."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    from cpm_port.pycaffe import install

    install(allow_python_layers=True)
