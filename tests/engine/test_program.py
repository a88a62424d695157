"""What is joined to a convolution, and what must not be. Oracle: hand-worked nets."""

from __future__ import annotations

import pytest

from cpm_port.caffe import parse_net
from cpm_port.engine.fft import Pool
from cpm_port.engine.program import Operation, compile_program, is_plain_convolution
from cpm_port.graph import CaffeNet, load_net

HEAD = 'input: "data" input_shape { dim: 1 dim: 4 dim: 12 dim: 12 }'
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }"""
IN_PLACE = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
POOL = """layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }"""
READER = 'layer { name: "%s" type: "TanH" bottom: "%s" top: "%s" }'


def operations(*layers: str, blobs: tuple[str, ...] = ()) -> list[Operation]:
    net = make(*layers)
    return list(compile_program(net, [*net.outputs, *blobs]).operations)


def make(*layers: str) -> CaffeNet:
    return load_net(parse_net("\n".join((HEAD, *layers))))


def summary(found: list[Operation]) -> list[tuple[str, bool, int]]:
    return [(operation.key, operation.rectify, operation.pool.kernel) for operation in found]


def test_convolution_relu_and_pooling_become_one() -> None:
    (found,) = operations(CONV, IN_PLACE, POOL)
    assert (found.key, found.rectify, found.pool) == ("conv", True, Pool(3, 2))


def test_a_relu_that_is_not_in_place_is_joined_too() -> None:
    relu = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "other" }'
    assert summary(operations(CONV, relu)) == [("conv", True, 1)]


def test_pooling_is_joined_without_a_relu() -> None:
    assert summary(operations(CONV, POOL)) == [("conv", False, 3)]


def test_a_blob_that_somebody_asks_for_stays() -> None:
    assert summary(operations(CONV, IN_PLACE, POOL, blobs=("conv",))) == [("conv", True, 1), ("pool", False, 1)]


def test_a_blob_with_a_second_reader_stays() -> None:
    second = READER % ("tanh", "conv", "tanh")
    found = summary(operations(CONV, IN_PLACE, POOL, second))
    assert found == [("conv", True, 1), ("pool", False, 1), ("tanh", False, 1)]


def test_a_relu_is_not_joined_where_another_layer_reads_before_it() -> None:
    before = READER % ("tanh", "conv", "tanh")
    found = summary(operations(CONV, before, IN_PLACE))
    assert found == [("conv", False, 1), ("tanh", False, 1), ("relu", False, 1)]


@pytest.mark.parametrize(
    "layer",
    [
        IN_PLACE.replace('top: "conv"', 'top: "conv" relu_param { negative_slope: 0.1 }'),
        POOL.replace("MAX", "AVE"),
        POOL.replace("stride: 2", "stride: 2 pad: 1"),
        POOL.replace("stride: 2", "stride: 4"),
        POOL.replace("kernel_size: 3", "kernel_h: 3 kernel_w: 2"),
        POOL.replace("kernel_size: 3 stride: 2", "global_pooling: true"),
        POOL.replace('top: "pool"', 'top: "pool" top: "mask"'),
    ],
)
def test_variants_that_the_kernels_do_not_know_stay_apart(layer: str) -> None:
    assert len(operations(CONV, layer)) == 2


def test_values_are_freed_after_their_last_reader_and_wanted_ones_never() -> None:
    net = make(CONV, IN_PLACE, POOL, READER % ("tanh", "pool", "tanh"))
    program = compile_program(net, ["tanh", "pool"])
    first, second = program.operations
    assert first.frees == (program.inputs["data"],)
    assert second.frees == ()
    assert set(program.results.values()) == {first.writes[0], second.writes[0]}


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ("kernel_size: 3 pad: 1", True),
        ("kernel_size: 1", True),
        ("kernel_size: 3", False),
        ("kernel_size: 3 pad: 1 stride: 2", False),
        ("kernel_size: 3 pad: 2 dilation: 2", False),
        ("kernel_size: 3 pad: 1 group: 2", False),
        ("kernel_size: 4 pad: 2", False),
        ("kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2", False),
    ],
)
def test_plain_convolutions_are_told_from_others(fields: str, plain: bool) -> None:
    net = make(CONV.replace("kernel_size: 3 pad: 1", fields))
    assert is_plain_convolution(net.get_submodule("conv")) == plain


def test_a_deconvolution_is_not_taken_for_a_convolution() -> None:
    net = make(CONV.replace('"Convolution"', '"Deconvolution"'))
    assert not is_plain_convolution(net.get_submodule("conv"))
    assert summary(operations(CONV.replace('"Convolution"', '"Deconvolution"'), IN_PLACE)) == [
        ("conv", False, 1),
        ("relu", False, 1),
    ]
