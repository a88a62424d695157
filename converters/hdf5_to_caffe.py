"""Caffe's HDF5 weights to its binary model, which holds the net too.

Usage: python converters/hdf5_to_caffe.py NET.prototxt WEIGHTS.h5 OUT.caffemodel

Layers of the weights that the net lacks are left out, and said so.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port.cli._script import run_script
from cpm_port.export import convert


def hdf5_to_caffe(prototxt: Path, weights: Path, target: Path) -> list[str]:
    """Read the weights, put the net around them, write."""
    return convert(weights, target, net=prototxt)


if __name__ == "__main__":
    sys.exit(run_script(hdf5_to_caffe, __doc__))
