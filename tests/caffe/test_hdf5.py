"""HDF5 weights and solver states are Caffe's; strange files are refused. Oracles: files of real Caffe, h5py itself."""

import re

import h5py
import numpy as np
import pytest

from cpm_port.caffe import (
    SolverState,
    hdf5,
    parse_net,
    read_net,
    read_solverstate,
    read_weights,
    write_solverstate,
    write_weights,
)
from cpm_port.errors import CaffeFormatError, CpmPortError, MissingFileError, WeightsError
from tests.caffe.support import SOLVER, shared_files

WEIGHTS = SOLVER / "sgd_step_hdf5_iter_10.caffemodel.h5"
STATE = SOLVER / "sgd_step_hdf5_iter_10.solverstate.h5"


def tree(path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return every member of a file with its type and shape."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update(
                {name: (str(item.dtype), item.shape) if hasattr(item, "shape") else "group"}
            )
        )
    return found


def test_weights_of_real_caffe_read_as_the_training_run_had_them():
    weights = read_weights(WEIGHTS)
    with np.load(SOLVER / "sgd_step_hdf5.npz") as run:
        assert list(weights) == ["conv1", "conv2"]
        for name, arrays in weights.items():
            for index, array in enumerate(arrays):
                np.testing.assert_array_equal(array, run[f"w/{name}/{index}"][10])
                assert array.dtype == np.float32
                assert not array.flags.writeable
    assert weights.generation == "HDF5"
    assert weights.types == {}
    assert weights.message is None


def test_weights_are_written_with_caffes_layout(tmp_path):
    net = read_net(SOLVER / "train.prototxt", phase="TRAIN")
    path = tmp_path / "out.caffemodel.h5"
    write_weights(path, read_weights(WEIGHTS), net)
    assert tree(path) == tree(WEIGHTS)
    written = read_weights(path)
    for name, arrays in read_weights(WEIGHTS).items():
        for mine, theirs in zip(written[name], arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_layer_names_with_slashes_become_groups_in_groups(tmp_path):
    net = parse_net(
        "layer { name: 'mixed/1x1' type: 'Parameter' top: 'a' } layer { name: 'mixed' type: 'Parameter' top: 'b' }"
    )
    path = tmp_path / "out.h5"
    write_weights(path, {"mixed/1x1": [np.ones(3, np.float32)], "mixed": [np.zeros((2, 2), np.float32)]}, net)
    weights = read_weights(path)
    assert set(weights) == {"mixed", "mixed/1x1"}
    assert weights["mixed/1x1"][0].tolist() == [1, 1, 1]


def test_a_solver_state_of_real_caffe_reads():
    state = read_solverstate(STATE)
    assert (state.iter, state.current_step) == (10, 1)
    assert state.learned_net == "sgd_step_hdf5_iter_10.caffemodel.h5"
    assert [array.shape for array in state.history] == [(6, 4, 3, 3), (6,), (3, 6, 3, 3), (3,)]


def test_a_solver_state_is_written_with_caffes_layout(tmp_path):
    path = tmp_path / "out.solverstate.h5"
    write_solverstate(path, read_solverstate(STATE))
    assert tree(path) == tree(STATE)
    again, state = read_solverstate(path), read_solverstate(STATE)
    assert (again.iter, again.learned_net, again.current_step) == (state.iter, state.learned_net, state.current_step)
    for mine, theirs in zip(again.history, state.history, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_state_without_history_or_net_survives(tmp_path):
    path = tmp_path / "out.solverstate.h5"
    write_solverstate(path, SolverState(iter=3))
    assert read_solverstate(path) == SolverState(iter=3)


def test_doubles_stay_doubles(tmp_path):
    net = parse_net("layer { name: 'p' type: 'Parameter' top: 'a' }")
    write_weights(tmp_path / "out.h5", {"p": [np.full(2, 1 / 3)]}, net)
    (array,) = read_weights(tmp_path / "out.h5")["p"]
    assert array.dtype == np.float64
    assert array.tolist() == [1 / 3, 1 / 3]


def soft(file):
    file["data/ip/0"] = h5py.SoftLink("/data/ip/0")


def external(file):
    file["data/ip/0"] = h5py.ExternalLink("/etc/hostname", "/data")


def external_group(file):
    file["data/ip2"] = h5py.ExternalLink("other.h5", "/data")


def cycle(file):
    file["data/ip/loop"] = file["data"]


def integers(file):
    file["data/ip/0"] = np.arange(3)


def half(file):
    file["data/ip/0"] = np.arange(3, dtype=np.float16)


def strings(file):
    file["data/ip/0"] = "weights"


def objects(file):
    file["data/ip"].create_dataset("0", data=np.array([b"a", b"b"], object), dtype=h5py.string_dtype())


def gap(file):
    file["data/ip/1"] = np.zeros(3, np.float32)


def names(file):
    file["data/ip/weight"] = np.zeros(3, np.float32)


def hollow(file):
    file["data/ip"].create_dataset("0", (2**40,), np.float32, chunks=(1024,))


def inflated(file):
    file["data/ip"].create_dataset("0", (2**28,), np.float32, chunks=(2**20,), compression="gzip")


def outside(file):
    file["data/ip"].create_dataset("0", (3,), np.float32, external=[("/etc/hostname", 0, 12)])


def virtual(file):
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file["data/ip"].create_virtual_dataset("0", layout)


def loose(file):
    file["data/0"] = np.zeros(3, np.float32)


def no_data(file):
    del file["data"]


def data_array(file):
    del file["data"]
    file["data"] = np.zeros(3, np.float32)


def nothing(file):
    file["data/ip/0"] = h5py.Empty(np.float32)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (soft, "SoftLink"),
        (external, "ExternalLink"),
        (external_group, "ExternalLink"),
        (cycle, "linked more than once"),
        (integers, "expected float32 or float64"),
        (half, "expected float32 or float64"),
        (strings, "claims more|expected float32"),
        (objects, "expected float32 or float64"),
        (gap, "expected arrays '0' to '0'"),
        (names, "has members weight; expected arrays '0' to '0'"),
        (hollow, "claims more than the 0 bytes"),
        (inflated, "claims more than the 0 bytes"),
        (outside, "its data lie in another file"),
        (virtual, "its data lie in another file"),
        (loose, "'/data/0' is no group"),
        (no_data, "no group '/data'"),
        (data_array, "'/data' is no group"),
        (nothing, "has shape None"),
    ],
)
def test_strange_members_are_refused(tmp_path, spoil, what):
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_group("data/ip")
        spoil(file)
    with pytest.raises(CaffeFormatError, match=f"net.caffemodel.h5: .*({what})"):
        read_weights(path)


def test_a_great_array_of_zeros_that_compresses_well_is_refused_by_its_size(tmp_path):
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data/ip/0", (64, 2**20), np.float32, chunks=(1, 2**20), compression="gzip")
        data[0] = 0
    with pytest.raises(CaffeFormatError, match="claims more than"):
        read_weights(path)


def test_one_array_shown_many_times_is_refused_before_memory_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("cpm_port.files.hdf5.FREE_BYTES", 10_000)
    monkeypatch.setattr("cpm_port.files.hdf5.MAX_TOTAL_INFLATION", 1)
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file["data/ip/0"] = np.zeros(1000, np.float32)
        for index in range(1, 20):
            file[f"data/ip/{index}"] = file["data/ip/0"]
    with pytest.raises(CaffeFormatError, match="too many bytes in all"):
        read_weights(path)


def test_arrays_that_inflate_to_many_times_the_file_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/ip/0", data=np.zeros(2**22, np.float32), chunks=(2**20,), compression="gzip")
    assert read_weights(path)["ip"][0].size == 2**22, "a moderate size may compress as it likes"
    monkeypatch.setattr("cpm_port.files.hdf5.FREE_BYTES", 10_000)
    with pytest.raises(CaffeFormatError, match="too many bytes in all"):
        read_weights(path)


def test_compressed_arrays_read(tmp_path):
    path = tmp_path / "net.caffemodel.h5"
    values = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("data/ip/0", data=values, compression="gzip")
    np.testing.assert_array_equal(read_weights(path)["ip"][0], values)


def test_big_endian_arrays_read_as_native(tmp_path):
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file["data/ip/0"] = np.arange(3, dtype=">f4")
    (array,) = read_weights(path)["ip"]
    assert array.dtype == np.float32
    assert array.dtype.isnative
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("member", "value", "what"),
    [
        ("iter", np.float32([1]), "expected one integer"),
        ("iter", np.int32([1, 2]), "expected one integer"),
        ("current_step", None, "no 'current_step'"),
        ("learned_net", np.int32([1]), "expected one string"),
        ("learned_net", np.bytes_(b"\xff\xfe"), "corrupt|UTF-8"),
        ("history", np.zeros(3, np.float32), "'history' is no group"),
        ("history", None, "no group 'history'"),
    ],
)
def test_strange_solver_states_are_refused(tmp_path, member, value, what):
    path = tmp_path / "net.solverstate.h5"
    write_solverstate(path, SolverState(10, "net", 1, [np.zeros(3, np.float32)]))
    with h5py.File(path, "a") as file:
        del file[member]
        if value is not None:
            file[member] = value
    with pytest.raises(CaffeFormatError, match=f"net.solverstate.h5: .*({what})"):
        read_solverstate(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError):
        read_weights(tmp_path / "none.h5")
    (tmp_path / "magic.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    with pytest.raises(CaffeFormatError, match=r"magic\.h5: not a readable HDF5 file"):
        read_weights(tmp_path / "magic.h5")


def test_every_tenth_truncation_is_an_error(tmp_path):
    whole = WEIGHTS.read_bytes()
    path = tmp_path / "cut.h5"
    for length in range(10, len(whole) - 1, len(whole) // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(CpmPortError):
            read_weights(path)


@pytest.mark.parametrize("path", shared_files("caffe_files/cifar_h5/*.caffemodel.h5"), ids=lambda path: path.name)
def test_a_model_from_the_wild_reads(path):
    shapes = {name: [array.shape for array in arrays] for name, arrays in read_weights(path).items()}
    assert shapes == {
        "conv1": [(32, 3, 5, 5), (32,)],
        "conv2": [(32, 32, 5, 5), (32,)],
        "conv3": [(64, 32, 5, 5), (64,)],
        "ip1": [(64, 1024), (64,)],
        "ip2": [(10, 64), (10,)],
    }


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["/abs"], "'/abs' has an empty part"),
        (["a//b"], "'a//b' has an empty part"),
        (["a/"], "'a/' has an empty part"),
        ([""], "'' has an empty part"),
        (["a/./b"], "'a/./b' has an empty part, '.'"),
        (["conv1", "conv1/0"], "'conv1/0' is where layer 'conv1' has its array 0"),
        (["conv1/0", "conv1"], "'conv1/0' is where layer 'conv1' has its array 0"),
        (["conv1", "conv1/0/x"], "'conv1/0/x' is where layer 'conv1' has its array 0"),
    ],
)
def test_names_that_would_not_read_back_are_not_written(names, told, tmp_path):
    path = tmp_path / "m.h5"
    with pytest.raises(WeightsError, match=re.escape(told)):
        hdf5.write_weight_groups(path, {name: [np.ones(1, np.float32)] for name in names})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names", [["a/b/c", "a"], ["conv1", "conv1/1"], ["0", "..", "a b", "ü"], ["conv1/00", "conv1"]]
)
def test_other_names_read_back_as_they_are(names, tmp_path):
    path = tmp_path / "m.h5"
    hdf5.write_weight_groups(path, {name: [np.full(2, i, np.float32)] for i, name in enumerate(names)})
    found = hdf5.read_weight_groups(path)
    assert {name: blobs[0][0] for name, blobs in found.items()} == {name: i for i, name in enumerate(names)}
