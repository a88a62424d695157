"""Every layer type computes what real Caffe does: outputs, shapes, gradients.

Oracles: tests/golden/caffe/layers (the CPM authors' fork) and layers_upstream (the types and options it lacks).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cpm_port.caffe import read_net
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
AFTERWARDS = "caffe/layers/batchnorm_train"  # its golden weights are those after the forward pass: see its own test
UPDATED_SUMS = 1e-6  # three float32 operations


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
    if name != AFTERWARDS:
        for key, array in part(golden, "param").items():
            assert np.array_equal(at(net, key).detach().numpy(), array)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["backward"]])
def test_every_gradient_equals_caffes(name: str) -> None:
    net, golden = load_case(name)
    inputs = {blob: torch.from_numpy(array).requires_grad_() for blob, array in part(golden, "in").items()}
    outputs = net(inputs)
    injected = part(golden, "topdiff")
    if injected:
        sum((outputs[blob] * torch.from_numpy(array)).sum() for blob, array in injected.items()).backward()
    else:
        net.total_loss(outputs).backward()
    for blob, array in part(golden, "indiff").items():
        assert relative_error(inputs[blob].grad, array) <= REAL_CAFFE, blob
    for key, array in part(golden, "paramdiff").items():
        assert relative_error(at(net, key).grad, array) <= REAL_CAFFE, key


@pytest.mark.parametrize("name", CASES)
def test_every_layer_works_on_its_inputs_device(name: str) -> None:
    net, golden = load_case(name)  # torch's device without values: a tensor made on the CPU by mistake fails there
    net.to("meta")
    found = net({blob: torch.from_numpy(array).to("meta") for blob, array in part(golden, "in").items()})
    for blob, tensor in found.items():
        assert tensor.device.type == "meta"
        assert tensor.shape == golden.get(f"blob/{blob}", golden.get(f"in/{blob}")).shape


def test_batch_norm_moves_its_running_sums_as_caffe_does() -> None:
    # The reference script drew nine values it then replaced: the sums' start values are these numbers of its stream.
    draw = np.random.RandomState(CASES[AFTERWARDS]["seed"]).standard_normal(17)
    start = [3 * draw[4:8], 3 * (np.abs(draw[12:16]) + 0.2), np.array([3.0])]
    golden = load_golden(f"{AFTERWARDS}.npz")
    weights = {"l": [array.astype(np.float32) for array in start]}
    net = load_net(GOLDEN / f"{AFTERWARDS}.prototxt", weights, phase="TRAIN")
    net(golden["in/d"])
    for key, array in part(golden, "param").items():
        assert relative_error(at(net, key), array) <= UPDATED_SUMS, key


def test_every_registered_type_has_a_golden() -> None:
    # The sources of a net's inputs compute nothing; CPMData's own numbers are held in tests/training.
    nets = [read_net(GOLDEN / f"{name}.prototxt", phase=case["phase"]) for name, case in CASES.items()]
    held = {layer.type for net in nets for layer in net.layers}
    assert set(supported_types()) - SOURCE_TYPES - held == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_copied_goldens_are_the_reference_materials(shared: Path, folder: str) -> None:
    theirs = shared / "golden" / folder
    entries = json.loads((theirs / "index.json").read_text())
    for name, case in json.loads((GOLDEN / folder / "index.json").read_text()).items():
        assert entries[name] == case
        for suffix in (".prototxt", ".npz"):
            assert (GOLDEN / folder / f"{name}{suffix}").read_bytes() == (theirs / f"{name}{suffix}").read_bytes()
