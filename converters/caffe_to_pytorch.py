"""Caffe to PyTorch: build the net, check that the weights fit it, and save it as a state dict.

Usage: python converters/caffe_to_pytorch.py NET.prototxt WEIGHTS.caffemodel OUT.safetensors

`cpm_port.load_net("NET.prototxt", "OUT.safetensors")` gives the `nn.Module` back. Its parameters have the names
`<layer>.<index>`: `conv1_stage1.0` holds the weights of Caffe's layer `conv1_stage1`, `conv1_stage1.1` its bias.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cpm_port import load_net
from cpm_port.cli._script import run_script


def caffe_to_pytorch(prototxt: Path, weights: Path, target: Path) -> list[str]:
    """Load the net, weights and all, and save it."""
    net = load_net(prototxt, weights)
    net.save(target)
    return [f"{target}: {len(net.state_dict())} parameters of {len(net.layers)} layers"]


if __name__ == "__main__":
    sys.exit(run_script(caffe_to_pytorch, __doc__))
