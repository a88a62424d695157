"""Unknown fields that change what a layer computes are told with their places; others stay notes.

Oracle: worked by hand, on fields of public forks of Caffe.
"""

import pytest

from cpm_port.caffe import format_prototxt, infer_shapes, parse_net, read_net
from cpm_port.errors import CaffeFormatError, UnsupportedLayerError
from cpm_port.graph import load_net
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


def test_unknown_enum_values_are_refused_with_all_else_and_their_layers() -> None:
    text = """
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
        layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { pool: AVE_TF kernel_size: 2 } }
        layer { name: "e" type: "Eltwise" bottom: "x" bottom: "x" top: "e" eltwise_param { operation: DIV } }
        layer { name: "odd" type: "Odd" bottom: "x" top: "odd" }"""
    spec = parse_net(text)
    assert [layer.name for layer in spec.layers if layer.strangers] == ["p", "e"]
    assert spec.dialect == "bvlc"
    with pytest.raises(UnsupportedLayerError) as caught:
        load_net(spec)
    message = str(caught.value)
    assert "3:86: PoolingParameter's pool is AVE_TF; expected one of MAX, AVE, STOCHASTIC" in message
    assert "EltwiseParameter's operation is DIV; expected one of PROD, SUM, MAX" in message
    assert "layer 'odd': type 'Odd': unknown type" in message
    assert "pool: AVE_TF" in format_prototxt(spec)
    assert parse_net(format_prototxt(spec)).layers[1].strangers


def test_unknown_v1_types_are_refused_by_layer() -> None:
    text = """input: "x" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
        layers { name: "roi" type: ROI_ALIGN bottom: "x" top: "r" }
        layers { name: "bn" type: BATCH_RENORM bottom: "r" top: "b" }"""
    spec = parse_net(text)
    assert [layer.type for layer in spec.layers] == ["Input", "ROI_ALIGN", "BATCH_RENORM"]
    with pytest.raises(
        UnsupportedLayerError, match=r"2 unsupported.*\n.*'roi': type 'ROI_ALIGN'.*\n.*'bn'.*BATCH_RENORM"
    ):
        load_net(spec)


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "a" type: "ReLU" include { phase: VALID } }',
        'layer { name: "a" type: "ReLU" phase: VALID }',
        "state { phase: VALID }",
        'layers { name: "a" type: RELU blob_share_mode: LOOSE }',
    ],
)
def test_an_unknown_phase_or_mode_is_an_error_at_once(text: str) -> None:
    with pytest.raises(CaffeFormatError, match="expected one of"):
        parse_net(text)
