"""Claim: the flip test treats an image and its mirror image alike. Oracle: the net on both, put together by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.graph import CaffeNet, load_net
from cpm_port.inference.interface import read_interface
from cpm_port.inference.mirrored import MirroredNet
from cpm_port.models import architecture, build, deploy_text, to_caffe
from cpm_port.parts import CPM14

ROUNDING = 1e-6  # float32 sums of two


@pytest.fixture(scope="module")
def net() -> CaffeNet:
    torch.manual_seed(4)
    small = architecture("mpi", width=4, stages=2, box=(64, 64))
    return load_net(parse_net(deploy_text(small)), to_caffe(build(small).state_dict(), small))


def data(net: CaffeNet) -> torch.Tensor:
    shape = net.inputs["data"]
    return torch.randn(2, *shape[1:], generator=torch.Generator().manual_seed(1))


def test_beliefs_are_the_average_with_left_and_right_exchanged(net: CaffeNet) -> None:
    image = data(net)
    output = read_interface(net).output
    with torch.no_grad():
        plain, mirror = net({"data": image})[output], net({"data": image.flip(3)})[output]
        found = MirroredNet(net)({"data": image})[output]
    right, left = CPM14.index("right_wrist"), CPM14.index("left_wrist")
    for part, other in ((right, left), (left, right), (CPM14.index("neck"),) * 2, (14, 14)):
        expected = (plain[:, part] + mirror[:, other].flip(2)) / 2
        torch.testing.assert_close(found[:, part], expected, rtol=ROUNDING, atol=ROUNDING)


def test_a_mirrored_image_gives_mirrored_beliefs(net: CaffeNet) -> None:
    image = data(net)
    twice = MirroredNet(net)
    interface = read_interface(net)
    names = list(interface.stages.values())
    with torch.no_grad():
        found, mirrored = twice({"data": image}, blobs=names), twice({"data": image.flip(3)}, blobs=names)
    exchange = [*CPM14.mirrored(), 14]
    for name in names:
        torch.testing.assert_close(mirrored[name], found[name].flip(3)[:, exchange], rtol=ROUNDING, atol=ROUNDING)


def test_it_is_a_net_like_another(net: CaffeNet) -> None:
    twice = MirroredNet(net)
    assert twice.spec is net.spec
    assert read_interface(twice) == read_interface(net)
    np.testing.assert_array_equal(list(twice.blob_shapes), list(net.blob_shapes))
    assert [p.shape for p in twice.parameters()] == [p.shape for p in net.parameters()]
