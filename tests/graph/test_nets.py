"""Whole nets equal real Caffe: the official architectures, at 16 channels and at full size (oracle: its outputs).

Nets come from our own generator and weights from the reference runs' recipe, so most of this runs without the reference
material; where that is present, every recorded blob and the files themselves are compared too.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import parse_net
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import architecture, deploy_text
from tests.graph.support import REAL_CAFFE, recipe_input, recipe_weights, relative_error
from tests.support import load_golden

SMALL = {"mpi_small_rect": ("mpi", 77, (248, 328)), "leeds_small": ("leeds", 78, (184, 184))}


@pytest.fixture(scope="module")
def full_net() -> CaffeNet:
    net = load_net(parse_net(deploy_text(architecture("mpi"))))
    net.load_weights(recipe_weights(net, 20160701))
    return net


def compare(net: CaffeNet, data: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        found = net(data, blobs=[blob for blob in expected if blob != "data"])
    errors = {blob: relative_error(found[blob], array) for blob, array in expected.items() if blob != "data"}
    assert max(errors.values()) <= REAL_CAFFE, errors


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_equal_caffe(name: str) -> None:
    arch, seed, size = SMALL[name]
    net = load_net(parse_net(deploy_text(architecture(arch, width=16))))
    net.load_weights(recipe_weights(net, seed))
    compare(net, recipe_input(*size, seed=5), load_golden(f"caffe/nets/{name}.npz"))


def test_the_full_size_net_equals_caffe(full_net: CaffeNet) -> None:
    compare(full_net, recipe_input(368, 368, seed=368), load_golden("caffe/nets/mpi_full.npz"))


def test_every_recorded_blob_of_the_full_size_net_equals_caffe(full_net: CaffeNet, shared: Path) -> None:
    folder = shared / "golden" / "caffe" / "full"
    recorded = json.loads((folder / "mpi_full.json").read_text())["params_in_order"]
    params = full_net.params
    assert [layer for layer, *_ in recorded] == list(params)
    for layer, shapes, sums, firsts in recorded:
        for blob, shape, total, first in zip(params[layer], shapes, sums, firsts, strict=True):
            values = blob.detach().numpy()
            assert list(values.shape) == shape
            assert np.abs(values.astype(np.float64)).sum() == pytest.approx(total, rel=1e-9)
            assert values.ravel()[:3].tolist() == first
    with np.load(folder / "mpi_full.npz") as arrays:
        compare(full_net, arrays["data"], dict(arrays))


@pytest.mark.parametrize(
    ("net", "weights", "expected"),
    [
        ("mpi_small.prototxt", "mpi_small.caffemodel", "mpi_small"),
        ("mpi_small_rect.prototxt", "mpi_small.caffemodel", "mpi_small_rect"),
        ("leeds_small.prototxt", "leeds_small.caffemodel", "leeds_small"),
        ("flic_small.prototxt", "flic_small.caffemodel", "flic_small"),
    ],
)
def test_files_that_caffe_wrote_give_every_recorded_blob(net: str, weights: str, expected: str, shared: Path) -> None:
    folder = shared / "golden" / "caffe" / "nets"
    with np.load(folder / f"{expected}.npz") as arrays:
        compare(load_net(folder / net, folder / weights), arrays["data"], dict(arrays))


def test_v1_and_hdf5_files_give_the_same_output_as_v2(shared: Path) -> None:
    folder = shared / "golden" / "caffe" / "nets"
    data = recipe_input(184, 184, seed=5)
    nets, weights = ["flic_small", "flic_small_v1"], ["flic_small.caffemodel", "flic_small_v1.caffemodel"]
    with torch.no_grad():
        outputs = [
            load_net(folder / f"{net}.prototxt", folder / file)(data)
            for net in nets
            for file in [*weights, "flic_small.caffemodel.h5"]
        ]
    for output in outputs[1:]:
        assert output.keys() == outputs[0].keys()
        for blob, tensor in output.items():
            assert torch.equal(tensor, outputs[0][blob]), blob


def test_a_batch_gives_what_its_images_give_alone() -> None:
    net = load_net(parse_net(deploy_text(architecture("flic", width=8))))
    net.load_weights(recipe_weights(net, 1))
    data = np.concatenate([recipe_input(64, 80, seed) for seed in range(3)])
    with torch.no_grad():
        together = net(data)["Mconv5_stage4"].numpy()
        alone = [net(image[None])["Mconv5_stage4"] for image in data]
    for index, output in enumerate(alone):
        assert relative_error(output, together[index : index + 1]) <= REAL_CAFFE
