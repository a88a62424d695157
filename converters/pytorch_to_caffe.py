"""PyTorch to Caffe: write the weights of a net that was trained or changed here as Caffe and OpenCV read them.

Usage: python converters/pytorch_to_caffe.py NET.prototxt WEIGHTS.safetensors OUT.caffemodel

WEIGHTS.safetensors is what `net.save("WEIGHTS.safetensors")` wrote. A pickled checkpoint (.pth) is not read, as reading
one runs code from it: load it into the net where you trust it, and save that.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port import load_net
from cpm_port.cli._script import run_script


def pytorch_to_caffe(prototxt: Path, weights: Path, target: Path) -> list[str]:
    """Load the net, weights and all, and save it."""
    net = load_net(prototxt, weights)
    net.save(target)
    return [f"{target}: {len(net.state_dict())} parameters of {len(net.layers)} layers"]


if __name__ == "__main__":
    sys.exit(run_script(pytorch_to_caffe, __doc__))
