"""Weights in and out: matching by name, Caffe's shape rules, the three file forms, one error that lists everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from cpm_port.caffe import parse_net, read_weights, write_prototxt
from cpm_port.errors import MissingFileError, ModelFileError, UsageError, WeightsError
from cpm_port.graph import CaffeNet, load_net

TEXT = """
name: "tiny" input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "v1.0/fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" } bias_filler { type: "uniform" } } }
"""
SHARED = """
name: "twins" input: "data" input_shape { dim: 1 dim: 4 }
layer { name: "one" type: "InnerProduct" bottom: "data" top: "one" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" } } }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 4 } }
"""
SPEC = parse_net(TEXT, source="tiny.prototxt")
FORMS = [".caffemodel", ".h5", ".caffemodel.h5", ".safetensors"]


@pytest.fixture
def net() -> CaffeNet:
    torch.manual_seed(0)
    return load_net(SPEC)


def arrays_of(net: CaffeNet) -> dict[str, list[np.ndarray]]:
    return {layer: [blob.detach().numpy().copy() for blob in blobs] for layer, blobs in net.params.items()}


def assert_same(found: CaffeNet, expected: dict[str, list[np.ndarray]]) -> None:
    assert found.params.keys() == expected.keys()
    for layer, blobs in found.params.items():
        for blob, array in zip(blobs, expected[layer], strict=True):
            assert np.array_equal(blob.detach().numpy(), array), layer


@pytest.mark.parametrize("suffix", FORMS)
def test_a_saved_net_loads_again_bit_for_bit(suffix: str, net: CaffeNet, tmp_path: Path) -> None:
    net.save(tmp_path / f"model{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"model{suffix}"], "nothing else is left behind"
    assert_same(load_net(SPEC, tmp_path / f"model{suffix}"), arrays_of(net))


@pytest.mark.parametrize("suffix", FORMS)
def test_shared_parameters_survive_every_form(suffix: str, tmp_path: Path) -> None:
    spec = parse_net(SHARED)
    torch.manual_seed(0)
    twins = load_net(spec)
    twins.save(tmp_path / f"model{suffix}")
    again = load_net(spec, tmp_path / f"model{suffix}")
    assert_same(again, arrays_of(twins))
    assert again.params["one"][0] is again.params["two"][0]


def test_a_prototxt_and_a_model_on_disk_are_enough(net: CaffeNet, tmp_path: Path) -> None:
    write_prototxt(tmp_path / "net.prototxt", SPEC)
    net.save(tmp_path / "net.caffemodel")
    assert_same(load_net(tmp_path / "net.prototxt", tmp_path / "net.caffemodel"), arrays_of(net))
    assert_same(load_net(tmp_path / "net.caffemodel", tmp_path / "net.caffemodel"), arrays_of(net))


def test_parameters_are_copies_that_never_reach_the_file(net: CaffeNet, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    net.save(path)
    before = path.read_bytes()
    weights = read_weights(path)
    loaded = load_net(SPEC, weights)
    with torch.no_grad():
        for blobs in loaded.params.values():
            for blob in blobs:
                blob.add_(1)
    assert path.read_bytes() == before
    assert np.array_equal(weights["conv"][0], net.params["conv"][0].detach().numpy())


@pytest.mark.parametrize("kind", ["arrays", "tensors", "doubles", "read-only"])
def test_a_mapping_of_layers_is_as_good_as_a_file(kind: str, net: CaffeNet) -> None:
    expected = arrays_of(net)
    given: dict[str, list[object]] = {layer: list(blobs) for layer, blobs in expected.items()}
    for blobs in given.values():
        for index, array in enumerate(blobs):
            assert isinstance(array, np.ndarray)
            array.setflags(write=kind != "read-only")
            blobs[index] = {"tensors": torch.tensor(array), "doubles": array.astype(np.float64)}.get(kind, array)
    assert_same(load_net(SPEC, given), expected)  # type: ignore[arg-type]


def test_layers_that_the_net_lacks_are_ignored_and_reported(net: CaffeNet, caplog: pytest.LogCaptureFixture) -> None:
    weights = {"other": [np.ones(3, np.float32)], **arrays_of(net)}
    with caplog.at_level("INFO", logger="cpm_port"):
        report = net.load_weights(weights)
    assert net.weights_report is report
    assert (report.matched, report.ignored, report.missing) == (("conv", "v1.0/fc"), ("other",), ())
    assert "ignored layers that the net lacks: other" in caplog.text


def test_layers_that_the_weights_lack_are_an_error_or_keep_their_fillers(net: CaffeNet) -> None:
    weights = {"conv": arrays_of(net)["conv"]}
    with pytest.raises(
        WeightsError, match=r"a mapping does not fit tiny.prototxt:\n  layer 'v1.0/fc': not in the weights$"
    ):
        load_net(SPEC, weights)
    torch.manual_seed(5)
    loaded = load_net(SPEC, weights, strict=False)
    assert loaded.weights_report is not None
    assert loaded.weights_report.missing == ("v1.0/fc",)
    assert np.array_equal(loaded.params["conv"][0].detach().numpy(), weights["conv"][0])
    weight, bias = loaded.params["v1.0/fc"]
    assert 0.5 < weight.std() < 1.5
    assert ((bias >= 0) & (bias <= 1)).all()


def test_weights_of_no_layer_of_the_net_are_named(net: CaffeNet) -> None:
    with pytest.raises(WeightsError, match=r"\n  they hold 'conv\.0', 'conv\.1', .*no layer of the net with weights$"):
        load_net(SPEC, net.state_dict())


def test_every_misfit_is_listed_and_nothing_is_changed(net: CaffeNet) -> None:
    before = arrays_of(net)
    weights = {
        "conv": [np.zeros((3, 2, 5, 5), np.float32), np.zeros(4, np.float32)],
        "relu": [np.zeros(1, np.float32)],
        "v1.0/fc": [np.zeros((2, 12), np.float32)],
    }
    with pytest.raises(WeightsError) as caught:
        net.load_weights(weights)
    assert str(caught.value).splitlines()[1:] == [
        "  layer 'conv': weight blob is (3, 2, 5, 5), prototxt says (3, 2, 3, 3)",
        "  layer 'conv': bias blob is (4,), prototxt says (3,)",
        "  layer 'v1.0/fc': weights hold 1 blobs, prototxt says 2",
        "  layer 'relu': weights hold 1 blobs, prototxt says 0",
    ]
    assert_same(net, before)


def test_shape_mismatches_are_errors_without_strict_too(net: CaffeNet) -> None:
    weights = {**arrays_of(net), "conv": [np.zeros((3, 2, 5, 5), np.float32), np.zeros(3, np.float32)]}
    with pytest.raises(WeightsError, match="weight blob is"):
        net.load_weights(weights, strict=False)


def test_integers_are_no_weights(net: CaffeNet) -> None:
    weights = {**arrays_of(net), "conv": [np.zeros((3, 2, 3, 3), np.int32), np.zeros(3, np.float32)]}
    with pytest.raises(WeightsError, match="layer 'conv': weight blob holds int32, expected floats"):
        net.load_weights(weights)


def test_legacy_four_axis_blobs_fit_smaller_shapes(net: CaffeNet) -> None:
    expected = arrays_of(net)
    legacy = {
        layer: [array.reshape((1,) * (4 - array.ndim) + array.shape) for array in blobs]
        for layer, blobs in expected.items()
    }
    assert {array.ndim for blobs in legacy.values() for array in blobs} == {4}
    assert_same(load_net(SPEC, legacy), expected)
    transposed = {**legacy, "v1.0/fc": [legacy["v1.0/fc"][0].reshape(2, 12, 1, 1), legacy["v1.0/fc"][1]]}
    with pytest.raises(WeightsError, match=r"weight blob is \(2, 12, 1, 1\), prototxt says \(2, 12\)"):
        load_net(SPEC, transposed)


def test_state_dict_keys_are_layer_and_blob_index(net: CaffeNet) -> None:
    assert list(net.state_dict()) == ["conv.0", "conv.1", "v1%2E0/fc.0", "v1%2E0/fc.1"]


def test_safetensors_carry_where_they_come_from(net: CaffeNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    net.save(path)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
        assert sorted(file.keys()) == ["conv.0", "conv.1", "v1.0/fc.0", "v1.0/fc.1"]
    assert json.loads(metadata["layers"]) == ["conv", "v1.0/fc"]
    assert (metadata["generator"], metadata["net"], metadata["dialect"]) == ("cpm_port", "tiny", "bvlc")
    assert hashlib.sha256(metadata["prototxt"].encode()).hexdigest() == metadata["prototxt_sha256"]
    assert parse_net(metadata["prototxt"]).layers == SPEC.layers


def test_an_unknown_suffix_is_refused(net: CaffeNet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"suffix '\.npz' names no model format; expected one of \.caffemodel, \.h5"):
        net.save(tmp_path / "model.npz")


def test_files_that_are_absent_or_broken_are_named(net: CaffeNet, tmp_path: Path) -> None:
    for name in ("none.caffemodel", "none.safetensors"):
        with pytest.raises(MissingFileError, match=name):
            load_net(SPEC, tmp_path / name)
    path = tmp_path / "model.safetensors"
    net.save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelFileError, match=r"model.safetensors: not a whole safetensors file"):
        load_net(SPEC, path)
    safetensors.numpy.save_file({"conv": np.zeros(2, np.float32)}, path)
    with pytest.raises(ModelFileError, match=r"tensor 'conv'; expected a name like"):
        load_net(SPEC, path)
    safetensors.torch.save_file({"conv.0": torch.zeros(2, dtype=torch.bfloat16)}, path)
    with pytest.raises(ModelFileError, match=r"tensor 'conv.0' holds BF16; expected one of F64, F32, F16"):
        load_net(SPEC, path)


def test_a_half_precision_net_saves_floats(net: CaffeNet, tmp_path: Path) -> None:
    expected = {layer: [array.astype(np.float16) for array in blobs] for layer, blobs in arrays_of(net).items()}
    net.half().save(tmp_path / "model.caffemodel")
    stored = read_weights(tmp_path / "model.caffemodel")
    assert stored["conv"][0].dtype == np.float32
    assert np.array_equal(stored["conv"][0], expected["conv"][0].astype(np.float32))
