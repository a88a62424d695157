"""Receptive fields: oracle, which input pixels really reach an output, by gradient; and the paper's figures.

A maximum passes its gradient to one pixel only, so the oracle's nets average instead: the windows are the same.
"""

from __future__ import annotations

import pytest
import torch

import cpm_port
from cpm_port.caffe import parse_net
from cpm_port.caffe.shapes import infer_shapes
from cpm_port.models import architecture, deploy_text
from cpm_port.report.receptive import WHOLE, receptive_fields


def seen_by_gradient(text: str, blob: str, size: int) -> list[int]:
    """Return over how many rows and columns of the input there is an influence on the middle of a blob."""
    net = cpm_port.load_net(parse_net(text))
    with torch.no_grad():
        for blobs in net.params.values():
            for parameter in blobs:
                parameter.fill_(0.01)  # positive throughout, so that no ReLU closes
    ((name, shape),) = net.inputs.items()
    data = torch.ones((1, shape[1], size, size), dtype=torch.float64, requires_grad=True)
    maps = net.double()({name: data}, blobs=[blob])[blob]
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    image = data.grad[0, :3].abs().sum(0) > 0
    seen = [image.any(axis).nonzero() for axis in (1, 0)]
    return [int(indices.max() - indices.min()) + 1 for indices in seen]


def fields_of(text: str, blob: str, **options: bool) -> list[int]:
    net = parse_net(text)
    shapes = infer_shapes(net)
    return [field.size for field in receptive_fields(net, shapes, net.inputs, **options)[blob]]


@pytest.mark.parametrize(
    ("arch", "blob", "size"),
    [("mpi", "conv7_stage1", 208), ("mpi", "Mconv5_stage2", 448), ("person", "conv6_2_CPM", 208)],
)
def test_the_field_is_what_reaches_the_output(arch: str, blob: str, size: int) -> None:
    text = deploy_text(architecture(arch, stages=2, width=1)).replace("pool: MAX", "pool: AVE")
    assert fields_of(text, blob) == seen_by_gradient(text, blob, size)


def test_the_papers_count_of_stage_1_is_160() -> None:
    """The paper, section 3.2.1: 160 x 160; it counts a pooling as a window of its stride."""
    text = deploy_text(architecture("mpi", width=1))
    assert fields_of(text, "conv7_stage1", pool_as_stride=True) == [160, 160]
    assert fields_of(text, "conv7_stage1") == [167, 167]


def test_a_later_stage_sees_31_by_31_cells_of_the_maps_before() -> None:
    net = parse_net(deploy_text(architecture("mpi", width=1)))
    fields = receptive_fields(net, infer_shapes(net), ["conv7_stage1"])
    assert [field.size for field in fields["Mconv5_stage2"]] == [31, 31]
    assert "conv1_stage3" not in fields  # image features do not depend on beliefs


LAYERS = 'input: "data" input_shape { dim: 1 dim: 2 dim: 24 dim: 24 }\n'


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ('type: "Convolution" convolution_param { num_output: 1 kernel_size: 3 dilation: 2 }', [5, 5]),
        ('type: "Convolution" convolution_param { num_output: 1 kernel_h: 5 kernel_w: 1 }', [5, 1]),
        ('type: "Deconvolution" convolution_param { num_output: 1 kernel_size: 4 stride: 2 pad: 1 }', [2, 2]),
        ('type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }', [3, 3]),
        ('type: "Eltwise" bottom: "data"', [1, 1]),
    ],
)
def test_each_windowed_layer_sees_its_window(layer: str, expected: list[int]) -> None:
    text = LAYERS + f'layer {{ name: "l" bottom: "data" top: "out" {layer} }}'
    assert fields_of(text, "out") == expected == seen_by_gradient(text, "out", 24)


@pytest.mark.parametrize(
    "layer",
    [
        'type: "InnerProduct" inner_product_param { num_output: 3 }',
        'type: "Pooling" pooling_param { global_pooling: true pool: AVE }',
        'type: "MVN"',
        'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL }',
    ],
)
def test_a_layer_that_mixes_all_positions_sees_the_whole(layer: str) -> None:
    net = parse_net(LAYERS + f'layer {{ name: "l" bottom: "data" top: "out" {layer} }}')
    assert receptive_fields(net, infer_shapes(net), ["data"])["out"] == WHOLE


def test_branches_join_as_their_hull() -> None:
    wide = 'type: "Convolution" convolution_param { num_output: 1 kernel_size: 7 pad: 3 }'
    low = 'type: "Convolution" convolution_param { num_output: 1 kernel_size: 5 pad: 0 }'
    text = LAYERS + f'layer {{ name: "a" bottom: "data" top: "a" {wide} }}'
    text += f'layer {{ name: "b" bottom: "data" top: "b" {low} }}'
    text += 'layer { name: "crop" type: "Crop" bottom: "a" bottom: "b" top: "c" crop_param { axis: 2 } }'
    text += 'layer { name: "cat" type: "Concat" bottom: "c" bottom: "b" top: "out" }'
    assert fields_of(text, "out") == [8, 8] == seen_by_gradient(text, "out", 24)
