"""Caffe to safetensors: the arrays bit for bit, the net's prototxt in the metadata.

Usage: python converters/caffe_to_safetensors.py MODEL.caffemodel OUT.safetensors

No net is built, so it needs no PyTorch, and layers that this package cannot run pass too.
"""

from __future__ import annotations

import sys

from cpm_port.cli._script import run_script
from cpm_port.export import convert

if __name__ == "__main__":
    sys.exit(run_script(convert, __doc__))
