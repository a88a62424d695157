"""The option `--device`, the same for every verb that runs a net."""

from __future__ import annotations

import argparse

from cpm_port.errors import UsageError

__all__ = ["add_device", "checked_device"]


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare `--device`."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")


def checked_device(name: str) -> str:
    """Return the name of a device that is there; on a GPU, convolutions keep float32's precision from here on.

    PyTorch lets convolutions round their inputs to TF32's 10 bits by default, an error of 1e-3 where Caffe has none.

    Raises
    ------
    UsageError
        No such kind of device, or none here with that number.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name}: {reason}; {torch.cuda.device_count()} CUDA devices are here") from None
    torch.backends.cudnn.allow_tf32 = False
    return name
