"""`inspect_file` says what a file holds: oracles, figures worked by hand and facts about the released nets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import (
    NetState,
    SolverState,
    parse_net,
    write_mean,
    write_solverstate,
    write_weights,
)
from cpm_port.errors import CaffeFormatError, LayerError, MissingFileError
from cpm_port.models import architecture, build, deploy_text, to_caffe, write_files
from cpm_port.report.inspect import inspect_file, inspect_net
from cpm_port.report.inspect_text import inspect_text
from cpm_port.resources import resource_dir


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small file of every kind."""
    folder = tmp_path_factory.mktemp("inspected")
    net = architecture("flic", stages=2, width=4, box=(64, 64))
    write_files(net, folder)
    spec = parse_net(deploy_text(net))
    blobs = to_caffe(build(net).state_dict(), net)
    for suffix in (".caffemodel", ".caffemodel.h5"):
        write_weights(folder / f"flic{suffix}", blobs, spec)
    for suffix in (".solverstate", ".solverstate.h5"):
        write_solverstate(
            folder / f"flic{suffix}", SolverState(70, "flic.caffemodel", 2, [np.ones((2, 3), np.float32)])
        )
    write_mean(folder / "mean.binaryproto", np.full((3, 4, 5), 7.0, np.float32))
    return folder


def test_the_mpi_net_has_the_published_size_and_fields() -> None:
    report = inspect_file(resource_dir("prototxt") / "mpi_deploy.prototxt")
    assert report["parameters"] == 31_219_866  # 125 MB of float32
    rows = {row["blob"]: row for row in report["outputs"]}
    assert rows["conv7_stage1"]["papers_count"] == [160, 160]
    later = [rows[f"Mconv5_stage{t}"] for t in range(2, 7)]
    assert [row["papers_count"] for row in later] == [[400, 400]] * 5
    assert [row["cells_of_previous"] for row in later] == [[31, 31]] * 5
    assert [row["previous"] for row in later] == ["conv7_stage1", *(f"Mconv5_stage{t}" for t in range(2, 6))]
    assert report["unsupported"] == []
    assert (report["generation"], report["dialect"]) == ("V2", "bvlc")


def test_costs_and_memory_equal_a_count_by_hand() -> None:
    text = """
    input: "data" input_shape { dim: 2 dim: 3 dim: 5 dim: 6 }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "f" type: "InnerProduct" bottom: "c" top: "f" inner_product_param { num_output: 7 bias_term: false } }
    """
    report = inspect_net(parse_net(text))
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["c"]["shapes"] == [[2, 4, 3, 4]]
    assert rows["c"]["parameter_shapes"] == [[4, 3, 3, 3], [4]]
    multiply_adds = 2 * 4 * 3 * 4 * (3 * 3 * 3)
    assert rows["c"]["flops"] == 2 * multiply_adds + 2 * 4 * 3 * 4  # and one addition per output for the bias
    assert rows["f"]["flops"] == 2 * 2 * 48 * 7
    assert report["parameters"] == 108 + 4 + 48 * 7
    data, c, f = 2 * 3 * 5 * 6, 2 * 4 * 3 * 4, 2 * 7
    weights = 4 * report["parameters"]
    assert report["memory"] == {
        "weights_bytes": weights,
        "forward_bytes": weights + 4 * (data + c),  # the moment when the convolution has both
        "training_bytes": 3 * weights + 2 * 4 * (data + c + c + f),  # the ReLU, in place, keeps its input too
    }


def test_another_input_shape_changes_the_cost_and_not_the_parameters() -> None:
    path = resource_dir("prototxt") / "flic_deploy.prototxt"
    one, four = inspect_file(path), inspect_file(path, input_shapes={"data": (4, 4, 368, 368)})
    assert four["flops"] == 4 * one["flops"]
    assert four["parameters"] == one["parameters"]
    with pytest.raises(LayerError, match="no inputs image; the inputs are data"):
        inspect_file(path, input_shapes={"image": (1, 3, 8, 8)})


def test_a_stated_shape_of_a_data_layers_images_tells_the_labels_too(tmp_path: Path) -> None:
    path = tmp_path / "lenet.prototxt"
    path.write_text(
        'layer { name: "mnist" type: "Data" top: "data" top: "label" data_param { batch_size: 64 } }'
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 } }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
    )
    report = inspect_file(path, input_shapes={"data": (64, 1, 28, 28)})
    assert report["inputs"] == {"data": [64, 1, 28, 28], "label": [64]}
    assert (report["parameters"], report["shapes_unknown"]) == (7850, [])


def test_unsupported_layers_are_listed_and_stop_the_shapes_only_behind_them() -> None:
    text = """
    input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
    layer { name: "good" type: "ReLU" bottom: "data" top: "good" }
    layer { name: "odd" type: "Teleport" bottom: "good" top: "odd" }
    layer { name: "after" type: "ReLU" bottom: "odd" top: "after" }
    """
    report = inspect_net(parse_net(text))
    assert [(entry["layer"], entry["type"]) for entry in report["unsupported"]] == [("odd", "Teleport")]
    assert [row["shapes"] for row in report["layers"]] == [[[1, 3, 8, 8]], [[1, 3, 8, 8]], [None], [None]]
    assert report["parameters"] is None
    assert len(report["shapes_unknown"]) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("flic_deploy.prototxt", "net"),
        ("flic_train.prototxt", "net"),
        ("flic_solver.prototxt", "solver"),
        ("flic.caffemodel", "model"),
        ("flic.caffemodel.h5", "weights"),
        ("flic.solverstate", "solver state"),
        ("flic.solverstate.h5", "solver state"),
        ("mean.binaryproto", "mean"),
    ],
)
def test_every_kind_of_file_is_known_and_printed(files: Path, name: str, kind: str) -> None:
    report = inspect_file(files / name)
    assert report["kind"] == kind
    assert json.loads(json.dumps(report)) == report
    text = inspect_text(report)
    assert text.startswith(f"{files / name}: {kind}")
    assert "None" not in text


def test_a_model_shows_its_net_and_its_arrays(files: Path) -> None:
    report = inspect_file(files / "flic.caffemodel")
    assert report["stored_parameters"] == report["parameters"]
    assert report["arrays"]["conv1_stage1"][0]["shape"] == [4, 3, 9, 9]


def test_the_training_net_is_of_the_forks_dialect(files: Path) -> None:
    report = inspect_file(files / "flic_train.prototxt", state=NetState("TRAIN"))
    assert report["dialect"] == "cpm"
    assert report["inputs"] == {"data": [8, 4, 64, 64], "label": [8, 20, 8, 8]}
    assert [row["blob"] for row in report["outputs"]] == ["conv7_stage1", "Mconv5_stage2", "loss_stage1", "loss_stage2"]


def test_states_solvers_and_means_show_their_values(files: Path) -> None:
    state = inspect_file(files / "flic.solverstate")
    assert (state["iteration"], state["current_step"], state["learned_net"]) == (70, 2, "flic.caffemodel")
    assert state["history"][0]["shape"] == [2, 3]
    assert inspect_file(files / "flic_solver.prototxt")["fields"]["gamma"] == 0.333
    mean = inspect_file(files / "mean.binaryproto")
    assert (mean["shape"], mean["minimum"], mean["maximum"]) == ([1, 3, 4, 5], 7.0, 7.0)


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    net = architecture("flic", stages=1, width=2)
    blobs = to_caffe(build(net).state_dict(), net)
    blobs["conv1_stage1"][1][:] = [np.nan, np.inf]
    write_weights(tmp_path / "bad.caffemodel", blobs, parse_net(deploy_text(net)))
    report = inspect_file(tmp_path / "bad.caffemodel")
    assert report["arrays"]["conv1_stage1"][1]["not_finite"] == 2
    assert report["arrays"]["conv1_stage1"][1]["minimum"] is None


def test_absent_and_broken_files_are_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        inspect_file(tmp_path / "absent.prototxt")
    half = tmp_path / "half.caffemodel"
    half.write_bytes((files / "flic.caffemodel").read_bytes()[:5000])
    with pytest.raises(CaffeFormatError, match=r"half\.caffemodel"):
        inspect_file(half)


@pytest.mark.parametrize("name", ["lenet_v1_leinxx", "lenet_v2_small", "cifar_h5", "mtcnn", "tiny", "triplet"])
def test_files_that_real_caffe_wrote_for_others_are_inspected(name: str, shared: Path) -> None:
    for path in sorted((shared / "caffe_files" / name).iterdir()):
        report = inspect_file(path)
        assert inspect_text(report)
        if "stored_parameters" in report:
            assert report["stored_parameters"] > 0


def test_a_convolution_without_a_top_is_no_belief_map() -> None:
    text = """
    input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
    layer { name: "c" type: "Convolution" bottom: "data" convolution_param { num_output: 1 kernel_size: 1 } }
    """
    report = inspect_net(parse_net(text))
    assert report["outputs"] == []
    assert len(report["shapes_unknown"]) == 1
