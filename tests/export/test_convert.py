"""Converting keeps every value: round trips bit for bit, ONNX held to our own outputs by onnxruntime."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

import cpm_port
from cpm_port.caffe import parse_net, read_net, read_weights, write_weights
from cpm_port.cli import main
from cpm_port.errors import (
    MissingDependencyError,
    MissingFileError,
    ModelFileError,
    UsageError,
    WeightsError,
)
from cpm_port.export import convert, onnx
from cpm_port.formats import format_of
from cpm_port.inference.interface import described
from cpm_port.models import architecture, build, deploy_text, to_caffe, train_text
from cpm_port.parts import FLIC9
from cpm_port.zoo import resolve

SUFFIXES = (".caffemodel", ".caffemodel.h5", ".safetensors")
NET = architecture("flic", stages=2, width=4, box=(64, 64))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small net, and its model in every format that is read."""
    folder = tmp_path_factory.mktemp("converted")
    (folder / "net.prototxt").write_text(deploy_text(NET))
    module = build(NET)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    write_weights(folder / "net.caffemodel", to_caffe(module.state_dict(), NET), read_net(folder / "net.prototxt"))
    for suffix in SUFFIXES[1:]:
        convert(folder / "net.caffemodel", folder / f"net{suffix}")
    return folder


def arrays_of(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    return dict(format_of(path).read(path).blobs)


def assert_same_bits(found: dict[str, tuple[np.ndarray, ...]], expected: dict[str, tuple[np.ndarray, ...]]) -> None:
    assert found.keys() == expected.keys()
    for layer, arrays in expected.items():
        assert len(found[layer]) == len(arrays)
        for mine, other in zip(found[layer], arrays, strict=True):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
            assert mine.tobytes() == other.tobytes(), layer


@pytest.mark.parametrize(("source", "target"), [*itertools.product(SUFFIXES, repeat=2)])
def test_every_pair_of_formats_keeps_every_bit(source: str, target: str, files: Path, tmp_path: Path) -> None:
    net = files / "net.prototxt" if source == ".caffemodel.h5" else None
    convert(files / f"net{source}", tmp_path / f"out{target}", net)
    expected = arrays_of(files / "net.caffemodel")
    assert_same_bits(arrays_of(tmp_path / f"out{target}"), expected)


def test_a_caffemodel_comes_back_from_safetensors_byte_for_byte(files: Path, tmp_path: Path) -> None:
    convert(files / "net.safetensors", tmp_path / "back.caffemodel")
    assert (tmp_path / "back.caffemodel").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_odd_values_doubles_and_names_survive(tmp_path: Path) -> None:
    text = """
    input: "data" input_shape { dim: 1 dim: 2 }
    layer { name: "a/b.c 0" type: "InnerProduct" bottom: "data" top: "out" inner_product_param { num_output: 2 } }
    """
    odd = np.array([[np.nan, np.inf], [-0.0, 1e-42]], np.float32)
    blobs = {"a/b.c 0": (odd, np.array([np.pi, -np.inf], np.float64))}
    write_weights(tmp_path / "odd.caffemodel", blobs, parse_net(text))
    convert(tmp_path / "odd.caffemodel", tmp_path / "odd.safetensors")
    convert(tmp_path / "odd.safetensors", tmp_path / "back.caffemodel")
    assert_same_bits(dict(read_weights(tmp_path / "back.caffemodel")), blobs)


def test_load_net_reads_what_convert_writes(files: Path) -> None:
    data = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = [
            cpm_port.load_net(files / "net.prototxt", files / f"net{suffix}")(data)["Mconv5_stage2"]
            for suffix in SUFFIXES
        ]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_what_save_writes_turns_back_into_a_caffemodel_without_help(files: Path, tmp_path: Path) -> None:
    net = cpm_port.load_net(files / "net.prototxt", files / "net.caffemodel")
    net.save(tmp_path / "saved.safetensors")
    net.save(tmp_path / "saved.caffemodel")
    convert(tmp_path / "saved.safetensors", tmp_path / "back.caffemodel")
    assert (tmp_path / "back.caffemodel").read_bytes() == (tmp_path / "saved.caffemodel").read_bytes()


def test_a_suffix_in_capitals_names_the_same_format(files: Path, tmp_path: Path) -> None:
    convert(files / "net.caffemodel", tmp_path / "NET.H5")
    assert (tmp_path / "NET.H5").read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    assert_same_bits(arrays_of(tmp_path / "NET.H5"), arrays_of(files / "net.caffemodel"))


@pytest.mark.parametrize("suffix", [".caffemodel.h5", ".safetensors"])
def test_formats_of_arrays_alone_need_no_net(suffix: str, files: Path, tmp_path: Path) -> None:
    convert(files / "net.caffemodel.h5", tmp_path / f"out{suffix}")
    convert(tmp_path / f"out{suffix}", tmp_path / "back.caffemodel.h5")
    expected = arrays_of(files / "net.caffemodel")
    assert_same_bits(arrays_of(tmp_path / "back.caffemodel.h5"), expected)


def test_a_training_model_is_kept_whole(files: Path, tmp_path: Path) -> None:
    text = train_text(NET)
    text = text.replace('type: "CPMData"', 'type: "CPMData"\n  include { phase: TRAIN }')
    spec = parse_net(text, phase="TRAIN")
    write_weights(tmp_path / "train.caffemodel", read_weights(files / "net.caffemodel"), spec)
    convert(tmp_path / "train.caffemodel", tmp_path / "train.safetensors")
    convert(tmp_path / "train.safetensors", tmp_path / "back.caffemodel")
    back = read_weights(tmp_path / "back.caffemodel")
    assert_same_bits(dict(back), dict(read_weights(files / "net.caffemodel")))
    assert list(back.types) == [layer.name for layer in spec.layers]
    assert back.dialect == "cpm"


def test_a_net_of_both_phases_keeps_the_layers_of_the_one_that_was_read(files: Path, tmp_path: Path) -> None:
    data = (
        'layer {{ name: "d{0}" type: "DummyData" top: "data" include {{ phase: {0} }} dummy_data_param {{ {1} }} }}\n'
    )
    shape = "shape { dim: 1 dim: 3 dim: 9 dim: 9 }"
    conv = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    conv += "convolution_param { num_output: 1 kernel_size: 1 } }"
    (tmp_path / "both.prototxt").write_text(data.format("TRAIN", shape) + data.format("TEST", shape) + conv)
    blobs = {"c": (np.ones((1, 3, 1, 1), np.float32), np.zeros(1, np.float32))}
    write_weights(tmp_path / "a.h5", blobs, read_net(tmp_path / "both.prototxt"))
    convert(tmp_path / "a.h5", tmp_path / "b.safetensors", tmp_path / "both.prototxt")
    convert(tmp_path / "b.safetensors", tmp_path / "c.caffemodel")
    assert list(read_weights(tmp_path / "c.caffemodel").types) == ["dTEST", "c"]


def test_onnx_runs_to_our_outputs_in_any_batch(files: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    lines = convert(files / "net.caffemodel", tmp_path / "net.onnx")
    assert any("onnxruntime agrees" in line for line in lines)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[0] == "batch"
    data = np.random.RandomState(1).standard_normal((5, 4, 64, 64)).astype(np.float32)
    (found,) = session.run(["Mconv5_stage2"], {"data": data})
    net = cpm_port.load_net(files / "net.prototxt", files / "net.caffemodel")
    with torch.no_grad():
        expected = net(torch.from_numpy(data))["Mconv5_stage2"].numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def _onnx_session(path: Path) -> Any:
    return pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_onnx_takes_other_heights_and_widths_and_says_what_it_is_fed(files: Path, tmp_path: Path) -> None:
    onnx_package = pytest.importorskip("onnx")
    lines = convert(files / "net.caffemodel", tmp_path / "net.onnx", describe=described)
    assert "open: batch, height, width" in lines
    data = np.random.RandomState(1).standard_normal((1, 4, 80, 104)).astype(np.float32)
    session = _onnx_session(tmp_path / "net.onnx")
    assert session.get_inputs()[0].shape == ["batch", 4, "height", "width"]
    (found,) = session.run(["Mconv5_stage2"], {"data": data})
    net = cpm_port.load_net(files / "net.prototxt", files / "net.caffemodel")
    with torch.no_grad():
        expected = net(torch.from_numpy(data))["Mconv5_stage2"].numpy()
    assert found.shape == expected.shape == (1, 10, 10, 13)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    told = {entry.key: entry.value for entry in onnx_package.load(str(tmp_path / "net.onnx")).metadata_props}
    assert told == {
        "parts": f"{', '.join(FLIC9.parts)}, background",
        "input": "channels blue, green, red; pixel / 256 - 0.5",
        "box_size": "64",
        "stride": "8",
        "center_map": "4th channel: Gaussian in the middle of the box, sigma 3.65217 px, peak 1",
    }


def test_onnx_of_a_net_that_takes_one_size_leaves_the_batch_open(tmp_path: Path) -> None:
    """A data layer that tells its shapes will do, and its labels, which no layer reads, are left out."""
    pytest.importorskip("onnxruntime")
    text = """
    layer { name: "d" type: "MemoryData" top: "data" top: "label"
            memory_data_param { batch_size: 2 channels: 3 height: 8 width: 8 } }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "f" type: "InnerProduct" bottom: "c" top: "f"
            inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
    """
    cpm_port.load_net(parse_net(text)).save(tmp_path / "net.caffemodel")
    assert "open: batch" in convert(tmp_path / "net.caffemodel", tmp_path / "net.onnx")
    session = _onnx_session(tmp_path / "net.onnx")
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [("data", ["batch", 3, 8, 8])]
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [("f", ["batch", 5])]


def test_a_model_is_converted_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "default.safetensors"
    assert main(["convert", "--model", "default", str(target)]) == 0
    assert_same_bits(arrays_of(target), arrays_of(resolve("default").weights))
    assert main(["convert", str(target)]) == 2
    assert "expected SRC DST, or --model NAME DST" in capsys.readouterr().err


def test_onnx_that_differs_does_not_appear(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(ModelFileError, match="onnxruntime differs by"):
        convert(files / "net.caffemodel", tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_extra_names_it(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cpm_port\[onnx\]"):
        convert(files / "net.caffemodel", tmp_path / "net.onnx")


def test_onnx_of_a_net_without_inputs_asks_for_the_deploy_net(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    spec = parse_net(train_text(NET), phase="TRAIN")
    write_weights(tmp_path / "train.caffemodel", read_weights(files / "net.caffemodel"), spec)
    with pytest.raises(UsageError, match="give the deploy prototxt by --net"):
        convert(tmp_path / "train.caffemodel", tmp_path / "net.onnx")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pkl", ".ckpt"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_pickles_are_refused(suffix: str, side: str, files: Path) -> None:
    paths = {"source": files / "net.caffemodel", "target": files / "out.caffemodel", side: files / f"evil{suffix}"}
    with pytest.raises(UsageError, match="pickle, which runs code when read"):
        convert(paths["source"], paths["target"])


def test_what_cannot_be_done_says_what_would_help(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"suffix '\.txt' names no model format; expected one of \.caffemodel"):
        convert(files / "net.caffemodel", tmp_path / "net.txt")
    with pytest.raises(UsageError, match="ONNX is only written"):
        convert(tmp_path / "net.onnx", tmp_path / "net.caffemodel")
    with pytest.raises(UsageError, match="--net PROTOTXT"):
        convert(files / "net.caffemodel.h5", tmp_path / "net.caffemodel")
    with pytest.raises(UsageError, match="by --net"):
        convert(files / "net.caffemodel.h5", tmp_path / "net.onnx")
    with pytest.raises(MissingFileError, match="no such file"):
        convert(tmp_path / "absent.safetensors", tmp_path / "net.caffemodel")


def test_layers_that_the_given_net_lacks_are_said(files: Path, tmp_path: Path) -> None:
    (tmp_path / "short.prototxt").write_text(deploy_text(architecture("flic", stages=1, width=4)))
    lines = convert(files / "net.caffemodel", tmp_path / "short.caffemodel", tmp_path / "short.prototxt")
    assert "left out, not in" in lines[0]
    assert "Mconv5_stage2" in lines[0]
    assert "conv7_stage1" in read_weights(tmp_path / "short.caffemodel")
    (tmp_path / "long.prototxt").write_text(deploy_text(architecture("flic", stages=3, width=4)))
    lines = convert(tmp_path / "short.caffemodel", tmp_path / "long.caffemodel", tmp_path / "long.prototxt")
    assert re.fullmatch(r"without weights, not in .*short\.caffemodel: conv1_stage2, .*, Mconv5_stage3", lines[0])
    (tmp_path / "other.prototxt").write_text(
        'input: "data" input_shape { dim: 1 } layer { name: "x" type: "ReLU" bottom: "data" top: "x" }'
    )
    with pytest.raises(WeightsError, match="none of its 16 layers"):
        convert(files / "net.caffemodel", tmp_path / "o.caffemodel", tmp_path / "other.prototxt")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["conv"], "tensor 'conv'"), (["conv.weight"], "tensor 'conv.weight'"), (["conv.1"], r"has tensors \[1\]")],
)
def test_foreign_safetensors_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    safetensors.numpy.save_file({name: np.ones(2, np.float32) for name in names}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match=message):
        convert(tmp_path / "foreign.safetensors", tmp_path / "net.caffemodel")


def test_broken_safetensors_are_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes((files / "net.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        convert(tmp_path / "half.safetensors", tmp_path / "net.caffemodel")
