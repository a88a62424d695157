"""What stands around nets in pycaffe scripts: `import caffe` itself, Classifier, Detector and drawing.

Oracles: the net itself on inputs prepared by hand; Graphviz's text read back line by line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import cpm_port.pycaffe as caffe
from cpm_port.errors import MissingDependencyError
from cpm_port.pycaffe import draw
from cpm_port.pycaffe import layers as L
from cpm_port.pycaffe.proto import caffe_pb2
from tests.pycaffe.support import write

SCORES = """name: "scores"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
PREPARED = {"mean": np.array([100.0, 110.0, 120.0]), "raw_scale": 255, "channel_swap": (2, 1, 0)}


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, str]:
    """A net of scores and its weights."""
    prototxt, weights = write(tmp_path, SCORES), str(tmp_path / "scores.caffemodel")
    caffe.Net(prototxt, caffe.TEST).save(weights)
    return prototxt, weights


def prepared(image: np.ndarray) -> np.ndarray:
    """Return an image as the net wants it, by hand."""
    values: np.ndarray = (image[:, :, ::-1] * 255 - PREPARED["mean"]).transpose(2, 0, 1)
    return values.astype(np.float32)


@pytest.fixture
def no_caffe() -> Iterator[None]:
    """No package by the name of caffe, before and after."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "caffe"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "caffe"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("no_caffe")
def test_install_puts_every_part_under_the_name_caffe() -> None:
    caffe.install()
    caffe.install()
    assert import_module("caffe") is caffe
    for name in ("io", "draw", "proto", "coord_map", "net_spec", "classifier", "detector", "pycaffe", "_caffe"):
        part = import_module(f"caffe.{name}")
        assert part is getattr(caffe, name), name
    assert import_module("caffe.proto.caffe_pb2") is caffe_pb2
    assert import_module("caffe.pycaffe").Net is import_module("caffe._caffe").Net is caffe.Net


@pytest.mark.usefixtures("no_caffe")
def test_install_leaves_another_caffe_alone() -> None:
    sys.modules["caffe"] = other = ModuleType("caffe")
    with pytest.raises(ImportError, match="already"):
        caffe.install()
    assert sys.modules["caffe"] is other


def test_every_public_name_is_there() -> None:
    assert [name for name in caffe.__all__ if not hasattr(caffe, name)] == []


def test_a_classifier_averages_ten_crops_or_takes_the_centre(model: tuple[str, str]) -> None:
    classifier = caffe.Classifier(*model, image_dims=(8, 10), **PREPARED)
    image = np.random.RandomState(0).uniform(size=(8, 10, 3)).astype(np.float32)
    center = classifier.predict([image], oversample=False)
    assert center.shape == (1, 5)
    net = caffe.Net(*model, caffe.TEST)
    np.testing.assert_allclose(center, net.forward_all(data=prepared(image[1:7, 2:8])[None])["prob"], rtol=1e-4)
    crops = [image[top : top + 6, left : left + 6] for top in (0, 2) for left in (0, 4)] + [image[1:7, 2:8]]
    inputs = np.stack([prepared(crop) for crop in [*crops, *(crop[:, ::-1] for crop in crops)]])
    average = net.forward_all(data=inputs)["prob"].mean(0)
    np.testing.assert_allclose(classifier.predict([image])[0], average, rtol=1e-4)
    for wrong in ([], image):
        with pytest.raises(ValueError, match="a list of images"):
            classifier.predict(wrong)


def test_a_detector_scores_windows(model: tuple[str, str], tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (12, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    detector = caffe.Detector(*model, **PREPARED)
    windows = [(0, 0, 6, 6), (3, 4, 9, 10)]
    found = detector.detect_windows([(str(tmp_path / "a.png"), windows)])
    inputs = np.stack([prepared(pixels[t:b, left:r] / 255.0) for t, left, b, r in windows])
    expected = caffe.Net(*model, caffe.TEST).forward_all(data=inputs)["prob"]
    for detection, window, scores in zip(found, windows, expected, strict=True):
        assert tuple(detection["window"]) == window
        assert detection["filename"] == str(tmp_path / "a.png")
        np.testing.assert_allclose(detection["prediction"], scores, rtol=1e-4)
    with pytest.raises(NotImplementedError, match="MATLAB"):
        detector.detect_selective_search(["a.png"])


def test_a_window_at_the_border_gets_the_mean_around_it(model: tuple[str, str]) -> None:
    detector = caffe.Detector(*model, context_pad=1, **PREPARED)
    image = np.full((12, 12, 3), 0.5, np.float32)
    inside = detector.crop(image, (4, 4, 8, 8))
    assert inside.shape == (6, 6, 3)
    assert (inside == 0.5).all()
    corner = detector.crop(image, (0, 0, 4, 4))
    mean = np.array([120.0, 110.0, 100.0]) / 255
    assert np.allclose(corner[0, 0], mean)
    assert np.allclose(corner[-1, -1], 0.5)


def small_message() -> object:
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 3, 8, 8]})
    n.conv = L.Convolution(n.data, kernel_size=3, num_output=2)
    n.relu = L.ReLU(n.conv, in_place=True)
    n.train = L.Silence(n.relu, ntop=0, include={"phase": caffe.TRAIN})
    return n.to_proto()


@pytest.mark.parametrize(("phase", "count"), [(None, 4), (caffe.TRAIN, 4), (caffe.TEST, 3)])
def test_a_drawn_net_has_a_node_for_every_layer_and_blob(phase: int | None, count: int, tmp_path: Path) -> None:
    draw.draw_net_to_file(small_message(), tmp_path / "net.dot", rankdir="TB", phase=phase)
    text = (tmp_path / "net.dot").read_text()
    assert len(re.findall(r"^  \"layer \d+\" \[", text, re.MULTILINE)) == count
    assert len(re.findall(r"^  \"blob \w+\" \[", text, re.MULTILINE)) == 2
    assert '"blob data" -> "layer 1"' in text
    assert '"layer 1" -> "blob conv" [label="2"]' in text
    assert "kernel size: 3" in text


@pytest.mark.parametrize(("phase", "data"), [(None, 2), (caffe.TRAIN, 1), (caffe.TEST, 1)])
def test_a_net_of_both_phases_is_drawn_whole_or_by_phase(phase: int | None, data: int) -> None:
    n = caffe.NetSpec()
    n.data, n.label = L.Data(source="train", batch_size=2, ntop=2, include={"phase": caffe.TRAIN})
    net = n.to_proto()
    n.data, n.label = L.Data(source="test", batch_size=2, ntop=2, exclude={"phase": caffe.TRAIN})
    n.loss = L.SoftmaxWithLoss(n.data, n.label)
    net.MergeFrom(n.to_proto())
    text = draw.graph_text(net, phase=phase)
    assert text.count("data\\n(Data)") == data
    assert text.count("(SoftmaxWithLoss)") == 1


def test_a_piece_of_a_net_is_drawn() -> None:
    net = caffe_pb2.NetParameter()
    net.layer.add(name="r", type="NoSuchType", bottom=["elsewhere"], top=["y"])
    assert '"blob elsewhere" -> "layer 0"' in draw.graph_text(net)


def test_an_old_net_is_drawn_too() -> None:
    net = caffe_pb2.NetParameter(name="old", input=["x"], input_dim=[1, 1, 2, 2])
    net.layers.add(name="r", type="RELU", bottom=["x"], top=["x"])
    assert "r (ReLU)" in draw.graph_text(net, "TB")


def test_a_picture_without_graphviz_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="Graphviz"):
        draw.draw_net(small_message(), "LR", "png")
