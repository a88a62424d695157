"""Python layers as losses and as data in the training loop, and MemoryData from the command line.

Oracles: the same net with Caffe's own layers; batches worked by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from cpm_port.caffe import parse_net, read_weights
from cpm_port.cli import main
from cpm_port.errors import DataError, UnsupportedLayerError, UsageError
from cpm_port.training.batches import enlarged, open_data_layers
from cpm_port.training.run import RunOptions, open_run
from tests.support import ROOT
from tests.training.support import CPU, SOLVERS

LAYERS = '''
import caffe
import numpy as np

class Loss(caffe.Layer):
    """Caffe's Euclidean loss."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.difference = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.difference**2) / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        for index, sign in enumerate((1, -1)):
            if propagate_down[index]:
                bottom[index].diff[...] = sign * self.difference / bottom[index].num

class Counting(caffe.Layer):
    """Batch k holds k, k + 1, ... in its rows; the images grow."""

    def setup(self, bottom, top):
        self.batch, self.rows = 0, eval(self.param_str)["rows"]

    def reshape(self, bottom, top):
        top[0].reshape(self.rows, 1, 2, 2 + self.batch % 2)
        top[1].reshape(self.rows, 1)

    def forward(self, bottom, top):
        top[1].data[:, 0] = self.batch + np.arange(self.rows)
        top[0].data[...] = top[1].data[:, :, None, None]
        self.batch += 1
'''
COUNTING = """layer { name: "data" type: "Python" top: "x" top: "y"
  python_param { module: "own_layers" layer: "Counting" param_str: "{'rows': 4}" } }"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a module of Python layers, which nets may import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "caffe", caffe)
    monkeypatch.delitem(sys.modules, "own_layers", raising=False)
    Path("own_layers.py").write_text(LAYERS)
    return tmp_path


@pytest.fixture
def allowed(here: Path) -> Path:
    caffe.allow_python_layers(True)
    yield here
    caffe.allow_python_layers(False)


def test_a_python_loss_trains_as_caffes_own_from_the_command_line(here: Path) -> None:
    """In a process of its own, as a user runs it: the layer's `import caffe` finds this package."""
    net = (SOLVERS / "train.prototxt").read_text().replace("train_list.txt", str(SOLVERS / "train_list.txt"))
    own = net.replace('"EuclideanLoss"', '"Python" loss_weight: 1 python_param { module: "own_layers" layer: "Loss" }')
    assert own != net
    changes = "max_iter: 5 snapshot: 5 snapshot_prefix: "
    for name, text in (("own", own), ("theirs", net)):
        Path(f"{name}.prototxt").write_text(text)
        solver = (SOLVERS / "sgd_step.solver.prototxt").read_text().replace("train.prototxt", f"{name}.prototxt")
        Path(f"{name}.solver").write_text(solver)
        arguments = ["train", "-solver", f"{name}.solver", "-weights", str(SOLVERS / "init.caffemodel")]
        arguments += ["--set", f'{changes} "{name}"', "--device", "cpu", "--python-layers"]
        if name == "own":
            command = [sys.executable, "-c", "import sys; from cpm_port.cli import main; sys.exit(main(sys.argv[1:]))"]
            env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
            subprocess.run([*command, *arguments], check=True, env=env)
        else:
            assert main(arguments[:-1]) == 0
    found, expected = (read_weights(f"{name}_iter_5.caffemodel") for name in ("own", "theirs"))
    for layer, blobs in expected.items():
        for a, b in zip(found[layer], blobs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_without_leave_no_code_of_a_nets_runs(here: Path) -> None:
    with pytest.raises(UnsupportedLayerError, match=r"own_layers\.Counting, that nobody has registered"):
        open_data_layers(parse_net(COUNTING, phase="TRAIN"), phase="TRAIN")
    assert "own_layers" not in sys.modules


@pytest.mark.parametrize("workers", [0, 2])
def test_a_python_data_layers_batches_are_shared_skipped_and_reshaped(workers: int, allowed: Path) -> None:
    spec = parse_net(COUNTING, phase="TRAIN")
    with open_data_layers(spec, phase="TRAIN", num_workers=workers) as source:
        batches = [source.next_batch() for _ in range(4)]
        state = source.state()
        fifth = source.next_batch()
    assert [batch["y"].ravel().tolist() for batch in batches] == [[k, k + 1, k + 2, k + 3] for k in range(4)]
    assert [batch["x"].shape for batch in batches] == [(4, 1, 2, 2), (4, 1, 2, 3)] * 2
    for rank in range(2):
        with open_data_layers(spec, phase="TRAIN", shard=(rank, 2)) as source:
            source.restore(state)
            half = source.next_batch()
        for top in ("x", "y"):
            np.testing.assert_array_equal(half[top], fifth[top][2 * rank : 2 * rank + 2])
    with pytest.raises(UsageError, match="3 processes cannot share blobs of"):
        open_data_layers(spec, phase="TRAIN", shard=(0, 3))


def test_a_python_data_layer_feeds_a_run_and_its_test_net_and_a_resume_goes_on(allowed: Path) -> None:
    line = """layer { name: "sum" type: "Reduction" bottom: "x" top: "s" reduction_param { axis: 1 operation: MEAN } }
      layer { name: "flat" type: "Reshape" bottom: "s" top: "f" reshape_param { shape { dim: -1 dim: 1 } } }
      layer { name: "fit" type: "InnerProduct" bottom: "f" top: "p" inner_product_param { num_output: 1 } }
      layer { name: "loss" type: "Python" bottom: "p" bottom: "y" top: "loss" loss_weight: 1
        python_param { module: "own_layers" layer: "Loss" } }"""
    Path("net.prototxt").write_text(COUNTING + line)
    Path("s.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1e-3 lr_policy: "fixed" display: 1 test_iter: 2 test_interval: 4'
    )
    for prefix, ends in (("whole", [8]), ("part", [3, 8])):
        for end in ends:
            changes = f'max_iter: {end} snapshot_prefix: "{prefix}"'
            with open_run(RunOptions("s.prototxt", snapshot="latest", changes=changes), CPU) as trainer:
                trainer.solve()
    whole, part = (read_weights(f"{prefix}_iter_8.caffemodel") for prefix in ("whole", "part"))
    np.testing.assert_array_equal(whole["fit"][0], part["fit"][0])
    assert 0.1 < whole["fit"][0].item() < 1.5


MEMORY = """layer { name: "in" type: "MemoryData" top: "x" top: "y"
    memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }
  layer { name: "fit" type: "InnerProduct" bottom: "x" top: "p" inner_product_param { num_output: 1 } }
  layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss" }"""


def test_memory_data_trains_from_arrays_in_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.prototxt").write_text(MEMORY.replace('top: "y"', 'top: "y0"', 1).replace(
        'layer { name: "fit"', 'layer { name: "r" type: "Reshape" bottom: "y0" top: "y" reshape_param { shape { dim: 0 '
        'dim: 1 } } } layer { name: "fit"', 1))  # fmt: skip
    Path("s.prototxt").write_text('net: "net.prototxt" base_lr: 0.3 lr_policy: "fixed" max_iter: 200 test_iter: 1 '
                                  "test_interval: 100")  # fmt: skip
    data = np.concatenate([np.eye(3), np.ones((1, 3))]).astype(np.float32).reshape(4, 1, 1, 3)
    np.savez("d.npz", data=data, label=data.sum(axis=(1, 2, 3)))
    assert main(["train", "-solver", "s.prototxt", "--memory", "in=d.npz", "--device", "cpu"]) == 0
    np.testing.assert_allclose(read_weights("s_iter_200.caffemodel")["fit"][0], [[1, 1, 1]], atol=0.02)
    assert main(["train", "-solver", "s.prototxt", "--device", "cpu"]) == 2
    assert "expected for the MemoryData layers, ['in'] (--memory LAYER=F.npz)" in capsys.readouterr().err
    np.savez("e.npz", rows=data)
    with (
        pytest.raises(DataError, match=r"e\.npz: arrays rows; expected data and label"),
        open_run(RunOptions("s.prototxt", memory={"in": "e.npz"}), CPU),
    ):
        pass


def test_enlarged_batches_are_those_of_a_larger_batch_size() -> None:
    text = """layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
        shape { dim: 2 dim: 3 } shape { dim: 2 }
        data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
      layer { name: "m" type: "MemoryData" top: "z" top: "l"
        memory_data_param { batch_size: 2 channels: 1 height: 1 width: 1 } }"""
    arrays = {"m": (np.arange(6.0).reshape(6, 1, 1, 1), np.arange(6))}
    with open_data_layers(enlarged(parse_net(text), 3), phase="TEST", memory=arrays) as source:
        batch = source.next_batch()
    assert {top: blob.shape for top, blob in batch.items()} == {
        "x": (6, 3), "y": (6,), "z": (6, 1, 1, 1), "l": (6,)
    }  # fmt: skip
    assert batch["l"].tolist() == [0, 1, 2, 3, 4, 5]
