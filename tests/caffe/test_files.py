"""The public readers and writers, one kind of file each. Oracles: files of real Caffe, and writing then reading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cpm_port.caffe import (
    SolverState,
    format_prototxt,
    parse_net,
    read_mean,
    read_net,
    read_solver,
    read_solverstate,
    read_weights,
    write_mean,
    write_solverstate,
    write_weights,
)
from cpm_port.errors import CaffeFormatError, ShapeError, UsageError, WeightsError
from tests.caffe.support import LAYER_CASES, LAYERS, SOLVER, SOLVERSTATES, layer, shared_files

WITH_WEIGHTS = [case for case in LAYER_CASES if (LAYERS / f"{case}.caffemodel").is_file()]


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
@pytest.mark.parametrize("case", WITH_WEIGHTS)
def test_written_weights_read_back_bit_by_bit(case, suffix, tmp_path):
    net = read_net(LAYERS / f"{case}.prototxt")
    weights = read_weights(LAYERS / f"{case}.caffemodel")
    path = tmp_path / f"out{suffix}"
    write_weights(path, weights, net)
    again = read_weights(path)
    assert set(again) == set(weights)
    for name, blobs in weights.items():
        assert [blob.shape for blob in again[name]] == [blob.shape for blob in blobs]
        assert [blob.tobytes() for blob in again[name]] == [blob.tobytes() for blob in blobs]


@pytest.mark.parametrize("case", ["v1_layers", "conv_relu_inplace", "legacy_input_dim"])
def test_a_written_model_holds_the_nets_layers(case, tmp_path):
    net = read_net(LAYERS / f"{case}.prototxt")
    write_weights(tmp_path / "out.caffemodel", read_weights(LAYERS / f"{case}.caffemodel"), net)
    inside = read_net(tmp_path / "out.caffemodel")
    assert inside.name == net.name
    assert inside.layers == net.layers
    assert inside.generation == "V2"


def test_text_that_the_schema_does_not_know_stays_out_of_binary_files(tmp_path):
    net = parse_net("novel: 'strange' layer { name: 'p' type: 'Parameter' top: 'a' other { thing: 'strange' } }")
    write_weights(tmp_path / "out.caffemodel", {"p": [np.ones(1, np.float32)]}, net)
    assert b"strange" not in (tmp_path / "out.caffemodel").read_bytes()
    assert read_net(tmp_path / "out.caffemodel").notes == ()
    assert "strange" in format_prototxt(net), "and the net in memory keeps it"


def test_a_binary_file_without_layers_is_no_model(tmp_path):
    write_mean(tmp_path / "mean.binaryproto", np.ones((3, 2, 2), np.float32))
    for read in (read_weights, read_net):
        with pytest.raises(CaffeFormatError, match=r"this is a mean, or a single blob; expected a .caffemodel"):
            read(tmp_path / "mean.binaryproto")


def test_weights_know_types_and_generation():
    weights = read_weights(LAYERS / "v1_layers.caffemodel")
    assert weights.types["conv"] == "Convolution"
    assert weights.types["relu"] == "ReLU"
    assert list(weights) == ["conv", "ip"]
    assert "2 layers" in repr(weights)
    assert [entry.name for entry in weights.message.layer if len(entry.blobs)] == []


def test_float64_stays_double_and_all_else_becomes_float32(tmp_path):
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    values = [np.full(2, 1 / 3), np.arange(3), np.ones((2, 2), np.float16), np.float32(5)]
    write_weights(tmp_path / "out.caffemodel", {"p": values}, net)
    found = read_weights(tmp_path / "out.caffemodel")["p"]
    assert [array.dtype for array in found] == [np.float64, np.float32, np.float32, np.float32]
    for mine, theirs in zip(found, values, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=5, max_side=4), elements=st.floats(width=32)))
def test_any_float32_array_survives(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "out.caffemodel"
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    write_weights(path, {"p": [array]}, net)
    (found,) = read_weights(path)["p"]
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_arrays_in_any_memory_order_are_written_in_c_order(tmp_path):
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    write_weights(tmp_path / "out.caffemodel", {"p": [array]}, net)
    np.testing.assert_array_equal(read_weights(tmp_path / "out.caffemodel")["p"][0], array)


@pytest.mark.parametrize("name", ["out.caffemodel", "out.h5"])
def test_weights_of_layers_that_the_net_lacks_are_refused_and_nothing_is_written(tmp_path, name):
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    with pytest.raises(WeightsError, match="has no layers 'q', 'r'"):
        write_weights(tmp_path / name, {"p": [], "q": [], "r": []}, net)
    with pytest.raises(ShapeError, match="at most 32 axes"):
        write_weights(tmp_path / name, {"p": [np.broadcast_to(np.float32(0), (1,) * 33)]}, net)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".pth"])
def test_weights_under_another_formats_suffix_are_refused(tmp_path, suffix):
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    with pytest.raises(UsageError, match=rf"out{suffix}: suffix {suffix} is not Caffe's, expected .caffemodel or .h5"):
        write_weights(tmp_path / f"out{suffix}", {"p": []}, net)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_name_that_occurs_twice_counts_the_last_time(tmp_path):
    path = tmp_path / "twice.caffemodel"
    blob = b"\x3a\x0a\x2a\x04\0\0\x80\x3f\x3a\x02\x0a\x00"  # one blob: 1.0, shape ()
    other = blob.replace(b"\x80\x3f", b"\0\x40")  # 2.0
    path.write_bytes(layer("a", "Scale", blob) + layer("a", "Scale", other))
    weights = read_weights(path)
    assert weights["a"][0] == 2
    assert weights.notes == ("layer name 'a' occurs more than once; the last one counts",)


@pytest.mark.parametrize("path", SOLVERSTATES, ids=lambda path: path.name)
def test_solver_states_of_real_caffe_read_and_write_the_same_bytes(path, tmp_path):
    state = read_solverstate(path)
    assert state.iter == int(path.stem.rsplit("_", 1)[1])
    assert state.learned_net == path.with_suffix(".caffemodel").name
    write_solverstate(tmp_path / "out.solverstate", state)
    assert (tmp_path / "out.solverstate").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_solver_states_survive(tmp_path, suffix):
    state = SolverState(
        7, "weights.caffemodel", 2, [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.float32)]
    )
    write_solverstate(tmp_path / f"out{suffix}", state)
    again = read_solverstate(tmp_path / f"out{suffix}")
    assert (again.iter, again.learned_net, again.current_step) == (7, "weights.caffemodel", 2)
    for mine, theirs in zip(again.history, state.history, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_means_survive(tmp_path):
    mean = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    write_mean(tmp_path / "mean.binaryproto", mean)
    found = read_mean(tmp_path / "mean.binaryproto")
    assert found.shape == (1, 3, 2, 4)
    np.testing.assert_array_equal(found[0], mean)
    with pytest.raises(UsageError, match=r"expected \(C, H, W\)"):
        write_mean(tmp_path / "mean.binaryproto", mean[0])


@pytest.mark.parametrize("path", shared_files("caffe_files/**/*.binaryproto"), ids=lambda path: path.name)
def test_a_mean_of_real_caffe_reads_and_writes_the_same_bytes(path, tmp_path):
    mean = read_mean(path)
    assert mean.shape == (1, 3, 32, 32)
    write_mean(tmp_path / "mean.binaryproto", mean)
    assert (tmp_path / "mean.binaryproto").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", shared_files("golden/caffe/nets/flic_small*.caffemodel*"), ids=lambda path: path.name)
def test_generations_and_hdf5_of_one_net_hold_the_same_numbers(path):
    reference = read_weights(path.parent / "flic_small.caffemodel")
    weights = read_weights(path)
    assert set(weights) == set(reference)
    for name, blobs in reference.items():
        for mine, theirs in zip(weights[name], blobs, strict=True):
            np.testing.assert_array_equal(mine.reshape(-1), theirs.reshape(-1))


@pytest.mark.parametrize(
    ("read", "name", "what"),
    [
        (
            read_net,
            "sgd_step_hdf5_iter_10.caffemodel.h5",
            "this is an HDF5 file; expected a prototxt or a .caffemodel",
        ),
        (read_weights, "train.prototxt", "this is a text file"),
        (
            read_weights,
            "sgd_step_iter_10.solverstate",
            r"a solver state, whose model is '.*_10.caffemodel'; expected",
        ),
        (read_solverstate, "sgd_step_iter_10.caffemodel", r"this is a net \(a .caffemodel\); expected a solver state"),
        (read_mean, "sgd_step_iter_10.caffemodel", r"this is a net \(a .caffemodel\); expected a mean"),
        (read_net, "sgd_step.solver.prototxt", "1:1: NetParameter has no field 'net'.*nor is any other"),
        (read_mean, "sgd_step_iter_10.solverstate", "this is a solver state; expected a mean"),
        (
            read_weights,
            "sgd_step_hdf5_iter_10.solverstate.h5",
            "solver state, whose model is '.*caffemodel.h5'",
        ),
        (read_solver, "train.prototxt", "1:1: SolverParameter has no field 'name'.*nor is any other"),
        (read_solver, "sgd_step_iter_10.caffemodel", "this is a binary file; expected protobuf text"),
        (read_solver, "sgd_step_hdf5_iter_10.caffemodel.h5", "this is an HDF5 file; expected protobuf text"),
        (read_mean, "train.prototxt", "this is a text file"),
        (read_solverstate, "train.prototxt", "this is a text file"),
        (read_mean, "sgd_step_hdf5_iter_10.caffemodel.h5", "this is an HDF5 file"),
    ],
)
def test_one_kind_of_file_in_place_of_another_is_named(read, name, what):
    with pytest.raises(CaffeFormatError, match=what):
        read(SOLVER / name)
