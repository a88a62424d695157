"""Claim: a blob lives from the layer that makes it to the last one that reads it. Oracle: sums worked by hand."""

from __future__ import annotations

from cpm_port.caffe import parse_net
from cpm_port.caffe.liveness import peak_size, released

NET = """
layer { name: "in" type: "Input" top: "data" top: "late" input_param { shape { dim: 1 } } }
layer { name: "a" type: "ReLU" bottom: "data" top: "a" }
layer { name: "in place" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "Split" bottom: "a" top: "b" top: "unread" }
layer { name: "c" type: "Eltwise" bottom: "b" bottom: "late" top: "c" }
"""


def test_each_value_is_released_after_its_last_use() -> None:
    steps = [(layer.bottoms, layer.tops) for layer in parse_net(NET).layers]
    assert released(steps, kept={"c", "unread"}) == [[], ["data"], [], ["a"], ["late", "b"]]


def test_a_value_that_nobody_reads_is_released_where_it_is_made() -> None:
    assert released([((), (1, 2)), ((1,), (3,))], kept={3}) == [[2], [1]]


def test_an_in_place_layer_holds_its_blob_twice_and_an_input_is_there_from_the_start() -> None:
    net = parse_net(NET)
    sizes = {"data": 1, "late": 100, "a": 50, "b": 20, "unread": 8, "c": 3}
    at_each = [101, 100 + 1 + 50, 100 + 50 + 50, 100 + 50 + 20 + 8, 100 + 20 + 3]
    assert peak_size(net.layers, sizes, net.inputs, kept={"c"}) == max(at_each)
    sizes["b"] = 60
    assert peak_size(net.layers, sizes, net.inputs, kept={"c"}) == 100 + 50 + 60 + 8
