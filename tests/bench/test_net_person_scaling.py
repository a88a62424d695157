"""The benches of the net compare equal things and say what they measured. Oracle: parity checks, spoiled on purpose."""

from __future__ import annotations

import argparse
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
    monkeypatch.setattr("cpm_port.bench._timing.gc.collect", lambda: 0)  # a third of a second between any two turns
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
    assert set(result["reading"]) == {"import torch", "from files to a ready net"}


def test_a_person_is_timed_beside_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_SIZES", {"640 x 360": (90, 160), "1920 x 1080": (135, 240)})
    result = person.run(arguments(person, "--stages", "2", "--opencv-python", "nowhere/python", "--bounds"))
    assert set(result["medians"]) == {"ours", "plain PyTorch, the forwards", "the release's steps"}
    assert result["parity"].startswith("the same 14 joints")
    assert all(0 < share < 100 for share in result["before_and_after_percent"].values())


def test_opencv_gives_the_twins_maps(model: _peers.SeededModel) -> None:
    python = Path(__file__).parents[2] / _peers.default_opencv()
    x = torch.rand(2, 4, 64, 64)
    try:
        with torch.no_grad(), _peers.opencv_net(model, python) as forward:
            assert _peers.check_parity(_peers.plain_net(model)(x), forward(x), "OpenCV") < _peers.PEER_PARITY
    except MissingDependencyError as error:
        pytest.skip(str(error))


def test_an_interpreter_without_opencv_is_named(model: _peers.SeededModel, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(MissingDependencyError, match="does not read Caffe files"), _peers.opencv_net(model, fake):
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
        person.run(arguments(person, "--stages", "2", "--opencv-python", "nowhere/python", "--bounds"))


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e8 < _peers.matrix_rate(0.05) < 1e15


def test_operations_are_those_of_the_direct_sums(model: _peers.SeededModel) -> None:
    shapes = model.net.blob_shapes
    tops = {layer.name: shapes[layer.tops[0]] for layer in model.net.layers}
    expected = sum(
        (2 * blobs[0].numel() + blobs[0].shape[0]) * tops[layer][2] * tops[layer][3]
        for layer, blobs in model.net.params.items()
    )
    assert _peers.net_operations(model.net.spec) == expected


def test_every_series_is_fitted_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_IMAGES", ((60, 80), (80, 120), (100, 140)))
    args = arguments(scaling, "--plot", str(tmp_path / "growth.png"))
    series = scaling.run(args)["series"]
    assert set(series) == {"scales", "people", "image", "stages", "batch"}
    assert all(len(found["seconds"]) >= 3 and found["meaning"] for found in series.values())
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_a_fit_finds_a_line_and_its_worst_point() -> None:
    assert scaling._fit({"1": 3.0, "2": 5.0, "3": 7.0}) == pytest.approx(
        {"offset": 1.0, "slope": 2.0, "largest_deviation_percent": 0.0}
    )
    assert scaling._fit({"1": 1.0, "2": 3.0, "3": 2.0})["largest_deviation_percent"] == pytest.approx(50.0)
