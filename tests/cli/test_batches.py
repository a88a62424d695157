"""Claim: `cpm-port batches` and `cpm-port records` write what the library gives, and say what is wrong.

Oracles: the original's blobs (`golden/caffe/transformer`, through `shared`); the library's own functions.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from cpm_port.annotations.genjson import read_genjson
from cpm_port.caffe import read_net
from cpm_port.cli import main
from cpm_port.drawn.source import DrawnRecords
from cpm_port.records.lmdb import LmdbRecords
from cpm_port.training.batches import open_data_layers

NET = """layer { name: "data" type: "CPMData" top: "data" top: "label"
  transform_param { stride: 8 crop_size_x: 64 crop_size_y: 48 target_dist: 0.6 }
  cpmdata_param { source: "drawn:count=7,size=64" batch_size: 3 backend: LMDB } }"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


def test_blobs_and_pictures_are_written(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, pictures = tmp_path / "b.npz", tmp_path / "pictures"
    options = ["--count", "2", "--seed", "5", "--workers", "2", "--out", str(out), "--pictures", str(pictures)]
    assert main(["batches", "--net", str(net), *options]) == 0
    assert "data: 6x4x48x64" in capsys.readouterr().out
    with open_data_layers(read_net(net, phase="TRAIN"), phase="TRAIN", seed=5) as source, np.load(out) as found:
        expected = [source.next_batch() for _ in range(2)]
        for top in ("data", "label"):
            np.testing.assert_array_equal(found[top], np.concatenate([batch[top] for batch in expected]))
        assert found["names"][3:].tolist() == source.describe_last()
    names = sorted(path.name for path in pictures.iterdir())
    assert names == [f"batch00{batch}_row0{row}.png" for batch in range(2) for row in range(3)]
    assert cv2.imread(str(pictures / names[0])).std() > 10


def test_the_forks_random_sequence_is_replayed(shared: Path, tmp_path: Path) -> None:
    folder = shared / "golden/caffe/transformer"
    out = tmp_path / "b.npz"
    arguments = ["batches", "--net", str(folder / "train_official.prototxt"), "--srand", "1", "--count", "2"]
    assert main([*arguments, "--out", str(out)]) == 0
    with np.load(out) as found, np.load(folder / "train_official.npz") as expected:
        np.testing.assert_array_equal(found["data"][:, :3], (expected["image_u8"][:10].astype(np.float32) - 128) / 256)
        np.testing.assert_allclose(found["label"], expected["label"][:10], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (NET, ["--count", "0"], "--count 0: expected 1 or more"),
        (NET.replace("drawn:count=7,size=64", "nowhere"), [], "layer 'data' names 'nowhere'"),
        (
            'layer { name: "d" type: "DummyData" top: "a" dummy_data_param { shape { dim: 1 } } }',
            ["--pictures", "p"],
            "tops data and label expected, the net has a",
        ),
        ('input: "data" input_shape { dim: 1 dim: 2 }', [], "a deploy net: it declares its inputs (data)"),
    ],
)
def test_what_cannot_be_shown_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str], message: str
) -> None:
    (tmp_path / "net.prototxt").write_text(text)
    arguments = ["batches", "--net", str(tmp_path / "net.prototxt"), "--out", str(tmp_path / "b.npz"), *options]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b.npz").exists()


def test_a_database_is_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "drawn:count=6,size=96"
    assert main(["records", "lmdb", str(tmp_path / "plain"), "--source", source]) == 0
    assert main(["records", "lmdb", str(tmp_path / "mixed"), "--source", source, "--shuffle", "3"]) == 0
    assert main(["records", "check", str(tmp_path / "mixed")]) == 0
    assert "6 records, 0 findings" in capsys.readouterr().out
    drawn = [DrawnRecords(6, 96)[number].planes.tobytes() for number in range(6)]
    plain, mixed = ([r.planes.tobytes() for r in _all(tmp_path / name)] for name in ("plain", "mixed"))
    assert plain == drawn
    assert mixed != drawn
    assert sorted(mixed) == sorted(drawn)


def test_a_check_that_finds_something_says_so_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["records", "lmdb", str(tmp_path / "db"), "--source", "drawn:count=2,size=64"]) == 0
    assert main(["records", "check", str(tmp_path / "db"), "--joints", "30"]) == 1
    assert "2 records, 2 findings" in capsys.readouterr().out


def test_leeds_labels_become_a_json_file_with_scales(tmp_path: Path) -> None:
    joints = np.ones((14, 3, 3))
    joints[:, :2] = np.random.default_rng(0).uniform(5, 60, (14, 2, 3))
    joints[4, 2, 1] = 0
    joints[:, 2, 2] = 0  # nobody is labelled in the third image
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"im{number + 1:05d}.jpg"), np.zeros((70, 64, 3), np.uint8))
    arguments = ["--set", "lspet", "--labels", str(tmp_path / "joints.mat"), "--images", str(images)]
    assert main(["records", "json", str(tmp_path / "lspet.json"), *arguments]) == 0
    found = read_genjson(tmp_path / "lspet.json", images)
    assert [sample.name for sample in found] == ["im00001_1", "im00002_1"]
    assert [int(sample.person.annotated.sum()) for sample in found] == [14, 13]
    assert all(sample.image_size == (64, 70) and sample.person.scale for sample in found)


def _all(path: Path) -> list:
    store = LmdbRecords(path)
    return [store[number] for number in range(len(store))]
