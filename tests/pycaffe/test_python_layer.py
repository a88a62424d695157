"""Layers written in Python run as pycaffe's do, and only where the caller has said so.

Oracles: the claims of upstream's test_python_layer.py and test_python_layer_with_param_str.py; products by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cpm_port.pycaffe as caffe
from cpm_port import load_net
from cpm_port.errors import LayerError, UnsupportedLayerError
from cpm_port.pycaffe import python_layer
from tests.pycaffe.support import write


class TimesTen(caffe.Layer):
    """y = 10 x."""

    def reshape(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):  # type: ignore[no-untyped-def]
        bottom[0].diff[...] = 10 * top[0].diff


class Times(TimesTen):
    """y = a x, the number a given as text."""

    def setup(self, bottom, top):  # type: ignore[no-untyped-def]
        self.factor = float(self.param_str)

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].data[...] = self.factor * bottom[0].data


class Breaks(TimesTen):
    def setup(self, bottom, top):  # type: ignore[no-untyped-def]
        raise RuntimeError("as it must")


class Offset(TimesTen):
    """y = x + w, w learned."""

    def setup(self, bottom, top):  # type: ignore[no-untyped-def]
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 3

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].data[...] = bottom[0].data + self.blobs[0].data

    def backward(self, top, propagate_down, bottom):  # type: ignore[no-untyped-def]
        bottom[0].diff[...] = top[0].diff
        self.blobs[0].diff[0] = top[0].diff.sum()


class InPlace(TimesTen):
    """x = 10 x, where nothing needs a shape."""

    def reshape(self, bottom, top):  # type: ignore[no-untyped-def]
        pass


class Phase(caffe.Layer):
    def reshape(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].reshape()

    def forward(self, bottom, top):  # type: ignore[no-untyped-def]
        top[0].data[()] = self.phase


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(python_layer._REGISTERED)
    for layer in (TimesTen, Times, Breaks, Offset, InPlace, Phase):
        caffe.register_python_layer(layer)
    yield
    python_layer._REGISTERED.clear()
    python_layer._REGISTERED.update(before)


def layer(name: str, bottom: str, kind: str, text: str = "", top: str = "") -> str:
    given = f'param_str: "{text}"' if text else ""
    return (
        f'layer {{ name: "{name}" type: "Python" bottom: "{bottom}" top: "{top or name}" '
        f'python_param {{ module: "layers_of_a_user" layer: "{kind}" {given} }} }}\n'
    )


INPUT = 'force_backward: true input: "data" input_shape { dim: 10 dim: 9 dim: 8 }\n'
CHAIN = INPUT + layer("one", "data", "TimesTen") + layer("two", "one", "Times", "5") + layer("three", "two", "TimesTen")


def test_layers_compute_forward_and_backward(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TRAIN)
    net.blobs["data"].data[...] = 8
    assert (net.forward()["three"] == 8 * 500).all()


def test_backward_needs_no_forward_pass(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TRAIN)
    net.blobs["three"].diff[...] = 7
    net.backward()
    assert (net.blobs["data"].diff == 7000).all()


def test_layers_reshape_on_the_fly(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TRAIN)
    net.blobs["data"].reshape(4, 4, 4, 4)
    net.forward()
    assert {blob.data.shape for blob in net.blobs.values()} == {(4, 4, 4, 4)}


def test_an_exception_comes_through(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="as it must"):
        caffe.Net(write(tmp_path, INPUT + layer("bad", "data", "Breaks")), caffe.TEST)
    with pytest.raises(ValueError, match="could not convert"):
        caffe.Net(write(tmp_path, INPUT + layer("bad", "data", "Times", "x")), caffe.TEST)


def test_parameters_are_the_nets_own(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, INPUT + layer("offset", "data", "Offset")), caffe.TRAIN)
    assert (net.forward()["offset"] == 3).all()
    net.blobs["offset"].diff[...] = 1
    net.backward()
    blob = net.layers[list(net._layer_names).index("offset")].blobs[0]
    assert blob.diff[0] == net.params["offset"][0].diff[0] == 720
    net.save(tmp_path / "weights")
    blob.data[0] = -1
    assert (net.forward()["offset"] == -1).all()
    net.copy_from(tmp_path / "weights")
    assert blob.data[0] == 3


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_a_layer_knows_its_phase(phase: int, tmp_path: Path) -> None:
    text = 'layer { name: "l" type: "Python" top: "phase" python_param { module: "m" layer: "Phase" } }'
    assert caffe.Net(write(tmp_path, text), phase).forward()["phase"] == phase


def test_net_layers_holds_the_callers_object(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    assert isinstance(net.layers[1], TimesTen)
    assert net.layers[2].factor == 5
    assert net.layers[2].param_str == net.layers[2].param_str_ == "5"
    assert net.layers[2].type == "Python"


def test_a_layer_in_place_has_its_bottoms_shape(tmp_path: Path) -> None:
    text = INPUT + layer("y", "data", "Times", "2")
    text += layer("once", "y", "InPlace", top="y") + layer("again", "y", "InPlace", top="y")
    net = caffe.Net(write(tmp_path, text), caffe.TRAIN)
    net.blobs["data"].data[...] = 1
    assert (net.forward()["y"] == 200).all()
    net.blobs["y"].diff[...] = 1
    assert (net.backward()["data"] == 1000).all()  # TimesTen's own backward, three times
    data = torch.ones((10, 9, 8), requires_grad=True)
    top = load_net(tmp_path / "net.prototxt")({"data": data})["y"]
    top.sum().backward()
    assert bool((top == 200).all())
    assert bool((data.grad == 1000).all())


def test_gradients_of_several_readers_add_up(tmp_path: Path) -> None:
    text = INPUT + layer("one", "data", "TimesTen") + layer("two", "data", "TimesTen")
    text += 'layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 3 } }'
    net = caffe.Net(write(tmp_path, text), caffe.TRAIN)
    net.forward()
    for name in ("one", "two", "p"):
        net.blobs[name].diff[...] = 1
    net.backward()
    assert (net.blobs["data"].diff == 23).all()


def test_load_net_runs_them_under_autograd(tmp_path: Path) -> None:
    net = load_net(write(tmp_path, INPUT + layer("offset", "data", "Offset") + layer("ten", "offset", "TimesTen")))
    data = torch.full((10, 9, 8), 2.0, requires_grad=True)
    top = net({"data": data})["ten"]
    assert bool((top == 50).all())
    top.sum().backward()
    assert bool((data.grad == 10).all())
    assert net.params["offset"][0].grad.item() == 7200


def test_a_file_alone_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layers_of_a_file.py").write_text(
        "import cpm_port.pycaffe as caffe\nclass Two(caffe.Layer):\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = INPUT + layer("two", "data", "Two").replace("layers_of_a_user", "layers_of_a_file")
    with pytest.raises(UnsupportedLayerError, match=r"layers_of_a_file\.Two, that nobody has registered"):
        caffe.Net(write(tmp_path, text), caffe.TEST)
    assert caffe.Net(write(tmp_path, text), caffe.TEST, allow_python_layers=True).forward()["two"] == 2
    with pytest.raises(UnsupportedLayerError):
        caffe.Net(write(tmp_path, text), caffe.TEST)
    with pytest.raises(LayerError, match="no Python layer"):
        caffe.Net(write(tmp_path, text.replace('"Two"', '"Three"')), caffe.TEST, allow_python_layers=True)
