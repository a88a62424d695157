"""What the pycaffe tests share: a small net with a loss, and a place to write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import cpm_port.pycaffe as caffe

__all__ = ["CLASSES", "SMALL_NET", "small_net", "write"]

CLASSES = 13
SMALL_NET = """name: "small" force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 5 dim: 2 dim: 3 dim: 4 } shape { dim: 5 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { decay_mult: 1 } param { decay_mult: 0 }
  convolution_param { num_output: 11 kernel_size: 2 pad: 3 weight_filler { type: "gaussian" std: 1 }
    bias_filler { type: "constant" value: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 13 weight_filler { type: "gaussian" std: 2.5 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write(folder: Path, text: str, name: str = "net.prototxt") -> str:
    """Write a file; return its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def small_net(folder: Path, phase: int = caffe.TRAIN) -> caffe.Net:
    """Return the small net, with labels."""
    net = caffe.Net(write(folder, SMALL_NET), phase)
    label = net.blobs["label"]
    label.data[...] = np.random.RandomState(0).randint(CLASSES, size=label.shape)
    return net
