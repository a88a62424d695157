"""The benches of the net compare equal things and say what they measured. Oracle: parity checks, spoiled on purpose."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cpm_port.bench import _peers, net, person, scaling
from cpm_port.errors import MissingDependencyError, ModelFileError
from cpm_port.models import architecture

SMALL = ["--width", "16", "--box-size", "64", "--repeats", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_peers, "matrix_rate", partial(_peers.matrix_rate, seconds=0.05))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> _peers.SeededModel:
    return _peers.seeded_model(architecture("mpi", width=16, stages=2, box=(64, 64)), tmp_path_factory.mktemp("model"))


def arguments(bench: ModuleType, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    return parser.parse_args([*SMALL, *given])


def test_a_pass_is_timed_beside_its_peers_and_absent_ones_are_named() -> None:
    args = arguments(net, "--stages", "2", "--no-onnx", "--opencv-python", "nowhere/python")
    result = net.run(args)
    assert set(result["medians"]) == {"ours", "plain PyTorch", "plain PyTorch, channels-last"}
    assert result["ratios"]["plain PyTorch"] == result["medians"]["plain PyTorch"] / result["medians"]["ours"]
    assert set(result["targets"]) <= set(result["ratios"])
    assert "nowhere/python" in result["absent"]["OpenCV 4 importer"]
    assert set(result["absent"]) == {"OpenCV 4 importer", "Caffe", "onnxruntime"}
    assert set(result["reading"]) == {"import torch", "from files to a ready net"}


def test_a_person_is_timed_beside_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_SIZES", {"640 x 360": (90, 160), "1920 x 1080": (135, 240)})
    result = person.run(
        arguments(person, "--stages", "2", "--no-onnx", "--opencv-python", "nowhere/python", "--bounds")
    )
    assert set(result["medians"]) == {"ours", "plain PyTorch, the forwards", "the release's steps"}
    assert result["parity"].startswith("the same 14 joints")
    assert all(0 < share < 100 for share in result["before_and_after_percent"].values())


def test_limits_that_are_not_kept_are_named() -> None:
    good = {"peak MiB": 2300, "transformed weights MiB": 1500}
    assert person._missed({"640 x 360": 3.0, "1920 x 1080": 8.0}, {"1792": good}) == []
    assert net._missed({"from files to a ready net": 0.5}) == []
    assert "640 x 360: 3.1 %" in person._missed({"640 x 360": 3.1}, {})[0]
    assert "1920 x 1080: 8.1 %" in person._missed({"1920 x 1080": 8.1}, {})[0]
    assert "3100 MiB, expected at most 3072" in person._missed({}, {"1792": {**good, "peak MiB": 3100}})[0]
    assert "weights take 1500 MiB" in person._missed({}, {"1024": good})[0]
    assert "0.60 s from the files" in net._missed({"from files to a ready net": 0.6})[0]


def test_opencv_gives_the_twins_maps(model: _peers.SeededModel) -> None:
    python = Path(__file__).parents[2] / _peers.OPENCV_PYTHON
    x = torch.rand(2, 4, 64, 64)
    try:
        with torch.no_grad(), _peers.piped_net(model, python, "OpenCV") as forward:
            assert _peers.check_parity(_peers.plain_net(model)(x), forward(x), "OpenCV") < _peers.PEER_PARITY
    except MissingDependencyError as error:
        pytest.skip(str(error))


# A stand-in for pycaffe, in its place on the path: it checks how it is called and gives numbers that can be foretold.
PYCAFFE = """
import os
import numpy as np
TEST = 1
print("libraries print")  # which must not get between the arrays
def set_mode_cpu():
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
class Blob:
    def __init__(self, *shape):
        self.data = np.zeros(shape, np.float32)
    def reshape(self, *shape):
        self.data = np.zeros(shape, np.float32)
class Net:
    inputs, outputs = ["data"], ["other", "maps"]
    def __init__(self, prototxt, model, phase):
        assert open(prototxt).read().startswith("name") and os.path.getsize(model) and phase == TEST
        self.blobs, self.shaped = {"data": Blob(1, 4, 64, 64)}, (1, 4, 64, 64)
    def reshape(self):
        self.shaped = self.blobs["data"].data.shape
    def forward(self):
        data = self.blobs["data"].data
        assert data.shape == self.shaped
        if data.max() > 100:
            raise ValueError("too bright")
        return {"other": 0 * data, "maps": np.float64(2) * data[:, :1]}
"""


@pytest.fixture
def pycaffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "caffe.py").write_text(PYCAFFE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    torch.set_num_threads(1)
    return Path(sys.executable)


def test_caffe_runs_behind_pipes_on_as_many_threads(model: _peers.SeededModel, pycaffe: Path) -> None:
    with _peers.piped_net(model, pycaffe, "pycaffe") as forward:
        for count in (1, 3):
            x = torch.rand(count, 4, 64, 64)
            assert torch.equal(forward(x), 2 * x[:, :1])
        with pytest.raises(MissingDependencyError, match="pycaffe ended: ValueError: too bright"):
            forward(x + 100)


def test_caffe_that_was_asked_for_and_does_not_run_stops_the_bench(
    model: _peers.SeededModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caffe.py").write_text("raise ImportError('libcaffe.so is not there')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for python, message in (
        (sys.executable, "with pycaffe: ImportError: libcaffe.so is not"),
        ("/no/python", "no int"),
    ):
        args = arguments(net, "--stages", "2", "--no-onnx", "--opencv-python", "nowhere", "--caffe", python)
        with pytest.raises(MissingDependencyError, match=message), ExitStack() as stack:
            _peers.other_nets(model, tmp_path, args, stack)


def test_an_interpreter_without_opencv_is_named(model: _peers.SeededModel, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    match = "does not read Caffe files with OpenCV: it ended without a word"
    with pytest.raises(MissingDependencyError, match=match), _peers.piped_net(model, fake, "OpenCV"):
        pass


def test_maps_that_differ_stop_the_bench() -> None:
    maps = torch.rand(1, 15, 8, 8)
    assert _peers.check_parity(maps, maps + 1e-6, "peer") < 1e-5
    with pytest.raises(ModelFileError, match=r"'peer' differs from plain PyTorch by 1\.\de-03"):
        _peers.check_parity(maps, maps + 1e-3, "peer")
    with pytest.raises(ModelFileError, match="differs"):
        _peers.check_parity(maps, maps * float("nan"), "peer")
    with pytest.raises(ModelFileError, match="gives maps of"):
        _peers.check_parity(maps, maps[:, :3], "peer")


def test_other_joints_stop_the_person_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = person._release
    monkeypatch.setattr(person, "_SIZES", {"640 x 360": (90, 160)})
    monkeypatch.setattr(person, "_release", lambda *given: (honest(*given)[0] + 1, honest(*given)[1]))
    with pytest.raises(ModelFileError, match="our joints differ"):
        person.run(arguments(person, "--stages", "2", "--no-onnx", "--opencv-python", "nowhere/python", "--bounds"))


def test_the_matrix_rate_is_a_rate() -> None:
    """At sizes that a CPU without bfloat16 instructions multiplies in no time, too."""
    assert 1e7 < _peers.matrix_rate(seconds=0.1, size=192) < 1e15
    assert 1e7 < _peers.matrix_rate(dtype=torch.bfloat16, seconds=0.1, size=192) < 1e15


def test_operations_are_those_of_the_direct_sums(model: _peers.SeededModel) -> None:
    shapes = model.net.blob_shapes
    tops = {layer.name: shapes[layer.tops[0]] for layer in model.net.layers}
    expected = sum(
        (2 * blobs[0].numel() + blobs[0].shape[0]) * tops[layer][2] * tops[layer][3]
        for layer, blobs in model.net.params.items()
    )
    assert _peers.net_operations(model.net.spec) == expected


def test_every_series_is_fitted_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_IMAGES", ((60, 80), (80, 120), (100, 140)))
    result = scaling.run(arguments(scaling))
    assert set(result["series"]) == set(result["growth"]) == {"scales", "people", "megapixels", "stages", "batch"}
    assert all(len(seconds) >= 3 for seconds in result["series"].values())
    assert all(growth["meaning"] for growth in result["growth"].values())
    assert result["medians"]["stages, 6"] == result["series"]["stages"]["6"]
    assert set(result["spread"]) == set(result["medians"])


def test_a_fit_finds_a_line_and_its_worst_point() -> None:
    assert scaling._fit({"1": 3.0, "2": 5.0, "3": 7.0}) == pytest.approx(
        {"offset": 1.0, "slope": 2.0, "largest_deviation_percent": 0.0}
    )
    assert scaling._fit({"1": 1.0, "2": 3.0, "3": 2.0})["largest_deviation_percent"] == pytest.approx(50.0)
