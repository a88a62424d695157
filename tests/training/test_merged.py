"""Normalization merged for bfloat16 training. Oracle: the layers one by one, in float32."""

from __future__ import annotations

import copy

import numpy as np
import torch

from cpm_port.caffe import parse_net
from cpm_port.graph import CaffeNet, load_net
from cpm_port.training.merged import forward_merged

ROUNDING = 1e-5  # float32 sums in another order, on values of about one
NET = """
input: "data" input_shape { dim: 4 dim: 3 dim: 9 dim: 9 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 5 kernel_size: 3
        weight_filler { type: "msra" } } }
layer { name: "norm" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "scale" type: "Scale" bottom: "a" top: "a" scale_param { bias_term: true filler { value: 1.5 } } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "norm2" type: "BatchNorm" bottom: "a" top: "b" }
layer { name: "scale2" type: "Scale" bottom: "b" top: "c" scale_param { bias_term: true } }
layer { name: "sum" type: "Eltwise" bottom: "b" bottom: "c" top: "d" }
"""


def test_outputs_gradients_and_running_sums_are_those_of_the_layers() -> None:
    torch.manual_seed(1)
    plain = load_net(parse_net(NET, phase="TRAIN"))
    merged = copy.deepcopy(plain)
    data = torch.randn(4, 3, 9, 9)
    outputs = (plain({"data": data}, blobs=["c", "d"]), forward_merged(merged, {"data": data}, ["c", "d"]))
    for blobs in outputs:
        (blobs["c"].square().sum() + blobs["d"].sum()).backward()
    for name in ("c", "d"):
        torch.testing.assert_close(outputs[1][name], outputs[0][name], rtol=ROUNDING, atol=ROUNDING)
    assert_same_state(plain, merged)


def assert_same_state(plain: CaffeNet, merged: CaffeNet) -> None:
    for layer, blobs in plain.params.items():
        for found, expected in zip(merged.params[layer], blobs, strict=True):
            np.testing.assert_allclose(found.detach(), expected.detach(), rtol=ROUNDING, atol=ROUNDING)
            if expected.grad is not None and layer != "conv":  # a bias before a BatchNorm has no gradient but rounding
                assert found.grad is not None
                torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-4)
    weight, other = plain.params["conv"][0].grad, merged.params["conv"][0].grad
    assert weight is not None
    assert other is not None
    torch.testing.assert_close(other, weight, rtol=1e-4, atol=1e-4)


def test_only_a_pair_in_place_is_merged() -> None:
    """`norm2` and `scale2` have tops of their own, and the sum reads what lies between them."""
    net = load_net(parse_net(NET, phase="TRAIN"))
    found = forward_merged(net, {"data": torch.randn(4, 3, 9, 9)}, ["b", "c"])
    scale, shift = (blob.detach() for blob in net.params["scale2"])
    expected = found["b"] * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    torch.testing.assert_close(found["c"], expected, rtol=ROUNDING, atol=ROUNDING)
