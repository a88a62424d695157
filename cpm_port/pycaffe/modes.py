"""What a pycaffe script sets for the whole process: CPU or GPU, the random seed, and logging."""

from __future__ import annotations

import logging
import warnings

import torch

from cpm_port.compute.devices import checked_device

__all__ = [
    "current_device",
    "current_seed",
    "init_log",
    "log",
    "set_device",
    "set_logging_disabled",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_random_seed",
    "warn",
]

_log = logging.getLogger("caffe")
_gpu = False
_number = 0
_seed: int | None = None


def set_mode_cpu() -> None:
    """Let nets that are made from now on compute on the CPU, as they do from the start."""
    global _gpu
    _gpu = False


def set_mode_gpu() -> None:
    """Let nets that are made from now on compute on the GPU; warn, and stay on the CPU, where there is none."""
    global _gpu
    if not torch.cuda.is_available():
        warnings.warn("set_mode_gpu: PyTorch finds no GPU here; nets run on the CPU", stacklevel=2)
        return
    _gpu = True


def set_device(number: int) -> None:
    """Choose the GPU by its number."""
    global _number
    _number = int(number)


def current_device() -> torch.device:
    """Return where a net that is made now computes."""
    return torch.device(checked_device(f"cuda:{_number}") if _gpu else "cpu")


def set_random_seed(seed: int) -> None:
    """Seed fillers, Dropout and data layers; the numbers drawn are PyTorch's, not Caffe's."""
    global _seed
    _seed = int(seed)
    torch.manual_seed(_seed)


def current_seed() -> int:
    """Return the seed of data layers that are opened now: 0 where none was set."""
    return max(_seed or 0, 0)


def set_logging_disabled() -> None:
    """Silence the `caffe` logger, through which nets and solvers report."""
    _log.disabled = True


def init_log(level: int = logging.INFO, *more: object) -> None:
    """Show what the `caffe` logger says, on stderr."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO if level < logging.DEBUG else level)  # glog counts levels from 0
    _log.disabled = False


def log(message: str) -> None:
    """Write a line through the `caffe` logger."""
    _log.info("%s", message)


def warn(message: str) -> None:
    """Write a warning through the `caffe` logger, which shows it where nothing else was set."""
    _log.warning("%s", message)
