"""The front door, `load_net`: weights from the file that holds the net too, net states, unknown fields, empty nets.

Oracles: worked by hand; the same net and weights given apart.
"""

import logging

import numpy as np
import pytest
import torch

from cpm_port import load_net
from cpm_port.errors import CpmPortError, LayerError, UnsupportedLayerError, UsageError, WeightsError
from cpm_port.formats import StoredModel, format_of

NET = """name: "n" # a comment
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
STAGES = """
layer { name: "val" type: "Data" top: "data" top: "label" include { stage: "val" } data_param { batch_size: 4 } }
layer { name: "in" type: "Input" top: "data" include { stage: "deploy" } input_param { shape { dim: 1 dim: 3 } } }
layer { name: "s" type: "Power" bottom: "data" top: "s" exclude { min_level: 2 } power_param { scale: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "label" top: "loss" exclude { stage: "deploy" } }
"""
STRANGE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }
layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 3 stride: 2 zebra: 1 } }
layer { name: "q" type: "Pooling" bottom: "p" top: "q" pooling_param { kernel_size: 1 zebra: 2 lion: 3 } }
"""


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a net's text."""

    def write(text: str, name: str = "n.prototxt"):
        (tmp_path / name).write_bytes(text.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("suffix", [".caffemodel", ".safetensors"])
def test_a_file_that_holds_net_and_weights_gives_both(suffix, written, tmp_path):
    torch.manual_seed(1)
    net = load_net(written(NET))
    net.save(tmp_path / f"m{suffix}")
    torch.manual_seed(2)
    again = load_net(tmp_path / f"m{suffix}")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert again.weights_report.matched == ("ip",)


@pytest.mark.parametrize("suffix", [".caffemodel", ".safetensors"])
def test_weights_given_beside_such_a_file_win(suffix, written, tmp_path):
    load_net(written(NET)).save(tmp_path / f"m{suffix}")
    other = {"ip": (np.full((3, 2), 7, np.float32), np.zeros(3, np.float32))}
    assert load_net(tmp_path / f"m{suffix}", other).params["ip"][0].eq(7).all()


def test_a_model_file_without_arrays_is_no_reason_for_chance(written, tmp_path):
    path = tmp_path / "m.caffemodel"
    format_of(path).write(path, StoredModel({}, load_net(written(NET)).spec))
    with pytest.raises(WeightsError, match="layer 'ip': not in the weights"):
        load_net(path)


def test_a_safetensors_file_without_a_net_asks_for_one(tmp_path):
    path = tmp_path / "m.safetensors"
    format_of(path).write(path, StoredModel({"ip": (np.zeros((3, 2), np.float32),)}, None))
    with pytest.raises(UsageError, match="holds no net; give the prototxt first"):
        load_net(path)


@pytest.mark.parametrize("ending", ["\r", "\r\n", "\n"])
def test_a_comment_ends_with_its_line_however_lines_end(ending, written):
    net = load_net(written(NET.replace("\n", ending)))
    assert [layer.name for layer in net.layers] == ["data", "ip"]


def test_an_error_in_a_file_of_carriage_returns_names_the_line(written):
    with pytest.raises(CpmPortError, match=r"n\.prototxt:3:9"):
        load_net(written(NET.replace("\n", "\r").replace('layer { name: "ip"', 'layer { : "ip"')))


def test_a_net_without_a_layer_in_its_phase_is_an_error(written):
    path = written(
        NET.replace('top: "data"', 'top: "data" include { phase: TRAIN }').replace(
            'top: "ip"', 'top: "ip" include { phase: TRAIN }'
        )
    )
    with pytest.raises(LayerError, match=r"no layer is left in phase TEST, level 0, stages none; .* 2 for others"):
        load_net(path)
    assert len(load_net(path, phase="TRAIN").layers) == 2


def test_stages_and_level_choose_layers(written):
    net = load_net(written(STAGES), stages=["deploy"])
    assert net({"data": torch.ones(1, 3)})["s"].tolist() == [[2.0, 2.0, 2.0]]
    assert "s" not in load_net(written(STAGES), stages=["deploy"], level=2).blob_shapes


def test_a_bottom_whose_layer_is_left_out_says_so(written):
    with pytest.raises(LayerError, match=r"unknown bottom blob 'data'.*\(layer 'in' is left out in phase TEST"):
        load_net(written(STAGES))


def test_fields_of_unknown_meaning_are_refused_all_at_once(written):
    with pytest.raises(UnsupportedLayerError) as caught:
        load_net(written(STRANGE))
    told = str(caught.value)
    assert "layer 'p': type 'Pooling': 3:100: PoolingParameter has no field 'zebra'" in told
    assert "layer 'q': type 'Pooling': 4:87: PoolingParameter has no field 'zebra'" in told
    assert "layer 'q': type 'Pooling': 4:96: PoolingParameter has no field 'lion'" in told


def test_fields_of_unknown_meaning_are_a_warning_where_asked(written, caplog):
    with caplog.at_level(logging.WARNING, "cpm_port"):
        net = load_net(written(STRANGE), strict=False)
    assert net.blob_shapes["q"] == (1, 1, 4, 4)
    assert sum("has no field" in line for line in caplog.messages) == 3
