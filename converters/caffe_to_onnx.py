"""Caffe to ONNX: the net as a graph, batch size left open, checked against onnxruntime as soon as it is written.

Usage: python converters/caffe_to_onnx.py NET.prototxt WEIGHTS.caffemodel OUT.onnx

NET.prototxt is the deploy net. Needs the extra `onnx`: pip install 'cpm_port[onnx]'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port.cli._script import run_script
from cpm_port.export import convert


def caffe_to_onnx(prototxt: Path, weights: Path, target: Path) -> list[str]:
    """Read the weights, put the net around them, write."""
    return convert(weights, target, net=prototxt)


if __name__ == "__main__":
    sys.exit(run_script(caffe_to_onnx, __doc__))
