"""Run one of the scripts in the folder `converters/`: its usage line says what arguments it takes.

A line such as `Usage: python converters/caffe_to_onnx.py NET.prototxt WEIGHTS.caffemodel OUT.onnx` declares three
paths. A path's suffix must be the declared one, so that a script converts in its own direction only; a prototxt may
have any.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cpm_port.errors import CpmPortError

__all__ = ["run_script"]


def run_script(
    convert: Callable[..., Sequence[str]], description: str | None, arguments: Sequence[str] | None = None
) -> int:
    """Call `convert` with the paths of the command line, print the lines it returns; return the exit code.

    Parameters
    ----------
    convert : callable
        Takes one path per word of the usage line.
    description : str
        The script's docstring; one of its lines begins with "Usage: python ".
    arguments : sequence of str, optional
        Without: the process's own.

    Returns
    -------
    int
        0 done, 2 bad input (as of `cpm-port`).
    """
    lines = (description or "").splitlines()
    (usage,) = (line.removeprefix("Usage: ") for line in lines if line.startswith("Usage: python "))
    _, script, *declared = usage.split()
    parser = argparse.ArgumentParser(script, usage, description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for word in declared:
        parser.add_argument(word, type=partial(_path, Path(word).suffix))
    paths = vars(parser.parse_args(arguments)).values()
    try:
        print("\n".join(convert(*paths)))
    except (CpmPortError, OSError) as error:
        parser.exit(2, f"{script}: {error}\n")
    return 0


def _path(suffix: str, text: str) -> Path:
    if suffix != ".prototxt" and not text.lower().endswith(suffix):
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in {suffix}")
    return Path(text)
