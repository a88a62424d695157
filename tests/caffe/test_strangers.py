"""Unknown fields that change what a layer computes are told with their places; others stay notes.

Oracle: worked by hand, on fields of public forks of Caffe.
"""

import pytest

from cpm_port.caffe import infer_shapes, parse_net, read_net
from cpm_port.errors import UnsupportedLayerError
from tests.caffe.support import field, layer, number_field

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n'


def strangers(text: str) -> tuple[str, ...]:
    return parse_net(INPUT + text).layers[-1].strangers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p"\n  pooling_param { zebra: false } }',
            "3:19: PoolingParameter has no field 'zebra'",
        ),
        (
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" conv_param { num_output: 1 } }',
            "2:63: LayerParameter has no field 'conv_param'",
        ),
        (
            'layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param { zebra: 2 } }',
            "2:82: ConvolutionParameter has no field 'zebra'",
        ),
        (
            'layers { bottom: "data" top: "p" layer { name: "p" type: "pool" zebra: 3 } }',
            "2:65: V0LayerParameter has no field 'zebra'",
        ),
        (
            'layer { name: "d" type: "Data" top: "d" transform_param { zebra { a: 1 } } }',
            "2:59: TransformationParameter has no field 'zebra'",
        ),
    ],
)
def test_a_field_of_unknown_meaning_is_told_with_its_place(text, told):
    if text.startswith("layers"):
        net = parse_net('input: "data" input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8\n' + text)
        found = net.layers[-1].strangers
    else:
        found = strangers(text)
    assert found == (f"{told}, which may change what the layer computes",)


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" color: "red" }',
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" param { zebra: 1 } include { zebra: 1 } }',
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" transform_param { zebra: 1 } }',
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { '
        "num_output: 1 kernel_size: 1 cudnn_convolution_algo_seeker: FINDEX weight_filler { zebra: 1 } } }",
    ],
)
def test_a_field_that_changes_no_value_stays_a_note(text):
    net = parse_net(INPUT + text)
    assert net.layers[-1].strangers == ()
    assert net.notes


def test_a_binary_file_tells_the_fields_number(tmp_path):
    pooling = field(121, number_field(2, 3) + number_field(77, 1))
    (tmp_path / "net.caffemodel").write_bytes(layer("p", "Pooling", field(3, b"data"), field(4, b"p"), pooling))
    assert read_net(tmp_path / "net.caffemodel").layers[-1].strangers == (
        "PoolingParameter has no field '77', which may change what the layer computes",
    )


def test_shapes_are_not_worked_out_around_a_field_of_unknown_meaning():
    net = parse_net(INPUT + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { zebra: 1 } }')
    with pytest.raises(UnsupportedLayerError, match="layer 'p': 2:75: PoolingParameter has no field 'zebra'"):
        infer_shapes(net)
