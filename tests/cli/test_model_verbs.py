"""The verbs that handle models, as a user calls them: what they print, what they write, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import parse_net, read_net, read_weights, write_weights
from cpm_port.cli import main
from cpm_port.models import architecture, build, to_caffe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a small net, written by `cpm-port prototxt`, and weights for it."""
    folder = tmp_path_factory.mktemp("verbs")
    small = ["--arch", "flic", "--stages", "2", "--width", "4", "--box-size", "64", "--out", str(folder)]
    assert main(["prototxt", *small]) == 0
    net = architecture("flic", stages=2, width=4, box=(64, 64))
    blobs = to_caffe(build(net).state_dict(), net)
    write_weights(folder / "flic.caffemodel", blobs, read_net(folder / "flic_deploy.prototxt"))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> list[str]:
    return ["--net", str(folder / "flic_deploy.prototxt"), "--weights", str(folder / "flic.caffemodel")]


def test_prototxt_writes_the_net_that_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--arch", "mpi-vgg", "--parts", "5", "--box-size", "96", "128", "--source", "my/lmdb"]
    arguments += ["--batch-size", "3", "--base-lr", "1e-4", "--max-iter", "70", "--target-dist", "0.5"]
    assert main(["prototxt", *arguments, "--scale", "0.9", "1.1", "--rotate", "10", "--out", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    deploy = read_net(tmp_path / "mpi_vgg_deploy.prototxt")
    assert deploy.inputs == {"data": (1, 4, 96, 128)}
    data = read_net(tmp_path / "mpi_vgg_train.prototxt", phase="TRAIN").layer("data").params
    assert (data.cpmdata_param.source, data.cpmdata_param.batch_size) == ("my/lmdb", 3)
    transform = data.transform_param
    values = (transform.num_parts, transform.target_dist, transform.scale_min, transform.max_rotate_degree)
    assert values == pytest.approx((5, 0.5, 0.9, 10))
    solver = (tmp_path / "mpi_vgg_solver.prototxt").read_text()
    assert "base_lr: 0.0001" in solver
    assert "max_iter: 70" in solver


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box-size", "1", "2", "3"], "--box-size has 3 numbers"),
        (["--box-size", "100"], "multiples of 8"),
        (["--stages", "0"], "stages is 0"),
        (["--batch-size", "0"], "batch size is 0"),
    ],
)
def test_prototxt_refuses_impossible_nets(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prototxt", *arguments, "--out", str(tmp_path / "none")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_inspect_prints_text_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(folder / "flic_deploy.prototxt")
    assert main(["inspect", path]) == 0
    text = capsys.readouterr().out
    assert "every layer is supported" in text
    assert "167 x 167" in text
    assert main(["inspect", path, "--json", "--input", "data=2x4x80x96"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["inputs"] == {"data": [2, 4, 80, 96]}


def test_inspect_refuses_what_is_no_shape(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder / "flic_deploy.prototxt"), "--input", "data=big"]) == 2
    assert "expected NAME=NxCxHxW" in capsys.readouterr().err


def test_forward_and_compare_close_the_circle(
    folder: Path, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = np.random.RandomState(2).standard_normal((2, 4, 72, 64)).astype(np.float32)
    np.savez(tmp_path / "in.npz", data=data)
    out = tmp_path / "out.npz"
    arguments = ["--input", str(tmp_path / "in.npz"), "--output", str(out), "--blobs", "conv7_stage1", "pool3_stage2"]
    assert main(["forward", *model, *arguments]) == 0
    assert "Mconv5_stage2: 2x10x9x8" in capsys.readouterr().out
    with np.load(out) as found:
        assert set(found.files) == {"Mconv5_stage2", "conv7_stage1", "pool3_stage2"}
        arrays = dict(found)

    compare = ["compare", *model, "--reference", str(out), "--input", str(tmp_path / "in.npz")]
    assert main(compare) == 0
    assert "3 blobs agree" in capsys.readouterr().out

    arrays["pool3_stage2"][0, 0, 0, 0] += 1
    np.savez(out, data=data, **arrays)
    assert main(["compare", *model, "--reference", str(out)]) == 1
    assert "first to diverge: blob 'pool3_stage2'" in capsys.readouterr().out
    assert main([*compare, "--tolerance", "1e9"]) == 0


def test_a_wrong_blob_device_or_tolerance_is_refused(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", data=np.zeros((1, 4, 64, 64), np.float32))
    files = ["--input", str(tmp_path / "in.npz"), "--output", str(tmp_path / "out.npz")]
    assert main(["forward", *model, *files, "--blobs", "Mconv5_stage9"]) == 2
    assert "Mconv5_stage9" in capsys.readouterr().err
    assert main(["forward", *model, *files, "--device", "abacus"]) == 2
    assert "--device abacus" in capsys.readouterr().err
    assert main(["compare", *model, "--reference", str(tmp_path / "in.npz"), "--tolerance", "-1"]) == 2
    assert "expected 0 or more" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_convert_says_what_it_wrote(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = folder / "flic.caffemodel", tmp_path / "flic.safetensors"
    assert main(["convert", str(source), str(target)]) == 0
    assert f"{target}: 32 arrays of 16 layers" in capsys.readouterr().out
    assert main(["convert", str(target), str(tmp_path / "flic.caffemodel")]) == 0
    assert (tmp_path / "flic.caffemodel").read_bytes() == source.read_bytes()
    assert main(["convert", str(source), str(tmp_path / "flic.pth")]) == 2
    assert "pickle" in capsys.readouterr().err


def test_real_caffes_flic_net_compares_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: real Caffe's blobs (tests/golden/models/provenance.json has the recipe of the weights)."""
    main(["prototxt", "--arch", "flic", "--width", "16", "--box-size", "184", "--out", str(tmp_path)])
    deploy = tmp_path / "flic_deploy.prototxt"
    spec = parse_net(deploy.read_text())
    draw = np.random.RandomState(79)
    blobs = {}
    channels = {"image": 3, "pool_center_lower": 1}
    for layer in spec.layers:
        bottom = [channels[name] for name in layer.bottoms if name in channels]
        if layer.type == "Convolution":
            kernel = layer.params.convolution_param.kernel_size[0]
            shape = (layer.params.convolution_param.num_output, bottom[0], kernel, kernel)
            weight = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            blobs[layer.name] = (weight.astype(np.float32), (draw.standard_normal(shape[0]) * 0.1).astype(np.float32))
            channels[layer.tops[0]] = shape[0]
        elif layer.type in ("Pooling", "Concat") and layer.bottoms[0] != "center_map":
            channels[layer.tops[0]] = sum(bottom)
    write_weights(tmp_path / "flic.caffemodel", blobs, spec)
    assert list(read_weights(tmp_path / "flic.caffemodel")) == list(blobs)
    golden = Path(__file__).parents[1] / "golden" / "models" / "flic_small.npz"
    arguments = ["--net", str(deploy), "--weights", str(tmp_path / "flic.caffemodel"), "--reference", str(golden)]
    capsys.readouterr()
    assert main(["compare", *arguments]) == 0
    assert "9 blobs agree within 1e-05" in capsys.readouterr().out
