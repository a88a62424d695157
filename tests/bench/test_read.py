"""The reading bench compares equal things and says what it measured. Oracle: its parity check, spoiled on purpose."""

import argparse

import numpy as np
import pytest

from cpm_port.bench import read
from cpm_port.bench._timing import take_turns
from cpm_port.caffe import read_weights
from cpm_port.errors import WeightsError

NET = """input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 5 } }"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    read.write_seeded_model(tmp_path / "net.caffemodel", prototxt=tmp_path / "net.prototxt", seed=3)
    return tmp_path / "net.caffemodel"


def test_the_seeded_model_has_every_parameter(model):
    shapes = {name: [array.shape for array in arrays] for name, arrays in read_weights(model).items()}
    assert shapes == {"conv": [(4, 3, 3, 3), (4,)], "ip": [(5, 4 * 6 * 6), (5,)]}


def test_all_sides_read_the_same_and_the_result_says_so(model):
    parser = argparse.ArgumentParser()
    read.configure(parser)
    result = read.run(parser.parse_args(["--model", str(model), "--repeats", "2"]))
    assert result["parity"] == f"4 arrays, {108 + 4 + 720 + 5} values, bit by bit"
    assert set(result["medians"]) == {"ours", "ours, copied", "plain protobuf", "protobuf, bytes"}
    assert result["ratios"]["plain protobuf"] == result["medians"]["plain protobuf"] / result["medians"]["ours"]
    assert set(result["targets"]) <= set(result["ratios"])
    assert result["file_bytes"] == model.stat().st_size


@pytest.mark.parametrize(
    ("spoil", "what"), [(lambda a: a + 1, "other values"), (lambda a: a.reshape(-1)[:1], "other shapes")]
)
def test_sides_that_differ_are_found_before_anything_is_timed(model, spoil, what):
    sides = read._sides(model)
    honest = sides["plain protobuf"]
    sides["plain protobuf"] = lambda: [spoil(array) for array in honest()]
    with pytest.raises(WeightsError, match=f"'plain protobuf' reads .*{what}"):
        read._check_parity(sides)


def test_every_page_is_touched(monkeypatch):
    array = np.arange(4096, dtype=np.float32)
    array.flags.writeable = False
    assert read._touched(lambda: [array])[0] is array


def test_sides_take_turns():
    calls = []
    result = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert set(result["medians"]) == set(result["spread"]) == {"a", "b"}
    assert all(low <= result["medians"][side] <= high for side, (low, high) in result["spread"].items())
