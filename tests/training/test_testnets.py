"""A test net runs on the trained net's tensors, matched by layer, else by the parameters' own names.

Oracle: the identity of tensors, worked by hand.
"""

from __future__ import annotations

import pytest
import torch

from cpm_port import load_net
from cpm_port.caffe import parse_net
from cpm_port.errors import TrainingError
from cpm_port.graph import CaffeNet
from cpm_port.training.testnets import share_parameters

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }\n'
NAMED = 'param { name: "w" } param { name: "b" }'


def net(*layers: str) -> CaffeNet:
    return load_net(parse_net(INPUT + "\n".join(layers)))


def product(name: str, params: str = "", outputs: int = 2) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "data" top: "{name}" {params} '
        f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}'
    )


@pytest.mark.parametrize("with_the_owner", [True, False])
def test_a_layer_of_the_test_net_alone_takes_trained_parameters_by_name(with_the_owner: bool) -> None:
    trained = net(product("ip", NAMED))
    test = net(*([product("ip", NAMED)] if with_the_owner else []), product("ip_p", NAMED))
    share_parameters(trained, test)
    with torch.no_grad():
        for blob in trained.params["ip"]:
            blob.fill_(5)
    assert all(blob.eq(5).all() for blob in test.params["ip_p"])
    assert test(torch.ones(1, 3))["ip_p"].tolist() == [[20.0, 20.0]]


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (product("ip_p"), "layer 'ip_p': its parameter 0, .2, 3., is absent in the train net; .*parameter 1"),
        (product("ip_p", 'param { name: "w" }'), r"layer 'ip_p': its parameter 1, \(2,\), is absent in the train net$"),
        (product("ip_p", NAMED, outputs=4), r"its parameter 0, \(4, 3\), is absent"),
        (
            product("ip", outputs=4),
            r"layer 'ip': \[\(4, 3\), \(4,\)\] in the test net, \[\(2, 3\), ",
        ),
    ],
)
def test_parameters_that_were_not_trained_are_refused(layer: str, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        share_parameters(net(product("ip", NAMED)), net(layer))
