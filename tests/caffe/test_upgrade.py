"""Old nets and solvers upgrade as Caffe's do, and upgrading twice is upgrading once. Oracles: texts by hand."""

import pytest

from cpm_port.caffe import parse_net, parse_solver
from cpm_port.caffe.schema import message_class
from cpm_port.caffe.text import format_text, parse_text
from cpm_port.caffe.upgrade import V1_TYPES, generation_of, upgrade_net, upgrade_solver
from cpm_port.errors import CaffeFormatError
from tests.caffe.support import LAYER_CASES, LAYERS, shared_files

V0 = """
name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 8 kernelsize: 5 group: 1 stride: 2 biasterm: false
    weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0. }
  bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1 } bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.25 } bottom: "pool1" top: "norm1" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.25 } bottom: "norm1" top: "norm1" }
layers { layer { name: "ip" type: "innerproduct" num_output: 10 } bottom: "norm1" top: "ip" }
layers { layer { name: "loss" type: "softmax" } bottom: "ip" top: "prob" }
"""
V0_AS_V2 = """
name: "old"
layer { name: "input" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 bias_term: false pad: 2 kernel_size: 5 group: 1 stride: 2
    weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 } }
layer { name: "drop" type: "Dropout" bottom: "norm1" top: "norm1" dropout_param { dropout_ratio: 0.25 } }
layer { name: "ip" type: "InnerProduct" bottom: "norm1" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "Softmax" bottom: "ip" top: "prob" }
"""

V1 = """
name: "middle"
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "lmdb" batch_size: 4 backend: LMDB scale: 0.5 mirror: true crop_size: 9 mean_file: "m" } }
layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" param: "shared_w" param: "shared_b"
  blob_share_mode: PERMISSIVE blobs_lr: 1 blobs_lr: 2 blobs_lr: 3 weight_decay: 0 loss_weight: 0.5
  inner_product_param { num_output: 2 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" exclude { stage: "deploy" } }
"""
V1_AS_V2 = """
name: "middle"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.5 mirror: true crop_size: 9 mean_file: "m" }
  data_param { source: "lmdb" batch_size: 4 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" loss_weight: 0.5
  param { name: "shared_w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 0 } param { name: "shared_b" lr_mult: 2 }
  param { lr_mult: 3 }
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" exclude { stage: "deploy" } }
"""


def net_of(text: str):
    return parse_text(text, message_class("NetParameter")()).message


@pytest.mark.parametrize(("old", "new", "generation"), [(V0, V0_AS_V2, "V0"), (V1, V1_AS_V2, "V1")])
def test_old_nets_upgrade_to_what_caffe_makes_of_them(old, new, generation):
    assert generation_of(net_of(old)) == generation
    upgraded, notes = upgrade_net(net_of(old))
    assert format_text(upgraded) == format_text(net_of(new))
    assert notes


@pytest.mark.parametrize("text", [V0, V1, V0_AS_V2, V1_AS_V2], ids=["V0", "V1", "V0 as V2", "V1 as V2"])
def test_upgrading_twice_is_upgrading_once(text):
    once, _ = upgrade_net(net_of(text))
    twice, notes = upgrade_net(once)
    assert twice == once
    assert notes == []


@pytest.mark.parametrize("case", LAYER_CASES)
def test_caffes_own_test_nets_upgrade_to_themselves_at_most_once(case):
    once, _ = upgrade_net(net_of((LAYERS / f"{case}.prototxt").read_text()))
    assert upgrade_net(once) == (once, [])


def test_the_argument_stays_as_it_was():
    net = net_of(V0)
    before = net.SerializeToString()
    upgrade_net(net)
    assert net.SerializeToString() == before


def test_every_v1_type_has_a_v2_name():
    enum = message_class("V1LayerParameter").DESCRIPTOR.enum_types_by_name["LayerType"]
    assert set(V1_TYPES) == {value.name for value in enum.values} - {"NONE"}
    assert V1_TYPES["IM2COL"] == "Im2col"
    assert V1_TYPES["SIGMOID_CROSS_ENTROPY_LOSS"] == "SigmoidCrossEntropyLoss"
    assert V1_TYPES["HDF5_DATA"] == "HDF5Data"


@pytest.mark.parametrize(
    ("word", "field", "kind"),
    [
        ("ROI_POOLING", "roi_pooling_param { pooled_h: 2 pooled_w: 3 }", "ROIPooling"),
        ("UPSAMPLE", "upsample_param { scale: 2 }", "Upsample"),
        ("BN", "bn_param { shift_filler { type: 'constant' } }", "BN"),
        ("SOMETHING_ELSE", "", "SOMETHING_ELSE"),
    ],
)
def test_a_forks_type_in_a_v1_text_is_its_v2_type(word, field, kind):
    old = parse_net(f"input: 'x' layers {{ name: 'a' type: {word} bottom: 'x' top: 'y' {field} }}")
    new = parse_net(f"input: 'x' layer {{ name: 'a' type: '{kind}' bottom: 'x' top: 'y' {field} }}")
    assert format_text(old.message) == format_text(new.message)
    assert [note for note in old.notes if "kept as text" in note] == []


def test_unknown_text_fields_pass_through_the_upgrades():
    net, _ = upgrade_net(
        net_of("layers { novel: 1 layer { name: 'r' type: 'relu' other { x: 2 } } bottom: 'a' top: 'b' } input: 'a'")
    )
    assert "novel: 1" in format_text(net)
    assert "other {" in format_text(net)


def test_a_v0_field_without_a_place_is_noted():
    net = parse_net("input: 'a' layers { layer { name: 'r' type: 'relu' num_output: 3 } bottom: 'a' top: 'b' }")
    assert "layer 'r': dropped V0 field 'num_output', which type 'relu' does not have" in net.notes


@pytest.mark.parametrize("kind", ["scale: 2", "meanfile: 'm'", "cropsize: 5", "mirror: true"])
def test_v0_data_fields_move_to_transform_param(kind):
    net = parse_net(f"layers {{ layer {{ name: 'd' type: 'data' source: 's' batchsize: 2 {kind} }} top: 'd' }}")
    (layer,) = net.layers
    assert layer.params.data_param.fields() == {"source": "s", "batch_size": 2}
    assert len(layer.params.transform_param.fields()) == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("layers { name: 'a' type: RELU } layer { name: 'b' type: 'ReLU' }", "mixes 1 old 'layers' and 1 new 'layer'"),
        ("layers { layer { name: 'a' type: 'relu' } } layers { name: 'b' type: RELU }", "mixes V0 layers"),
        ("layers { layer { name: 'a' type: 'warp' } }", "layer 'a': unknown V0 layer type 'warp'"),
        ("layers { name: 'a' type: NONE }", "layer 'a': unknown V1 layer type NONE"),
        ("layers { layer { name: 'r' type: 'relu' } bottom: 'x' top: 'y' }", "layer 'r': unknown bottom blob 'x'"),
        (
            "input: 'x' layers { layer { name: 'p' type: 'padding' pad: 1 } bottom: 'x' top: 'p' }"
            "layers { layer { name: 'r' type: 'relu' } bottom: 'p' top: 'y' }",
            "layer 'r' .relu. follows a padding layer",
        ),
        ("input: 'x' input: 'y' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4", "2 'input' but 4 'input_dim'"),
        ("input: 'x' input_shape { dim: 1 } input_shape { dim: 1 }", "1 'input' but 2 'input_shape'"),
    ],
)
def test_what_caffe_cannot_upgrade_is_refused(text, what):
    with pytest.raises(CaffeFormatError, match=f"net.prototxt: .*{what}"):
        parse_net(text, source="net.prototxt")


def test_input_shape_wins_over_input_dim():
    net = parse_net("input: 'x' input_shape { dim: 7 } input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4")
    assert net.inputs == {"x": (7,)}


def test_an_input_without_a_shape_goes_where_a_layer_gives_the_blob():
    layer = 'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }'
    net = parse_net(f'input: "data" {layer}')
    assert net.inputs == {"data": (1, 2)}
    assert [layer.name for layer in net.layers] == ["d"]
    assert net.notes == ("dropped the net's input fields, which have no shape: layers give these blobs",)
    net = parse_net(f'input: "data" input: "other" {layer}')
    assert net.inputs == {"other": (), "data": (1, 2)}


def test_batch_norm_statistics_are_never_trained():
    text = "input: 'x' layer { name: 'b' type: 'BatchNorm' bottom: 'x' top: 'x' %s }"
    written = parse_net(text % "param { lr_mult: 1 } param { lr_mult: 1 } param { lr_mult: 1 }")
    silent = parse_net(text % "")
    for net in (written, silent):
        assert [spec.lr_mult for spec in net.layers[1].param_specs] == [0, 0, 0]
    assert "set lr_mult 0 on BatchNorm's three blobs" in written.notes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_the_solvers_old_type_becomes_a_name(old, new):
    solver = parse_solver(f"solver_type: {old}")
    assert solver.type == new
    assert not solver.params.has("solver_type")
    assert upgrade_solver(solver.params.message())[1] == []


def test_a_solver_with_both_types_is_refused():
    with pytest.raises(CaffeFormatError, match="gives both 'solver_type'"):
        parse_solver("solver_type: ADAM type: 'Adam'")


@pytest.mark.parametrize("path", shared_files("**/*.prototxt", without="solver"), ids=lambda path: path.name)
def test_upgrading_every_file_at_hand_twice_is_upgrading_once(path):
    once, _ = upgrade_net(parse_net(path.read_text(), source=path.name).message)
    assert upgrade_net(once) == (once, [])


def test_of_an_entry_around_a_v0_layer_only_bottoms_and_tops_count():
    """As in Caffe, which clears the entry first: rates beside the layer would move the layer's own."""
    inner = 'layer { name: "ip" type: "innerproduct" num_output: 2 blobs_lr: 3 }'
    ends = 'bottom: "x" top: "ip"'
    upgraded, notes = upgrade_net(
        net_of(f'input: "x" layers {{ {inner} {ends} blobs_lr: 7 include {{ phase: TEST }} }}')
    )
    plain, _ = upgrade_net(net_of(f'input: "x" layers {{ {inner} {ends} }}'))
    assert upgraded == plain
    assert "layer 'ip': dropped 'blobs_lr' beside its V0 layer, as Caffe does" in notes
