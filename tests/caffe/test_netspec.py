"""A NetSpec is the net that Caffe would run: filtered, checked, resolved. Oracles: real Caffe's runs, nets by hand."""

import copy
import json
import pickle

import pytest

from cpm_port.caffe import ParamSpec, format_prototxt, parse_net, read_net, write_prototxt
from cpm_port.errors import CaffeFormatError, LayerError, MissingFileError, UsageError
from tests.caffe.support import LAYER_CASES, LAYERS, SOLVER, shared_files

INDEX = json.loads((LAYERS / "index.json").read_text())


@pytest.mark.parametrize("case", LAYER_CASES)
def test_inputs_outputs_and_blobs_are_those_of_real_caffe(case):
    expected = INDEX[case]
    net = read_net(LAYERS / f"{case}.prototxt", phase=expected["phase"])
    assert list(net.outputs) == expected["outputs"]
    assert set(net.inputs) <= set(expected["inputs"])
    blobs = {top for layer in net.layers for top in layer.tops}
    assert blobs == {name for name in expected["blobs"] if "_split_" not in name}


@pytest.mark.parametrize("case", LAYER_CASES)
def test_a_written_net_reads_as_the_same_net(case, tmp_path):
    net = read_net(LAYERS / f"{case}.prototxt")
    path = tmp_path / "copy.prototxt"
    write_prototxt(path, net)
    again = read_net(path)
    assert again.layers == net.layers
    assert again.inputs == net.inputs
    assert format_prototxt(again) == path.read_text()


TWO_PHASES = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "train" type: "ReLU" bottom: "data" top: "t" include { phase: TRAIN } }
layer { name: "test" type: "ReLU" bottom: "data" top: "e" include { phase: TEST } }
layer { name: "both" type: "ReLU" bottom: "data" top: "b" include { phase: TEST } include { phase: TRAIN } }
layer { name: "not_train" type: "ReLU" bottom: "data" top: "nt" exclude { phase: TRAIN } }
layer { name: "deep" type: "ReLU" bottom: "data" top: "d" include { min_level: 2 max_level: 3 } }
layer { name: "staged" type: "ReLU" bottom: "data" top: "s" include { stage: "a" stage: "b" } }
layer { name: "unstaged" type: "ReLU" bottom: "data" top: "u" include { not_stage: "a" } }
layer { name: "deploy" type: "ReLU" bottom: "data" top: "p" include { phase: TEST stage: "deploy" } }
layer { name: "no_b" type: "ReLU" bottom: "data" top: "nb" exclude { stage: "b" } exclude { stage: "c" } }
"""


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ({}, "test both not_train unstaged no_b"),
        ({"phase": "TRAIN"}, "train both unstaged no_b"),
        ({"level": 2}, "test both not_train deep unstaged no_b"),
        ({"level": 4}, "test both not_train unstaged no_b"),
        ({"stages": ["a"]}, "test both not_train no_b"),
        ({"stages": ["a", "b"]}, "test both not_train staged"),
        ({"stages": ["deploy", "c"]}, "test both not_train unstaged deploy"),
        ({"phase": "TRAIN", "stages": ["deploy"]}, "train both unstaged no_b"),
    ],
)
def test_rules_keep_the_layers_that_caffe_keeps(state, kept):
    assert [layer.name for layer in parse_net(TWO_PHASES, **state).layers] == ["data", *kept.split()]


def test_the_files_own_stages_count_too():
    net = parse_net(TWO_PHASES + 'state { stage: "a" phase: TRAIN level: 9 }', stages=["b"])
    assert "staged" in [layer.name for layer in net.layers]
    assert net.phase == "TEST", "the argument wins over the file"


def test_the_message_keeps_all_layers():
    assert len(parse_net(TWO_PHASES).message.layer) == 10


def test_layers_inherit_the_nets_phase():
    data = "layer { name: 'a' type: 'DummyData' top: 'x' }"
    net = parse_net(data + "layer { name: 'b' type: 'ReLU' bottom: 'x' top: 'x' phase: TEST }", phase="TRAIN")
    assert [layer.params.phase for layer in net.layers] == ["TRAIN", "TEST"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }", "layer 'a': unknown bottom blob 'x'"),
        (
            "layer { name: 'a' type: 'DummyData' top: 'x' } layer { name: 'b' type: 'DummyData' top: 'x' }",
            "layer 'b': top blob 'x' is also produced by layer 'a', and not in place",
        ),
        (
            "layer { name: 'a' type: 'DummyData' top: 'x' }"
            "layer { name: 'b' type: 'Split' bottom: 'x' top: 'z' top: 'x' }",
            "layer 'b': top blob 'x' is also produced by layer 'a'",
        ),
        ("layer { name: 'a' top: 'x' }", "layer 'a' has no type"),
        (
            "layer { name: 'a' type: 'DummyData' top: 'x' } layer { name: 'b' type: 'Data' bottom: 'x' top: 'z' }",
            r"layer 'b' \(Data\): has 1 bottoms; expected 0",
        ),
        ("layer { type: 'ReLU' bottom: 'q' top: 'x' }", r"layer number 1 \(without a name\): unknown bottom blob 'q'"),
        (
            "layer { name: 'a' type: 'DummyData' top: 'x' include { phase: TEST } exclude { phase: TRAIN } }",
            "layer 'a' has both include and exclude rules",
        ),
        (
            "layer { name: 'a' type: 'DummyData' top: 'x' loss_weight: 1 loss_weight: 2 }",
            "layer 'a' has 2 loss_weight for 1 tops",
        ),
        (
            "layer { name: 'a' type: 'Input' top: 'x' top: 'y'"
            "  input_param { shape { dim: 1 } shape { dim: 1 } shape { dim: 1 } } }",
            "layer 'a' has 3 shapes for 2 tops",
        ),
        (
            "layer { name: 'a' type: 'Input' top: 'x' input_param { shape { dim: -1 } } }",
            "layer 'a': shapes .* have a negative",
        ),
        (
            "input: 'x' layer { name: 'a' type: 'BatchNorm' bottom: 'x' top: 'x' param { lr_mult: 1 } }",
            "layer 'a': BatchNorm's statistics are not trained",
        ),
    ],
)
def test_contradictions_name_the_layer(text, what):
    with pytest.raises(LayerError, match=f"^net.prototxt: {what}"):
        parse_net(text, source="net.prototxt")


def test_a_blob_may_be_used_by_many_layers_without_splits():
    net = parse_net(
        "input: 'x' " + "".join(f"layer {{ name: 'l{i}' type: 'ReLU' bottom: 'x' top: 'y{i}' }}" for i in range(3))
    )
    assert net.outputs == ("y0", "y1", "y2")


def test_outputs_come_in_the_order_of_their_names():
    net = parse_net("layer { name: 'a' type: 'DummyData' top: 'z' top: 'B' top: 'a' top: 'é' }")
    assert net.outputs == ("B", "a", "z", "é")


def test_a_top_in_place_is_still_an_output():
    net = parse_net("input: 'x' layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'x' }")
    assert net.outputs == ("x",)
    assert net.layers[1].bottoms == net.layers[1].tops == ("x",)


@pytest.mark.parametrize(
    ("layer", "tops", "weights"),
    [
        ("type: 'EuclideanLoss' bottom: 'x' bottom: 'y' top: 'l'", ("l",), (1.0,)),
        ("type: 'EuclideanLoss' bottom: 'x' bottom: 'y' top: 'l' loss_weight: 0.25", ("l",), (0.25,)),
        ("type: 'EuclideanLoss' bottom: 'x' bottom: 'y'", ("(automatic) a",), (1.0,)),
        ("type: 'SoftmaxWithLoss' bottom: 'x' bottom: 'y' top: 'l' top: 'p'", ("l", "p"), (1.0, 0.0)),
        ("type: 'ReLU' bottom: 'x' top: 'r'", ("r",), (0.0,)),
        ("type: 'Reduction' bottom: 'x' top: 'r' loss_weight: 3", ("r",), (3.0,)),
        ("type: 'Silence' bottom: 'x'", (), ()),
    ],
)
def test_loss_weights_have_caffes_defaults(layer, tops, weights):
    net = parse_net(f"input: 'x' input: 'y' layer {{ name: 'a' {layer} }}")
    assert net.layers[-1].tops == tops
    assert net.layers[-1].loss_weights == weights


def test_an_automatic_top_is_no_output():
    net = parse_net("input: 'x' input: 'y' layer { name: 'a' type: 'EuclideanLoss' bottom: 'x' bottom: 'y' }")
    assert net.outputs == ()


def test_param_specs_are_as_written():
    net = read_net(SOLVER / "train.prototxt", phase="TRAIN")
    assert net.layer("conv1").param_specs == (ParamSpec("", 5, 1), ParamSpec("", 10, 0))
    assert net.layer("relu1").param_specs == ()
    with pytest.raises(KeyError):
        net.layer("conv9")


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("input: 'x' input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4", {"x": (1, 2, 3, 4)}),
        ("input: 'x' input: 'y' input_shape { dim: 1 dim: 2 } input_shape { }", {"x": (1, 2), "y": ()}),
        ("input: 'x'", {"x": ()}),
        (
            "layer { name: 'i' type: 'Input' top: 'x' top: 'y' input_param { shape { dim: 5 } } }",
            {"x": (5,), "y": (5,)},
        ),
        ("layer { name: 'i' type: 'Input' top: 'x' }", {"x": ()}),
    ],
)
def test_inputs_and_their_declared_shapes(text, inputs):
    assert parse_net(text).inputs == inputs


def test_a_repeated_layer_name_is_noted():
    first = "input: 'x' layer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }"
    net = parse_net(first + "layer { name: 'a' type: 'ReLU' bottom: 'y' top: 'z' }")
    assert "layer name 'a' occurs more than once" in net.notes


def test_the_net_inside_a_snapshot_reads_without_filtering_it_again():
    net = read_net(SOLVER / "init.caffemodel", phase="TEST")
    assert [layer.name for layer in net.layers] == ["data", "conv1", "relu1", "pool1", "conv2", "loss"]
    assert all(not layer.params.has("blobs") for layer in net.layers)


@pytest.mark.parametrize("path", shared_files("caffe_files/**/*.caffemodel"), ids=lambda path: path.name)
def test_the_nets_inside_models_from_the_wild_read(path):
    net = read_net(path)
    assert len(net.layers) > 1
    for name in net.inputs:
        assert net.inputs[name] != () or f"blob {name!r} comes from no layer; taken as an input" in net.notes


@pytest.mark.parametrize("path", shared_files("release/prototxt/*.prototxt"), ids=lambda path: path.name)
def test_the_released_nets_read(path):
    net = read_net(path)
    assert net.dialect == "bvlc"
    assert len(net.inputs) == 1
    assert len(net.outputs) == 1


def test_specs_copy_and_pickle():
    net = read_net(SOLVER / "train.prototxt", phase="TRAIN")
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert again == net


def test_bad_arguments_and_files(tmp_path):
    with pytest.raises(UsageError, match="phase 'test'"):
        parse_net("", phase="test")
    with pytest.raises(UsageError, match="dialect 'x'"):
        parse_net("", dialect="x")
    with pytest.raises(MissingFileError):
        read_net(tmp_path / "none.prototxt")
    with pytest.raises(CaffeFormatError, match="is a folder"):
        read_net(tmp_path)
    (tmp_path / "empty.prototxt").write_text("")
    with pytest.raises(CaffeFormatError, match="the file is empty"):
        read_net(tmp_path / "empty.prototxt")


def test_windows_line_ends_byte_order_marks_and_foreign_comments_read(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(
        b"\xef\xbb\xbf# \xb2\xe2\xca\xd4\r\ninput: 'x'\r\nlayer { name: 'a' type: 'ReLU' bottom: 'x' top: 'y' }\r\n"
    )
    assert read_net(path).outputs == ("y",)


def test_propagate_down_is_given_for_every_bottom_or_none() -> None:
    layers = 'layer { name: "s" type: "Silence" bottom: "a" bottom: "b" %s }'
    text = 'input: "a" input_shape { dim: 1 } input: "b" input_shape { dim: 1 } ' + layers
    for flags in ("", "propagate_down: true propagate_down: false"):
        parse_net(text % flags)
    with pytest.raises(LayerError, match="layer 's': expected propagate_down for none or each of its 2 bottoms, got 1"):
        parse_net(text % "propagate_down: true")
