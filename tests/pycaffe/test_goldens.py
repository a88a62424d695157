"""Every layer computes through pycaffe's face what real Caffe does: blobs, their gradients, parameters' gradients.

Oracles: tests/golden/caffe/layers and layers_upstream, read as a pycaffe script would.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import cpm_port.pycaffe as caffe
from tests.graph.support import REAL_CAFFE, relative_error
from tests.graph.test_layers import BATCH_NORM, CASES, MOVED_SUMS, NOISE, part
from tests.support import GOLDEN, load_golden


def load_case(name: str) -> tuple[caffe.Net, dict[str, np.ndarray]]:
    weights, golden = Path(f"{GOLDEN / name}.caffemodel"), load_golden(f"{name}.npz")
    given = [str(weights)] if weights.exists() else []
    net = caffe.Net(f"{GOLDEN / name}.prototxt", *given, getattr(caffe, CASES[name]["phase"]))
    for blob, array in part(golden, "in").items():
        net.blobs[blob].data[...] = array
    return net, golden


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return relative_error(torch.from_numpy(found), expected)


@pytest.mark.parametrize("name", CASES)
def test_every_blob_and_every_gradient_equals_caffes(name: str) -> None:
    net, golden = load_case(name)
    assert net.inputs == CASES[name]["inputs"]
    assert net.outputs == CASES[name]["outputs"]
    outputs = net.forward()
    assert set(outputs) == set(net.outputs)
    for blob, array in part(golden, "blob").items():
        if "_split_" not in blob:
            assert error(net.blobs[blob].data, array) <= REAL_CAFFE, blob
    for key, array in part(golden, "param").items():
        layer, index = key.rsplit("/", 1)
        if name != BATCH_NORM and (name, key) not in MOVED_SUMS:
            assert np.array_equal(net.params[layer][int(index)].data, array)
    if not CASES[name]["backward"]:
        return
    for blob, array in part(golden, "topdiff").items():
        net.blobs[blob].diff[...] = array
    net.backward()
    for blob, array in part(golden, "indiff").items():
        assert error(net.blobs[blob].diff, array) <= REAL_CAFFE, blob
    gradients = part(golden, "paramdiff")
    for key, array in gradients.items():
        layer, index = key.rsplit("/", 1)
        found = net.params[layer][int(index)].diff
        if scale := NOISE.get((name, key)):
            assert np.abs(found).max() <= REAL_CAFFE * np.abs(gradients[scale]).max()
        else:
            assert error(found, array) <= REAL_CAFFE, key
