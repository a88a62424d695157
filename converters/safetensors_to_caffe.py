"""Safetensors to Caffe: the way back of `caffe_to_safetensors.py`, byte for byte.

Usage: python converters/safetensors_to_caffe.py MODEL.safetensors OUT.caffemodel

The net comes from the file's metadata.
"""

from __future__ import annotations

import sys

from cpm_port.cli._script import run_script
from cpm_port.export import convert

if __name__ == "__main__":
    sys.exit(run_script(convert, __doc__))
