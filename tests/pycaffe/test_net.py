"""Net behaves as pycaffe's: what its arrays alias, what passes over a part of the net do, what it says of itself.

Oracles: the claims of upstream's python/caffe/test/test_net.py, products worked with NumPy, and load_net.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from cpm_port import load_net
from cpm_port.errors import ShapeError, WeightsError
from tests.pycaffe.support import SMALL_NET, small_net, write

CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # upstream's own
CHAIN = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "flat" type: "Flatten" bottom: "conv" top: "flat" }
"""


def test_arrays_outlive_their_net(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    blobs = [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]
    del net
    assert np.isfinite(sum(blob.data.sum() + blob.diff.sum() for blob in blobs))


def test_an_array_taken_once_shows_every_later_pass(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    taken = {name: blob.data for name, blob in net.blobs.items()}
    for seed in range(2):
        taken["x"][...] = np.random.RandomState(seed).standard_normal(taken["x"].shape)
        net.forward()
        expected = load_net(tmp_path / "net.prototxt", {"conv": [b.data for b in net.params["conv"]]})(
            {"x": taken["x"]}, blobs=["conv"]
        )
        for name in ("conv", "flat"):
            assert np.array_equal(taken[name], expected[name].detach().numpy())
            assert np.shares_memory(taken[name], net.blobs[name].data)


def test_arrays_are_float32_in_c_order_and_writable(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    net.forward()
    for blob in [*net.blobs.values(), *net.params["conv"]]:
        for array in (blob.data, blob.diff):
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.shape == blob.shape


def test_flatten_shares_its_bottoms_memory_as_in_caffe(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    net.forward()
    assert np.shares_memory(net.blobs["flat"].data, net.blobs["conv"].data)
    assert not np.shares_memory(net.blobs["conv"].data, net.blobs["x"].data)


def test_a_blob_changed_in_place_shows_its_last_content(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    net.blobs["x"].data[...] = np.random.RandomState(0).standard_normal((1, 2, 4, 4))
    net.forward()
    assert net.blobs["conv"].data.min() == 0
    assert net.forward(end="conv")["conv"].min() < 0


def test_weights_written_in_place_take_effect(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    net.params["conv"][0].data[...] = 0
    net.params["conv"][1].data[...] = [1, -1, 2]
    (flat,) = net.forward().values()
    assert np.array_equal(flat.reshape(3, 4)[:, 0], [1, 0, 2])


def test_the_small_net_tells_its_parts(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    assert net.inputs == []
    assert net.outputs == ["loss"]
    assert net.top_names == OrderedDict(
        [("data", ["data", "label"]), ("conv", ["conv"]), ("ip", ["ip"]), ("loss", ["loss"])]
    )
    assert net.bottom_names == OrderedDict(
        [("data", []), ("conv", ["data"]), ("ip", ["conv"]), ("loss", ["ip", "label"])]
    )
    assert list(net._layer_names) == list(net.layer_dict) == ["data", "conv", "ip", "loss"]
    assert [layer.type for layer in net.layers] == ["DummyData", "Convolution", "InnerProduct", "SoftmaxWithLoss"]
    assert list(net.blobs) == ["data", "label", "conv", "ip", "loss"]
    assert list(net.params) == ["conv", "ip"]
    assert [len(layer.blobs) for layer in net.layers] == [0, 2, 2, 0]
    assert net.blob_loss_weights["loss"] == 1
    blob = net.blobs["label"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (5, 1, 1, 1, 5)


def test_constant_dummy_data_is_filled_once_and_other_dummy_data_in_every_pass(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    labels = net.blobs["label"].data.copy()
    net.forward()
    first = net.blobs["data"].data.copy()
    net.forward()
    assert np.array_equal(net.blobs["label"].data, labels)
    assert not np.array_equal(net.blobs["data"].data, first)


def test_a_pass_may_start_and_end_at_any_layer(tmp_path: Path) -> None:
    net, draw = small_net(tmp_path), np.random.RandomState(1)
    net.blobs["conv"].data[...] = values = draw.uniform(size=net.blobs["conv"].shape)
    found = net.forward(start="ip", end="ip")
    weight, bias = (blob.data for blob in net.params["ip"])
    assert list(found) == ["ip"]
    np.testing.assert_allclose(found["ip"], values.reshape(5, -1) @ weight.T + bias, **CLOSE)
    net.blobs["ip"].diff[...] = gradient = draw.uniform(size=net.blobs["ip"].shape)
    back = net.backward(start="ip", end="ip")
    assert list(back) == ["conv"]
    np.testing.assert_allclose(back["conv"].reshape(5, -1), gradient @ weight, **CLOSE)
    np.testing.assert_allclose(net.params["ip"][0].diff, gradient.T @ values.reshape(5, -1), **CLOSE)


def test_backward_runs_without_a_forward_pass_of_that_layer(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    net.blobs["ip"].diff[...] = gradient = np.random.RandomState(2).uniform(size=net.blobs["ip"].shape)
    back = net.backward(start="ip", end="ip")
    np.testing.assert_allclose(back["conv"].reshape(5, -1), gradient @ net.params["ip"][0].data, **CLOSE)


def test_parameters_gradients_add_up_until_they_are_cleared(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    net.forward()
    net.backward()
    once = net.params["ip"][0].diff.copy()
    assert np.abs(once).max() > 0
    net.backward()
    np.testing.assert_allclose(net.params["ip"][0].diff, 2 * once, rtol=1e-6)
    net.clear_param_diffs()
    assert not any(blob.diff.any() for blobs in net.params.values() for blob in blobs)


def test_a_net_without_loss_computes_gradients_only_by_force(tmp_path: Path) -> None:
    for force in (False, True):
        net = caffe.Net(write(tmp_path, ("force_backward: true\n" if force else "") + CHAIN), caffe.TEST)
        net.blobs["x"].data[...] = 1
        net.forward()
        found = net.backward(**{"flat": np.ones((1, 12), np.float32)})
        assert bool(found["x"].any()) == bool(net.params["conv"][1].diff.any()) == force


@pytest.mark.parametrize(("kind", "both"), [
    ("EuclideanLoss", True), ("SmoothL1Loss", True), ("SigmoidCrossEntropyLoss", False), ("HingeLoss", False),
])  # fmt: skip
def test_force_backward_reaches_both_sides_of_a_difference_but_no_labels(kind: str, both: bool, tmp_path: Path) -> None:
    text = f"""force_backward: true
    layer {{ name: "d" type: "Input" top: "x" top: "y" input_param {{ shape {{ dim: 1 dim: 1 }} }} }}
    layer {{ name: "l" type: "{kind}" bottom: "x" bottom: "y" top: "l" }}"""
    net = caffe.Net(write(tmp_path, text), caffe.TRAIN)
    net.blobs["x"].data[...] = 0.5
    net.forward()
    net.backward()
    assert net.blobs["x"].diff.any()
    assert bool(net.blobs["y"].diff.any()) == both


def test_a_gradient_of_a_blob_with_two_readers_is_their_sum(tmp_path: Path) -> None:
    text = """force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
    layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 3 } }
    layer { name: "b" type: "Power" bottom: "x" top: "b" power_param { scale: 5 } }
    layer { name: "c" type: "Power" bottom: "x" top: "x" power_param { scale: 7 } }"""
    net = caffe.Net(write(tmp_path, text), caffe.TEST)
    net.forward()
    for _ in range(2):
        net.blobs["a"].diff[...], net.blobs["b"].diff[...], net.blobs["x"].diff[...] = 1, 10, 100
        net.backward()
        assert np.array_equal(net.blobs["x"].diff, [3 + 50 + 700] * 2)


def test_inputs_reshape_on_the_fly(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    net.blobs["x"].reshape(2, 2, 6, 5)
    assert net.blobs["conv"].shape == (1, 3, 2, 2)
    net.reshape()
    assert net.blobs["conv"].shape == (2, 3, 4, 3)
    net.blobs["x"].reshape(1, 2, 5, 5)  # forward carries it on by itself
    assert net.forward()["flat"].shape == (1, 27)
    with pytest.raises(ShapeError):
        net.blobs["x"].reshape(1, 3, 5, 5) or net.forward()
    with pytest.raises(RuntimeError, match="no kwargs"):
        net.blobs["x"].reshape(num=1)


def test_a_smaller_shape_keeps_the_memory(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    whole = net.blobs["x"].data
    net.blobs["x"].reshape(1, 2, 3, 3)
    assert np.shares_memory(whole, net.blobs["x"].data)


def test_forward_takes_inputs_by_name_and_refuses_others(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, CHAIN), caffe.TEST)
    found = net.forward(blobs=["conv"], x=np.ones((1, 2, 4, 4)))
    assert set(found) == {"flat", "conv"}
    with pytest.raises(Exception, match="Input blob arguments do not match net inputs"):
        net.forward(y=np.ones((1, 2, 4, 4)))
    for wrong in (np.ones((2, 2, 4, 4)), 5):
        with pytest.raises(Exception, match="Input is not batch sized"):
            net.forward(x=wrong)
    with pytest.raises(Exception, match="Input blob arguments do not match net inputs"):
        net.forward_all()
    with pytest.raises(TypeError, match="sizes one by one"):
        net.blobs["x"].reshape((1, 2, 4, 4))
    with pytest.raises(Exception, match="Top diff arguments do not match net outputs"):
        net.backward(conv=np.ones((1, 12)))
    with pytest.raises(ValueError, match="nowhere"):
        net.forward(start="nowhere")


def test_forward_all_pads_the_last_batch_and_drops_the_padding(tmp_path: Path) -> None:
    net = caffe.Net(write(tmp_path, "force_backward: true\n" + CHAIN.replace("dim: 1 dim: 2", "dim: 2 dim: 2")), 1)
    many = np.random.RandomState(3).standard_normal((5, 2, 4, 4)).astype(np.float32)
    found = net.forward_all(x=many)["flat"]
    single = [net.forward(x=np.stack([row, row]))["flat"][0].copy() for row in many]
    np.testing.assert_allclose(found, single, rtol=1e-6)
    outs, diffs = net.forward_backward_all(x=many, flat=np.ones((5, 12), np.float32))
    np.testing.assert_allclose(outs["flat"], found, rtol=1e-6)
    assert diffs["x"].shape == many.shape


@pytest.mark.parametrize("form", ["proto", "hdf5"])
def test_saved_weights_come_back_whatever_the_files_name(form: str, tmp_path: Path) -> None:
    net, path = small_net(tmp_path), str(tmp_path / "weights")
    (net.save if form == "proto" else net.save_hdf5)(path)
    others = [caffe.Net(write(tmp_path, SMALL_NET), path, caffe.TRAIN)]
    others.append(caffe.Net(write(tmp_path, SMALL_NET), caffe.TRAIN, weights=path))
    others.append(small_net(tmp_path))
    (others[2].copy_from if form == "proto" else others[2].load_hdf5)(path)
    for other in others:
        for layer, blobs in net.params.items():
            for mine, theirs in zip(blobs, other.params[layer], strict=True):
                assert np.array_equal(mine.data, theirs.data)


def test_shared_nets_have_one_memory(tmp_path: Path) -> None:
    net, other = small_net(tmp_path), small_net(tmp_path)
    other.share_with(net)
    net.params["ip"][1].data[...] = 7
    assert (other.params["ip"][1].data == 7).all()
    assert np.shares_memory(other.params["ip"][0].data, net.params["ip"][0].data)


def test_copy_from_ignores_strange_layers_and_refuses_other_shapes(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    net.save(tmp_path / "weights")
    renamed = caffe.Net(write(tmp_path, SMALL_NET.replace('"ip"', '"new"')), caffe.TRAIN)
    before = renamed.params["new"][0].data.copy()
    renamed.copy_from(tmp_path / "weights")
    assert np.array_equal(renamed.params["new"][0].data, before)
    assert np.array_equal(renamed.params["conv"][0].data, net.params["conv"][0].data)
    with pytest.raises(WeightsError, match="11"):
        caffe.Net(
            write(tmp_path, SMALL_NET.replace("num_output: 11", "num_output: 12")), 0, weights=tmp_path / "weights"
        )


def test_levels_and_stages_choose_layers(tmp_path: Path) -> None:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n' + "".join(
        f'layer {{ name: "{name}" type: "Power" bottom: "x" top: "{name}" {rule} }}\n'
        for name, rule in (
            ("always", ""),
            ("level1", "include { min_level: 1 }"),
            ("level0", "include { max_level: 0 }"),
            ("a", 'include { stage: "a" }'),
            ("not_a", 'include { not_stage: "a" }'),
        )
    )
    file = write(tmp_path, text)
    assert list(caffe.Net(file, caffe.TEST).blobs) == ["x", "always", "level0", "not_a"]
    assert list(caffe.Net(file, caffe.TEST, level=1).blobs) == ["x", "always", "level1", "not_a"]
    assert list(caffe.Net(file, caffe.TEST, stages=["a"]).blobs) == ["x", "always", "level0", "a"]


def test_memory_data_gives_the_callers_arrays_in_turn(tmp_path: Path) -> None:
    text = """layer { name: "m" type: "MemoryData" top: "d" top: "l"
      memory_data_param { batch_size: 2 channels: 1 height: 2 width: 2 } }"""
    net = caffe.Net(write(tmp_path, text), caffe.TEST)
    with pytest.raises(RuntimeError, match="set_input_arrays"):
        net.forward()
    data, labels = np.arange(16, dtype=np.float32).reshape(4, 1, 2, 2), np.arange(4, dtype=np.float32)
    net.set_input_arrays(data, labels)
    for rows in (slice(0, 2), slice(2, 4), slice(0, 2)):
        found = net.forward()
        assert np.array_equal(found["d"], data[rows])
        assert np.array_equal(found["l"], labels[rows])
    with pytest.raises(RuntimeError, match="wrong height"):
        net.set_input_arrays(np.zeros((2, 1, 3, 2), np.float32), labels[:2])
    with pytest.raises(RuntimeError, match="multiple of batch size"):
        net.set_input_arrays(data[:3], labels[:3])
    with pytest.raises(RuntimeError, match="first layer is a MemoryDataLayer"):
        small_net(tmp_path).set_input_arrays(data, labels)


def test_callbacks_hear_every_layer(tmp_path: Path) -> None:
    net, heard = small_net(tmp_path), []
    net.before_forward(lambda layer: heard.append(("forward", layer)))
    net.after_backward(lambda layer: heard.append(("backward", layer)))
    net.forward(start="ip")
    net.backward(end="ip")
    assert heard == [("forward", 2), ("forward", 3), ("backward", 3), ("backward", 2)]


def test_a_missing_file_is_a_runtime_error_as_in_pycaffe(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Could not open file nowhere"):
        caffe.Net("nowhere", caffe.TEST)
    with pytest.raises(FileNotFoundError):
        caffe.Net(write(tmp_path, CHAIN), "nowhere", caffe.TEST)


@pytest.mark.parametrize("more", [(), ("one", "two", caffe.TEST), (caffe.TEST, caffe.TEST), (None, caffe.TEST), (7,)])
def test_arguments_that_are_no_weights_and_phase_are_a_type_error(more: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="phase"):
        caffe.Net(write(tmp_path, CHAIN), *more)


def test_a_layer_does_not_run_by_itself(tmp_path: Path) -> None:
    net = small_net(tmp_path)
    with pytest.raises(NotImplementedError, match=r"'ip' \(InnerProduct\).*net\.forward\(start='ip', end='ip'\)"):
        net.layer_dict["ip"].forward([net.blobs["conv"]], [net.blobs["ip"]])


def test_the_layer_types_are_listed() -> None:
    assert {"Data", "Convolution", "InnerProduct", "Python"} <= set(caffe.layer_type_list())


@pytest.mark.parametrize("call", [
    lambda: caffe.NCCL(), lambda: caffe.create_layer(), lambda: caffe.set_multiprocess(True),
    lambda: caffe.set_solver_count(2), lambda: caffe.set_solver_rank(1),
])  # fmt: skip
def test_what_is_not_there_says_its_name_and_why(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotImplementedError, match=r"^caffe\.\w+.*: \w+"):
        call()
