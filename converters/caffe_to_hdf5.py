"""Caffe's binary weights to its HDF5 weights: arrays under layer names, without the net.

Usage: python converters/caffe_to_hdf5.py MODEL.caffemodel OUT.h5

Caffe takes a file for HDF5 where its name ends in `.h5`.
"""

from __future__ import annotations

import sys

from cpm_port.cli._script import run_script
from cpm_port.export import convert

if __name__ == "__main__":
    sys.exit(run_script(convert, __doc__))
