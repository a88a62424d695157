"""`cpm-port bench gpu`: every part measures what it says, on the pretended GPU as on a real one, and none harms others.

Oracles: hand counts; the numbers of layers in the prototxt; children made up here. Times on the pretended GPU mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cpm_port.bench import gpu, precision, train
from cpm_port.bench._gpu import Sizes
from cpm_port.bench._gpu_layers import _without_indices
from cpm_port.bench._records import read_records
from cpm_port.bench._roofline import CARDS, ideal_seconds, net_work
from cpm_port.caffe import infer_shapes, parse_net
from cpm_port.cli import main
from cpm_port.graph import load_net
from cpm_port.models import architecture, deploy_text
from tests.inference.nets import COLOURS, colour_net, colour_net_text

TINY = Sizes(
    architecture("mpi", stages=1, width=4, box=(64, 64)),
    groups=(1, 2), people=1, repeats=1, calls=1, batch=2, iterations=2, shapes=3, square=32, copied=64, side=96,
)  # fmt: skip


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.configure(parser)
    return parser.parse_args(words)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a part in this process, small."""
    monkeypatch.setattr(precision._peers, "matrix_rate", partial(precision._peers.matrix_rate, seconds=0.01, size=32))
    monkeypatch.setattr(train, "_PRODUCT_SIZE", {"cuda": 32})
    monkeypatch.setattr(train, "_CHANNELS", 1)

    def measure(part: str, **other: Any) -> dict[str, Any]:
        gpu.measure_part(part, "cuda", tmp_path / "part.json", replace(TINY, **other))
        found: dict[str, Any] = json.loads((tmp_path / "part.json").read_text())
        return found

    return measure


@pytest.mark.gpu
def test_layers_are_timed_in_every_way_beside_the_roofline(measured: Any) -> None:
    design = architecture("mpi", stages=2, width=4, box=(64, 64))
    found = measured("layers", design=design)
    text = deploy_text(design)
    assert found["missed"] == []
    for precision_name in ("float32", "tf32", "bf16"):
        table = found[f"layers in {precision_name}"]
        assert sum(row["layers"] for row in table.values()) == text.count('"Convolution"') + text.count('"Pooling"')
        row = table["conv2_stage1"]
        assert row["layers"] == 2
        assert {"NCHW, ms", "NCHW measured, ms", "NHWC, ms", "NHWC measured, ms"} <= row.keys()
        assert row["GFLOP"] == pytest.approx(28 * 32 * 32 * 4 * (2 * 4 * 81 + 1) / 1e9)
        assert "NHWC without indices, ms" in table["pool1_stage1"]
        assert row["bound by"] in ("matrix rate", "memory")
        assert row["share %"] == pytest.approx(100 * row["least ms"] / row[f"{row['fastest']}, ms"])
    if not torch.backends.cuda.is_built():
        assert set(found["ways that are not here"]) == {
            f"{name} {layout}{measured} fused"
            for name in ("float32", "tf32", "bf16")
            for layout in ("NCHW", "NHWC")
            for measured in ("", " measured")
        }


@pytest.mark.gpu
def test_people_are_timed_in_groups_and_parts(measured: Any) -> None:
    found = measured("people")
    for precision_name in ("float32", "tf32", "bf16"):
        table = found[f"people in {precision_name}"]
        assert list(table) == ["1", "2"]
        for row in table.values():
            assert row.keys() == {"people a second", "net ms", "way back ms", "host ms", "ideal share %"}
            assert min(row.values()) > 0


@pytest.mark.gpu
def test_a_models_joints_are_compared_in_every_precision(measured: Any, tmp_path: Path) -> None:
    (tmp_path / "colours.prototxt").write_text(colour_net_text())
    colour_net().save(tmp_path / "colours.caffemodel")
    found = measured("joints", net=tmp_path / "colours.prototxt", weights=tmp_path / "colours.caffemodel")
    assert list(found["precisions"]) == ["float32", "tf32", "bf16"]
    assert all(values["joints"] == COLOURS for values in found["precisions"].values())
    assert found["model"] == "colours.caffemodel"
    assert found["device"] == torch.cuda.get_device_name()


@pytest.mark.gpu
def test_training_is_timed_without_and_with_the_data_layer(measured: Any) -> None:
    found = measured("training")
    assert found["batches on the device"]["ratios"].keys() == {"plain PyTorch"}
    assert found["with the data layer"]["samples a second"] > 0


@pytest.mark.gpu
def test_memory_is_told_for_every_shape_and_does_not_grow(measured: Any) -> None:
    found = measured("memory")
    assert list(found["memory"]) == [f"after {count} shapes" for count in (1, 2, 3)]
    assert found["missed"] == []


@pytest.mark.gpu
def test_a_resumed_run_is_compared_with_one_that_never_stopped(measured: Any) -> None:
    found = measured("resume")
    assert found["runs began at"] == [0, 0, 4]
    assert found["weights after a resume, off by"] <= 1e-4
    assert found["missed"] == []


def test_failed_tests_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    body = "import pytest\n@pytest.mark.gpu\ndef test_{0}(): assert {1}\ndef test_not_of_a_gpu(): assert False\n"
    for name, true in (("good", True), ("bad", False)):
        (tmp_path / f"test_{name}.py").write_text(body.format(name, true))
    (tmp_path / "test_of_others.py").write_text("syntax error")
    found: dict[str, Any] = {}
    for more in gpu.tests_in(tmp_path):
        found |= more
    assert found["tests"] == {"passed": 1, "failed": 1}
    assert found["failed tests"] == [f"{tmp_path.name}/test_bad.py::test_bad"]
    assert "pytest ended with 1" in found["missed"][0]


class SlowClock(subprocess.Popen[bytes]):
    """A child whose three seconds are over when it has written its file, however busy the machine is."""

    def wait(self, timeout: float | None = None) -> int:
        if timeout != 3:
            return super().wait(timeout)
        while self.poll() is None and not Path(self.args[-1]).exists():  # type: ignore[index]
            time.sleep(0.01)
        raise subprocess.TimeoutExpired(self.args, timeout)


def test_a_part_that_fails_or_hangs_is_named_with_what_it_had_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children = {
        "layers": "write({'a': 1, 'missed': []})",
        "people": "write({'b': 2, 'missed': []}); print('out of memory'); sys.exit(3)",
        "memory": "write({'c': 3, 'missed': ['it grows']}); subprocess.run(['sleep', '1000'])",
        "resume": "write({'d': 4, 'missed': []})",
    }
    head = """
import json, os, subprocess, sys
def write(found):
    with open("part", "w") as stream:
        json.dump(found, stream)
    os.replace("part", sys.argv[1])
"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "PARTS", {name: (gpu.memory, 3 if name == "memory" else 600) for name in children})
    monkeypatch.setattr(gpu, "_command", lambda part, device, path: [sys.executable, "-c", head + children[part], path])
    monkeypatch.setattr(gpu, "checked_device", lambda name: name)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Some GPU 1")
    monkeypatch.setattr(gpu.subprocess, "Popen", SlowClock)
    assert main(["bench", "gpu", "--out", str(tmp_path / "out")]) == 1
    record = read_records(tmp_path / "out" / "some-gpu-1")["gpu"]
    assert record.result["missed"] == [
        "people: ended with 3: out of memory",
        "memory: it grows",
        "memory: not done in 3 s",
    ]
    assert [record.result[part].get(key) for part, key in zip(children, "abcd", strict=True)] == [1, 2, 3, 4]
    assert "missed: memory: not done in 3 s" in capsys.readouterr().out


@pytest.mark.parametrize("sides", [(8, 8), (9, 12), (7, 10)])
@pytest.mark.parametrize("window", ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 2"])
def test_pooling_without_indices_is_the_layers(window: str, sides: tuple[int, int]) -> None:
    text = 'input: "data" input_dim: 1 input_dim: 2 input_dim: {} input_dim: {} layer {{ name: "p" type: "Pooling" '
    text += 'bottom: "data" top: "p" pooling_param {{ pool: MAX {} }} }}'
    net = load_net(parse_net(text.format(*sides, window)))
    data = torch.randn(2, 2, *sides, generator=torch.Generator().manual_seed(0))
    found = _without_indices(net.get_submodule("p").window, data)()
    assert torch.equal(found, net({"data": data})["p"])


def test_without_a_gpu_the_bench_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "--device", "cpu"]) == 2
    assert "is for CUDA devices" in capsys.readouterr().err


def test_all_parts_together_take_five_minutes_at_most() -> None:
    assert sum(limit for _, limit in gpu.PARTS.values()) <= 300


def test_the_roofline_counts_operations_and_bytes_by_hand() -> None:
    net = parse_net("""
        input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    """)
    convolution, rectifier = net_work(net, 5)
    assert convolution.operations == 5 * 64 * 2 * (2 * 27 + 1)  # multiplied and added; the bias
    assert convolution.values == 5 * 64 * (3 + 2) + 2 * 27 + 2
    assert (rectifier.operations, rectifier.values) == (0, 2 * 5 * 64 * 2)
    assert net_work(net, 5, merged=True) == [convolution]


@pytest.mark.parametrize(
    ("card", "least", "most"),
    [
        ("H200 SXM", 313, 375),
        ("H200 NVL", 274, 320),
        ("A100 SXM 80 GB", 105, 120),
        ("A100 PCIe 40 GB", 99, 118),
        ("RTX 4090", 55, 64),
    ],
)
def test_the_roofline_gives_the_people_a_second_that_the_page_says(card: str, least: int, most: int) -> None:
    net = parse_net(deploy_text(architecture("mpi")))
    work, merged = net_work(net, 4 * 7), net_work(net, 4 * 7, merged=True)
    assert sum(each.operations for each in work) / 1e12 == pytest.approx(9.83, abs=0.005)
    assert 2 * sum(each.values for each in work) / 1e9 == pytest.approx(13.6, abs=0.05)
    assert 2 * sum(each.values for each in merged) / 1e9 == pytest.approx(7.6, abs=0.05)
    shapes = infer_shapes(net, {"data": (4 * 7, 4, 368, 368)})
    pooled = [shapes[layer.tops[0]] for layer in net.layers if layer.type == "Pooling"][1:]  # but the center map
    assert 8 * sum(math.prod(shape) for shape in pooled) / 1e9 == pytest.approx(2.5, abs=0.05)
    assert round(4 / ideal_seconds(work, CARDS[card])[0]) == least
    assert round(4 / ideal_seconds(merged, CARDS[card])[1]) == most
