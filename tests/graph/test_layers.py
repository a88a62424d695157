"""Every layer type computes what real Caffe does: outputs, shapes, gradients.

Oracles: tests/golden/caffe/layers (the CPM authors' fork) and layers_upstream (the types and options it lacks).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpm_port.caffe import read_net
from cpm_port.caffe.layer_types import LAYER_TYPES
from cpm_port.compute.devices import checked_device
from cpm_port.engine.cuda import GraphedNet
from cpm_port.engine.precision import PreciseNet
from cpm_port.graph import CaffeNet, load_net, supported_types
from cpm_port.graph.sources import SOURCE_TYPES
from tests.graph.support import REAL_CAFFE, relative_error
from tests.support import GOLDEN, load_golden

FOLDERS = ("caffe/layers", "caffe/layers_upstream")
CASES: dict[str, dict[str, Any]] = {
    f"{folder}/{name}": case
    for folder in FOLDERS
    for name, case in json.loads((GOLDEN / folder / "index.json").read_text()).items()
}
BATCH_NORM, CHAIN = "caffe/layers/batchnorm_train", "caffe/layers_upstream/inplace_chain"
MOVED_SUMS = {(CHAIN, f"bn/{index}") for index in range(3)}  # stored as they were before the forward pass
UPDATED_SUMS = 1e-6  # three float32 operations
SHAPED_BY_VALUES = ("caffe/layers_upstream/filter", "caffe/layers_upstream/filter_none_dropped")
NOISE = {(CHAIN, "c/1"): "c/0"}  # a bias before BatchNorm: its gradient is 0, rounding aside; whose scale it has
WITHOUT_TOPS = {"HDF5Output"}  # a golden of blobs cannot hold it; tests/graph/test_layer_rules.py does
FROM_PYCAFFE = {"Python"}  # there once cpm_port.pycaffe was imported; tests/pycaffe/test_python_layer.py holds it


def load_case(name: str) -> tuple[CaffeNet, dict[str, np.ndarray]]:
    weights = GOLDEN / f"{name}.caffemodel"
    net = load_net(GOLDEN / f"{name}.prototxt", weights if weights.exists() else None, phase=CASES[name]["phase"])
    return net, load_golden(f"{name}.npz")


def part(golden: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{kind}/"): golden[key] for key in golden if key.startswith(f"{kind}/")}


def at(net: CaffeNet, key: str) -> torch.nn.Parameter:
    layer, index = key.rsplit("/", 1)
    return net.params[layer][int(index)]


@pytest.mark.parametrize("name", CASES)
def test_every_blob_equals_caffes(name: str) -> None:
    net, golden = load_case(name)
    assert list(net.inputs) == CASES[name]["inputs"]
    assert list(net.outputs) == CASES[name]["outputs"]
    expected = {blob: array for blob, array in part(golden, "blob").items() if "_split_" not in blob}
    found = net({blob: torch.from_numpy(array) for blob, array in part(golden, "in").items()}, blobs=list(expected))
    assert found.keys() == expected.keys()
    for blob, array in expected.items():
        assert relative_error(found[blob], array) <= REAL_CAFFE, blob
    shapes = {blob: tuple(shape) for blob, shape in CASES[name]["blobs"].items() if "_split_" not in blob}
    assert net.blob_shapes == shapes
    if name != BATCH_NORM:  # which has a test of its own
        for key, array in part(golden, "param").items():
            assert (name, key) in MOVED_SUMS or np.array_equal(at(net, key).detach().numpy(), array)


def backward_runs(name: str) -> bool:
    """Tell whether Caffe's backward pass runs through the layers at all: towards a loss, or by force_backward."""
    net = read_net(GOLDEN / f"{name}.prototxt", phase=CASES[name]["phase"])
    return net.force_backward or any(any(layer.loss_weights) for layer in net.layers)


WITH_GRADIENT = [name for name, case in CASES.items() if case["backward"] and backward_runs(name)]
WITHOUT_GRADIENT = [name for name, case in CASES.items() if case["backward"] and not backward_runs(name)]


def test_of_a_net_without_a_loss_caffe_computes_no_gradient() -> None:
    # Ours is torch's, which asks for none: tests/graph/test_layer_rules.py holds Filter's.
    assert set(WITHOUT_GRADIENT) == set(SHAPED_BY_VALUES)
    for name in WITHOUT_GRADIENT:
        assert not any(array.any() for array in part(load_golden(f"{name}.npz"), "paramdiff").values())


@pytest.mark.parametrize("name", WITH_GRADIENT)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_gradient_equals_caffes(name: str, device: str) -> None:
    net, golden = load_case(name)
    net.to(checked_device(device))
    inputs = {blob: torch.from_numpy(array).to(device).requires_grad_() for blob, array in part(golden, "in").items()}
    outputs = net(inputs)
    injected = part(golden, "topdiff")
    if injected:
        sum((outputs[blob] * torch.from_numpy(array).to(device)).sum() for blob, array in injected.items()).backward()
    else:
        net.total_loss(outputs).backward()
    for blob, array in part(golden, "indiff").items():
        assert relative_error(inputs[blob].grad, array) <= REAL_CAFFE, blob
    expected = part(golden, "paramdiff")
    for key, array in expected.items():
        if scale := NOISE.get((name, key)):
            found, limit = at(net, key).grad, REAL_CAFFE * np.abs(expected[scale]).max()
            assert found is not None
            assert found.abs().max() <= limit
            assert np.abs(array).max() <= limit
        else:
            assert relative_error(at(net, key).grad, array) <= REAL_CAFFE, key


@pytest.mark.parametrize("name", [name for name in CASES if name not in SHAPED_BY_VALUES])
def test_every_layer_works_on_its_inputs_device(name: str) -> None:
    net, golden = load_case(name)  # torch's device without values: a tensor made on the CPU by mistake fails there
    net.to("meta")
    found = net({blob: torch.from_numpy(array).to("meta") for blob, array in part(golden, "in").items()})
    for blob, tensor in found.items():
        assert tensor.device.type == "meta"
        assert tensor.shape == golden.get(f"blob/{blob}", golden.get(f"in/{blob}")).shape


def test_batch_norm_moves_its_running_sums_as_caffe_does() -> None:
    # The reference script drew nine values it then replaced: the sums' start values are these numbers of its stream.
    draw = np.random.RandomState(CASES[BATCH_NORM]["seed"]).standard_normal(17)
    start = [3 * draw[4:8], 3 * (np.abs(draw[12:16]) + 0.2), np.array([3.0])]
    golden = load_golden(f"{BATCH_NORM}.npz")
    weights = {"l": [array.astype(np.float32) for array in start]}
    net = load_net(GOLDEN / f"{BATCH_NORM}.prototxt", weights, phase="TRAIN")
    net(golden["in/d"])
    for key, array in part(golden, "param").items():
        assert relative_error(at(net, key), array) <= UPDATED_SUMS, key


def test_every_type_of_upstreams_has_a_golden() -> None:
    # The sources of a net's inputs compute nothing; CPMData's own numbers are held in tests/training. Types of forks
    # have their tests in test_fork_layers.py.
    nets = [read_net(GOLDEN / f"{name}.prototxt", phase=case["phase"]) for name, case in CASES.items()]
    held = {layer.type for net in nets for layer in net.layers}
    upstream = {kind for kind in supported_types() if LAYER_TYPES[kind].origin == "upstream"}
    assert upstream - SOURCE_TYPES - WITHOUT_TOPS - FROM_PYCAFFE - held == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_copied_goldens_are_the_reference_materials(shared: Path, folder: str) -> None:
    theirs = shared / "golden" / folder
    entries = json.loads((theirs / "index.json").read_text())
    for name, case in json.loads((GOLDEN / folder / "index.json").read_text()).items():
        assert entries[name] == case
        for suffix in (".prototxt", ".npz"):
            assert (GOLDEN / folder / f"{name}{suffix}").read_bytes() == (theirs / f"{name}{suffix}").read_bytes()


COARSE = {"float32": REAL_CAFFE, "tf32": 2e-3, "bf16": 2e-2}
"""Of a golden's largest value: what TF32's 10 bits and bfloat16's 8 leave of it after a case's few layers."""

MOVED_BY_EVERY_PASS = [BATCH_NORM, CHAIN, *(name for name in CASES if Path(name).name.startswith(("lstm", "rnn")))]
INDEXED_BY_VALUES = ("embed", "infogain")  # a pretended capture has no values, and the host refuses such indices


def can_be_graphed(name: str) -> bool:
    pretended = not torch.backends.cuda.is_built()
    return not (pretended and Path(name).name.startswith(INDEXED_BY_VALUES))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_gives_every_blob_in_every_precision_captured_or_not(name: str) -> None:
    for precision, limit in COARSE.items():
        net, golden = load_case(name)
        if precision != "float32" and not len(list(net.parameters())):
            continue  # no product to round
        net.to("cuda")
        inputs = {blob: torch.from_numpy(array).cuda() for blob, array in part(golden, "in").items()}
        expected = {blob: array for blob, array in part(golden, "blob").items() if "_split_" not in blob}
        for kind in (PreciseNet, GraphedNet) if can_be_graphed(name) else (PreciseNet,):
            found = kind(net, precision)(inputs, blobs=list(expected))  # type: ignore[arg-type]
            for blob, array in expected.items():
                assert relative_error(found[blob].cpu(), array) <= limit, (precision, kind.__name__, blob)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MOVED_BY_EVERY_PASS)
def test_what_every_pass_moves_is_moved_once_a_pass_by_a_graphed_net(name: str) -> None:
    net, golden = load_case(name)
    plain, graphed = copy.deepcopy(net), GraphedNet(net.to("cuda"))
    inputs = {blob: torch.from_numpy(array) for blob, array in part(golden, "in").items()}
    for _ in range(3):
        found = graphed({blob: tensor.cuda() for blob, tensor in inputs.items()})
        for blob, expected in plain(inputs).items():
            assert relative_error(found[blob].cpu(), expected.detach().numpy()) <= REAL_CAFFE, blob
    for key, value in plain.state_dict().items():
        assert relative_error(net.state_dict()[key].cpu(), value.numpy()) <= REAL_CAFFE, key
