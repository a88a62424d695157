"""A net that was trained or changed here to ONNX, checked against onnxruntime as soon as it is written.

Usage: python converters/pytorch_to_onnx.py NET.prototxt WEIGHTS.safetensors OUT.onnx

WEIGHTS.safetensors is what `net.save` wrote, NET.prototxt the deploy net. Needs the extra `onnx`:
pip install 'cpm_port[onnx]'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port.cli._script import run_script
from cpm_port.export import convert


def pytorch_to_onnx(prototxt: Path, weights: Path, target: Path) -> list[str]:
    """Read the weights, put the net around them, write."""
    return convert(weights, target, net=prototxt)


if __name__ == "__main__":
    sys.exit(run_script(pytorch_to_onnx, __doc__))
