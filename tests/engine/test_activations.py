"""Claim: the net says how much memory its blobs take at once, so that passes stay within a bound.

Oracles: sums worked out by hand on small nets and on the official one; what a device says is free, made up.
"""

from __future__ import annotations

import pytest
import torch

from cpm_port.caffe import infer_shapes, parse_net, read_net
from cpm_port.engine.activations import ACTIVATION_BOUND, activation_bound, bytes_per_image, images_within
from cpm_port.resources import resource_dir

NET = """
input: "data" input_dim: {batch} input_dim: 2 input_dim: 8 input_dim: 8
layer {{ name: "a" type: "Convolution" bottom: "data" top: "a"
        convolution_param {{ num_output: 10 kernel_size: 1 }} }}
layer {{ name: "relu" type: "ReLU" bottom: "a" top: "a" }}
layer {{ name: "p" type: "Pooling" bottom: "a" top: "p" pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "b" type: "Convolution" bottom: "p" top: "b" convolution_param {{ num_output: 3 kernel_size: 1 }} }}
"""


@pytest.mark.parametrize("batch", [1, 4])
def test_the_largest_sum_of_blobs_alive_at_once_counts(batch: int) -> None:
    spec = parse_net(NET.format(batch=batch))
    shapes = infer_shapes(spec)
    a, p, b, data = 10 * 64, 10 * 16, 3 * 16, 2 * 64
    # data is read by `a` only; the in-place ReLU holds a twice
    assert bytes_per_image(spec, shapes) == 4 * max(data + a, a + a, a + p, p + b)
    assert bytes_per_image(spec, shapes, ["data"]) == 4 * (data + a + a)
    assert bytes_per_image(spec, shapes, itemsize=2) == 2 * (a + a)


def test_an_input_layer_takes_its_blob_once() -> None:
    text = NET.format(batch=1).split("\n", 2)[2]
    source = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 8 dim: 8 } } }\n'
    spec = parse_net(source + text)
    assert bytes_per_image(spec, infer_shapes(spec)) == 4 * 2 * 640


def test_seven_scales_of_the_official_net_go_through_at_once() -> None:
    spec = read_net(resource_dir("prototxt") / "mpi_deploy.prototxt")
    shapes = infer_shapes(spec)
    center_map = 46 * 46  # pooled early, read late
    conv1 = 128 * 368 * 368  # twice, for the ReLU
    per_image = bytes_per_image(spec, shapes)
    assert 4 * (2 * conv1 + center_map) <= per_image <= 4 * (2 * conv1 + 4 * 368 * 368 + center_map)
    assert images_within(ACTIVATION_BOUND, spec, shapes) == 7


def test_at_least_one_image_goes_through() -> None:
    spec = parse_net(NET.format(batch=1))
    shapes = infer_shapes(spec)
    per_image = bytes_per_image(spec, shapes)
    assert [images_within(bound, spec, shapes) for bound in (0, per_image, 2 * per_image - 1, 2 * per_image)] == [
        1,
        1,
        1,
        2,
    ]


def test_a_gpu_gets_half_of_what_is_free_there() -> None:
    assert activation_bound(torch.device("cpu")) == ACTIVATION_BOUND
    asked = []

    def free_memory(device: torch.device) -> int:
        asked.append(device)
        return 8 << 30

    gpu = torch.device("cuda:1")
    assert activation_bound(gpu, free_memory) == 4 << 30
    assert asked == [gpu]
