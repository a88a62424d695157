"""Parameters shared by name, and the list that a solver works on (oracle: caffe net.cpp's rules, by hand)."""

from __future__ import annotations

import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.errors import LayerError, UnsupportedLayerError
from cpm_port.graph import CaffeNet, load_net


def net_of(first: str, second: str, outputs: int = 4) -> CaffeNet:
    return load_net(
        parse_net(f"""
        input: "data" input_shape {{ dim: 1 dim: 4 }}
        layer {{ name: "one" type: "InnerProduct" bottom: "data" top: "one" {first}
                inner_product_param {{ num_output: 4 weight_filler {{ type: "gaussian" }} }} }}
        layer {{ name: "two" type: "InnerProduct" bottom: "one" top: "two" {second}
                inner_product_param {{ num_output: {outputs} weight_filler {{ type: "gaussian" }} }} }}""")
    )


def listed(net: CaffeNet) -> list[tuple[str, int, float, float]]:
    return [(info.layer, info.index, info.lr_mult, info.decay_mult) for info in net.param_info()]


def test_parameters_are_listed_in_order_with_their_multipliers() -> None:
    net = net_of("param { lr_mult: 5 } param { lr_mult: 10 decay_mult: 0 }", "param { decay_mult: 2 }")
    assert listed(net) == [("one", 0, 5, 1), ("one", 1, 10, 0), ("two", 0, 1, 2), ("two", 1, 1, 1)]
    assert [info.tensor for info in net.param_info()] == [*net.params["one"], *net.params["two"]]


def test_a_shared_parameter_is_listed_once_and_gathers_both_gradients() -> None:
    net = net_of('param { name: "w" lr_mult: 3 }', 'param { name: "w" }')
    assert listed(net) == [("one", 0, 3, 1), ("one", 1, 1, 1), ("two", 1, 1, 1)]
    weight = net.params["one"][0]
    assert net.params["two"][0] is weight
    data = torch.ones(1, 4)
    net(data)["two"].sum().backward()
    one = weight.detach() @ data[0] + net.params["one"][1].detach()
    expected = one.expand(4, 4) + torch.outer(weight.detach().sum(dim=0), data[0])
    assert torch.allclose(weight.grad, expected)  # type: ignore[arg-type]


def test_a_multiplier_may_be_written_at_the_sharer() -> None:
    net = net_of('param { name: "w" }', 'param { name: "w" lr_mult: 7 decay_mult: 0 }')
    assert listed(net)[0] == ("one", 0, 7, 0)


def test_equal_multipliers_agree_and_different_ones_are_an_error() -> None:
    assert listed(net_of('param { name: "w" lr_mult: 2 }', 'param { name: "w" lr_mult: 2 }'))[0] == ("one", 0, 2, 1)
    with pytest.raises(LayerError, match=r"'two': lr_mult of the shared parameter 'w' is 3.0, but 2.0 in layer 'one'"):
        net_of('param { name: "w" lr_mult: 2 }', 'param { name: "w" lr_mult: 3 }')


def test_shapes_must_agree() -> None:
    message = r"'two': the shared parameter 'w' is \(4, 4\) in layer 'one', here \(2, 4\)"
    with pytest.raises(LayerError, match=message):
        net_of('param { name: "w" }', 'param { name: "w" }', outputs=2)
    with pytest.raises(LayerError, match=message):
        net_of('param { name: "w" }', 'param { name: "w" share_mode: PERMISSIVE }', outputs=2)


def test_permissive_sharing_between_shapes_is_unsupported() -> None:
    text = """
        input: "data" input_shape { dim: 1 dim: 2 dim: 2 dim: 2 }
        layer { name: "one" type: "InnerProduct" bottom: "data" top: "one" param { name: "w" }
                inner_product_param { num_output: 2 } }
        layer { name: "two" type: "Convolution" bottom: "data" top: "two" param { name: "w" share_mode: PERMISSIVE }
                convolution_param { num_output: 2 kernel_size: 2 } }"""
    with pytest.raises(UnsupportedLayerError, match="PERMISSIVE sharing between shapes"):
        load_net(parse_net(text))


def test_more_entries_than_parameters_are_an_error() -> None:
    with pytest.raises(LayerError, match=r"layer 'one' \(InnerProduct\): 3 param entries for 2 parameters"):
        net_of("param { } param { } param { }", "")


def test_a_rate_of_zero_freezes_a_parameter() -> None:
    net = net_of("param { lr_mult: 0 }", "")
    net(torch.ones(1, 4))["two"].sum().backward()
    frozen, bias = net.params["one"]
    assert not frozen.requires_grad
    assert frozen.grad is None
    assert bias.grad is not None


def test_batch_norm_statistics_are_never_trained() -> None:
    net = load_net(
        parse_net("""
        input: "data" input_shape { dim: 2 dim: 3 dim: 2 dim: 2 }
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }""")
    )
    assert [info.lr_mult for info in net.param_info()] == [0, 0, 0]
    assert not any(blob.requires_grad for blob in net.params["bn"])
