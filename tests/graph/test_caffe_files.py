"""Models that real Caffe wrote for others load, run and round-trip; the LeNets score what they should.

Oracles: the files themselves; the score published with the V1 LeNet; OpenCV 4.14's count for the small one.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import read_weights
from cpm_port.errors import WeightsError
from cpm_port.graph import load_net

MODELS = {
    "lenet_v1_leinxx": ("lenet.prototxt", "lenet_iter_10000.caffemodel", ["prob"]),
    "cifar_h5": ("cifar10_quick.prototxt", "cifar10_quick_iter_5000.caffemodel.h5", ["prob"]),
    "det1": ("det1.prototxt", "det1.caffemodel", ["conv4-2", "prob1"]),
    "det2": ("det2.prototxt", "det2.caffemodel", ["conv5-2", "prob1"]),
    "det3": ("det3.prototxt", "det3.caffemodel", ["conv6-2", "conv6-3", "prob1"]),
    "triplet": ("3d_triplet_testIMG.prototxt", "3d_triplet_iter_30000.caffemodel", ["feat"]),
    "tiny": ("conv.prototxt", "mymodel.caffemodel", ["conv"]),
}
IGNORED = {"det2": ("conv5-3",)}  # the model holds a layer that its prototxt lacks


def files(shared: Path, name: str) -> tuple[Path, Path]:
    folder = shared / "caffe_files" / ("mtcnn" if name.startswith("det") else name)
    prototxt, model, _ = MODELS[name]
    return folder / prototxt, folder / model


@pytest.mark.parametrize("name", MODELS)
def test_models_of_others_load_and_run(name: str, shared: Path) -> None:
    net = load_net(*files(shared, name))
    assert net.weights_report is not None
    assert net.weights_report.ignored == IGNORED.get(name, ())
    assert net.weights_report.missing == ()
    (blob, shape), *others = net.inputs.items()
    assert not others
    with torch.no_grad():
        outputs = net(torch.rand(2, *shape[1:], generator=torch.Generator().manual_seed(0)))
    assert list(outputs) == MODELS[name][2]
    for output in outputs.values():
        assert output.shape[0] == 2
        assert torch.isfinite(output).all()
        assert output.std() > 0
    for blob in [name for name in outputs if name.startswith("prob")]:
        assert torch.allclose(outputs[blob].sum(dim=1), torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5", ".safetensors"])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_others_round_trip(name: str, suffix: str, shared: Path, tmp_path: Path) -> None:
    prototxt, model = files(shared, name)
    load_net(prototxt, model).save(tmp_path / f"copy{suffix}")
    again = load_net(prototxt, tmp_path / f"copy{suffix}")
    source = read_weights(model)
    assert again.params.keys() == source.keys() - set(IGNORED.get(name, ()))
    for layer, blobs in again.params.items():
        for blob, array in zip(blobs, source[layer], strict=True):
            assert np.array_equal(blob.detach().numpy(), array.reshape(tuple(blob.shape)))


def test_a_deploy_net_of_another_size_is_refused(shared: Path) -> None:
    folder = shared / "caffe_files" / "lenet_v2_small"  # the model has 5 hidden units, its folder's lenet.prototxt 500
    with pytest.raises(WeightsError, match=r"layer 'ip1': weight blob is \(5, 800\), prototxt says \(500, 800\)"):
        load_net(folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel")


@pytest.fixture(scope="module")
def digits(shared: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return MNIST's 10,000 test images, scaled as the LeNets' data layers do, and their labels, as floats."""
    folder = shared / "datasets" / "mnist_t10k"
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return torch.from_numpy(images.reshape(-1, 1, 28, 28) / np.float32(256)), torch.from_numpy(
        labels.astype(np.float32)
    )


def test_the_published_lenet_scores_what_it_was_published_with(
    digits: tuple[torch.Tensor, torch.Tensor], shared: Path
) -> None:
    net = load_net(*files(shared, "lenet_v1_leinxx"))
    images, labels = digits
    with torch.no_grad():
        found = torch.cat([net(batch)["prob"].argmax(dim=1) for batch in images.split(1000)])
    right = int((found == labels).sum())
    assert right > 0.985 * len(labels)
    assert right == 9902


def test_the_small_lenet_scores_in_its_own_test_net_what_opencv_counts(
    digits: tuple[torch.Tensor, torch.Tensor], shared: Path
) -> None:
    folder = shared / "caffe_files" / "lenet_v2_small"
    net = load_net(
        folder / "lenet_train_test.prototxt",
        folder / "lenet_iter_10000.caffemodel",
        input_shapes={"data": (100, 1, 28, 28), "label": (100,)},
    )
    assert [(layer.name, layer.type) for layer in net.data_layers] == [("mnist", "Data")]
    images, labels = digits
    with torch.no_grad():
        outputs = [net({"data": x, "label": y}) for x, y in zip(images.split(1000), labels.split(1000), strict=True)]
    right = sum(round(float(output["accuracy"]) * 1000) for output in outputs)
    assert right == 9671  # five hidden units; cv2.dnn 4.14 counts the same with the prob net
