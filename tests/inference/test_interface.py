"""Claim: what the pipeline needs of a net is read from the net. Oracle: small prototxts written here."""

from __future__ import annotations

import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.errors import UsageError
from cpm_port.graph import load_net
from cpm_port.inference.interface import numbered_parts, read_interface
from cpm_port.models import architecture, deploy_text
from cpm_port.parts import CPM14, FLIC9, LSP14
from tests.inference.nets import colour_net_text


def test_box_size_channels_output_and_stages_are_read() -> None:
    found = read_interface(load_net(parse_net(colour_net_text())))
    assert (found.input, found.channels, found.box_size, found.output) == ("data", 4, 64, "conv_stage2")
    assert dict(found.stages) == {1: "conv_stage1", 2: "conv_stage2"}
    assert found.part_order.parts == ("part_0", "part_1", "part_2")
    assert read_interface(load_net(parse_net(colour_net_text(channels=3, box=32)))).channels == 3


@pytest.mark.parametrize(("parts", "order"), [(14, CPM14), (9, FLIC9), (5, numbered_parts(5))])
def test_the_release_orders_are_told_by_their_number_of_parts(parts: int, order: object) -> None:
    assert read_interface(load_net(parse_net(colour_net_text(parts=parts)))).part_order == order


def test_another_order_may_be_given() -> None:
    net = load_net(parse_net(colour_net_text(parts=14)))
    assert read_interface(net, LSP14).part_order is LSP14
    with pytest.raises(UsageError, match="14 parts and a background, but order 'flic9' has 9"):
        read_interface(net, FLIC9)


def test_a_call_with_another_size_does_not_change_the_box() -> None:
    net = load_net(parse_net(colour_net_text()))
    net({"data": torch.zeros(2, 4, 32, 32)})
    assert read_interface(net).box_size == 64


def test_stage_1_is_not_found_in_stage_10() -> None:
    text = colour_net_text().replace("conv_stage2", "conv_stage10")
    assert dict(read_interface(load_net(parse_net(text))).stages) == {1: "conv_stage1", 10: "conv_stage10"}


def test_the_first_stage_is_found_where_only_the_later_ones_say_which_they_are() -> None:
    net = load_net(parse_net(deploy_text(architecture("mpi-vgg", stages=3, width=16, front_share=0.25, box=(64, 64)))))
    assert dict(read_interface(net).stages) == {1: "conv5_2_CPM", 2: "Mconv7_stage2", 3: "Mconv7_stage3"}


def test_a_net_without_stages_has_one() -> None:
    text = colour_net_text().replace("conv_stage1", "a").replace("conv_stage2", "b")
    assert dict(read_interface(load_net(parse_net(text))).stages) == {1: "b"}


def test_blobs_of_a_stage_that_are_no_belief_maps_are_left_out() -> None:
    text = colour_net_text().replace('"pool"', '"pool_stage7"')
    assert dict(read_interface(load_net(parse_net(text))).stages) == {1: "conv_stage1", 2: "conv_stage2"}


POOL = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 stride: 2 } }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'input: "data" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8 {POOL}', "3 or 4"),
        (f'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 10 {POOL}', r"\(1, 3, 8, 10\)"),
        (f'input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9 {POOL}', "even box size"),
        (
            'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 input: "more" input_dim: 1 input_dim: 3 '
            f"input_dim: 8 input_dim: 8 {POOL}",
            "inputs are data, more",
        ),
        (
            f'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 {POOL}' + POOL.replace('"p"', '"q"'),
            "outputs are p, q",
        ),
        (
            'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 layer { name: "c" type: "Convolution" '
            'bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }',
            "parts \\+ background",
        ),
    ],
)
def test_nets_of_another_kind_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_interface(load_net(parse_net(text, source="net.prototxt")))
