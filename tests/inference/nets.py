"""A small net for the tests of prediction: what it believes is known, so its joints can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cpm_port.caffe import parse_net
from cpm_port.graph import CaffeNet, load_net

BOX = 64
COLOURS = 3


def colour_net_text(*, parts: int = COLOURS, channels: int = 4, box: int = BOX) -> str:
    """Return a two-stage net's prototxt: part p believes in colour p's surplus over 8 x 8 px."""
    slice_layer = """
layer { name: "image" type: "Slice" bottom: "data" top: "image" top: "center_map"
        slice_param { axis: 1 slice_point: 3 } }
layer { name: "center" type: "Pooling" bottom: "center_map" top: "center"
        pooling_param { pool: AVE kernel_size: 8 stride: 8 } }
layer { name: "quiet" type: "Silence" bottom: "center" }
"""
    image = "image" if channels == 4 else "data"
    return f"""
name: "colours"
input: "data" input_dim: 1 input_dim: {channels} input_dim: {box} input_dim: {box}
{slice_layer if channels == 4 else ""}
layer {{ name: "pool" type: "Pooling" bottom: "{image}" top: "pool"
         pooling_param {{ pool: AVE kernel_size: 8 stride: 8 }} }}
layer {{ name: "first" type: "Convolution" bottom: "pool" top: "conv_stage1"
         convolution_param {{ num_output: {parts + 1} kernel_size: 1 }} }}
layer {{ name: "second" type: "Convolution" bottom: "conv_stage1" top: "conv_stage2"
         convolution_param {{ num_output: {parts + 1} kernel_size: 1 }} }}
"""


def colour_weights(parts: int = COLOURS) -> dict[str, list[Tensor]]:
    """Return the weights: stage 1 takes a colour less half the others (0 for every grey), stage 2 doubles that."""
    pick = torch.zeros(parts + 1, 3, 1, 1)
    for part in range(min(parts, 3)):
        pick[part] = -0.5
        pick[part, part] = 1.0
    double = 2.0 * torch.eye(parts + 1)[:, :, None, None]
    return {
        "first": [pick, torch.zeros(parts + 1)],
        "second": [double, torch.zeros(parts + 1)],
    }


def colour_net(**options: int) -> CaffeNet:
    """Return the net itself."""
    parts = options.get("parts", COLOURS)
    weights = {name: [blob.numpy() for blob in blobs] for name, blobs in colour_weights(parts).items()}
    return load_net(parse_net(colour_net_text(**options)), weights)


class Spy:
    """A net that notes what it is called with, and may spoil what it returns."""

    def __init__(self, net: CaffeNet, *, spoil: float | None = None) -> None:
        self.net, self.spec, self.spoil = net, net.spec, spoil
        self.calls: list[tuple[tuple[int, ...], list[str]]] = []

    @property
    def blob_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.net.blob_shapes

    def __call__(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        self.calls.append((tuple(next(iter(inputs.values())).shape), list(blobs or ())))
        result = self.net(inputs, blobs)
        if self.spoil is not None:
            for blob in result.values():
                blob[-1, 0, 0, 0] = self.spoil
        return result
