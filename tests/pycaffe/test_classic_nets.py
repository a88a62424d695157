"""Caffe's classic nets load, run and train on made data in the form that they declare, LMDB or HDF5.

Each is written here by NetSpec from its published description, in full depth and spatial size; the widest layers of the
ImageNet nets are narrower by `NARROW`, for speed. Oracles: published blob shapes, losses known for untrained nets, and
that training lowers the loss of a batch that comes again and again.
"""
# ruff: noqa: C408 - written as pycaffe code is

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pytest

import cpm_port.pycaffe as caffe
from cpm_port.pycaffe import layers as L
from cpm_port.pycaffe import params as P
from cpm_port.pycaffe.proto import caffe_pb2
from tests.pycaffe.support import write

NARROW = 16
SOLVER = """net: "{net}" base_lr: {rate} momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" max_iter: 100
random_seed: 1 snapshot_after_train: false snapshot_prefix: "{folder}/model" """
LR = [dict(lr_mult=1), dict(lr_mult=2)]
XAVIER = dict(weight_filler=dict(type="xavier"))


def gaussian(std: float, **more: Any) -> dict[str, Any]:
    return dict(weight_filler=dict(type="gaussian", std=std, **more))


def narrow(channels: int) -> int:
    return max(4, channels // NARROW)


def database(folder: Path, count: int, channels: int, size: int, classes: int) -> str:
    """Write an LMDB of Datums: noise, lighter for odd labels."""
    draw = np.random.RandomState(3)
    with lmdb.open(str(folder / "lmdb")) as environment, environment.begin(write=True) as transaction:
        for number in range(count):
            image = draw.randint(0, 200, (channels, size, size)) + 50 * (number % 2)
            datum = caffe_pb2.Datum(channels=channels, height=size, width=size, label=number % classes)
            datum.data = image.astype(np.uint8).tobytes()
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    return str(folder / "lmdb")


def hdf5(folder: Path, **arrays: np.ndarray) -> str:
    with h5py.File(folder / "data.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype(np.float32)
    (folder / "list.txt").write_text(f"{folder / 'data.h5'}\n")
    return str(folder / "list.txt")


def data(source: str, batch: int, *, ntop: int = 2, **transform: Any) -> Any:
    return L.Data(source=source, backend=P.Data.LMDB, batch_size=batch, ntop=ntop, transform_param=transform)


def trained(spec: Any, folder: Path, *, steps: int, rate: float) -> tuple[Any, float, float]:
    """Train a few steps; return the solver, and the loss before and after."""
    net = write(folder, str(spec.to_proto()), "train.prototxt")
    solver = caffe.SGDSolver(write(folder, SOLVER.format(net=net, folder=folder, rate=rate), "solver.prototxt"))
    before = {name: [blob.data.copy() for blob in blobs] for name, blobs in solver.net.params.items()}
    losses = []
    for _ in range(steps):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    assert np.isfinite(losses).all()
    for name, blobs in solver.net.params.items():
        assert any(not np.array_equal(blob.data, old) for blob, old in zip(blobs, before[name], strict=True)), name
    return solver, losses[0], losses[-1]


# Nets that classify: from a blob to its scores


def lenet(n: Any, x: Any) -> Any:
    n.conv1 = L.Convolution(x, num_output=20, kernel_size=5, param=LR, **XAVIER)
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, num_output=50, kernel_size=5, param=LR, **XAVIER)
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool2, num_output=500, param=LR, **XAVIER)
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, param=LR, **XAVIER)
    return n.ip2


def cifar(kind: str) -> Callable[[Any, Any], Any]:
    """CIFAR-10's quick, full, sigmoid and BN nets: three convolutions, pooled."""

    def build(n: Any, x: Any) -> Any:
        for level, channels in enumerate((32, 32, 64), 1):
            name = str(level)
            conv = L.Convolution(
                x, num_output=channels, kernel_size=5, pad=2, param=LR, **gaussian(0.01 if level > 1 else 1e-4)
            )
            n[f"conv{name}"] = top = conv
            pool = dict(kernel_size=3, stride=2, pool=P.Pooling.AVE if level > 1 else P.Pooling.MAX)
            if kind == "bn":
                n[f"pool{name}"] = top = L.Pooling(top, **pool)
                n[f"bn{name}"] = top = L.BatchNorm(top, param=[dict(lr_mult=0)] * 3)
                n[f"sigmoid{name}"] = top = L.Sigmoid(top)
            elif level == 1 or kind == "sigmoid":
                n[f"pool{name}"] = top = L.Pooling(top, **pool)
                n[f"act{name}"] = top = L.Sigmoid(top) if kind == "sigmoid" else L.ReLU(top, in_place=True)
            else:
                n[f"act{name}"] = top = L.ReLU(top, in_place=True)
                n[f"pool{name}"] = top = L.Pooling(top, **pool)
            if kind in ("full", "sigmoid") and level < 3:
                norm = dict(local_size=3, alpha=5e-5, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL)
                n[f"norm{name}"] = top = L.LRN(top, **norm)
            x = top
        if kind == "quick":
            n.ip1 = x = L.InnerProduct(x, num_output=64, param=LR, **gaussian(0.1))
        n.scores = L.InnerProduct(x, num_output=10, param=LR, **gaussian(0.1))
        return n.scores

    return build


def alexnet(norm_first: bool) -> Callable[[Any, Any], Any]:
    """AlexNet normalizes before it pools, CaffeNet after."""

    def build(n: Any, x: Any) -> Any:
        def conv(index: int, bottom: Any, channels: int, size: int, **more: Any) -> Any:
            name = f"conv{index}"
            n[name] = L.Convolution(
                bottom, num_output=narrow(channels), kernel_size=size, param=LR, **more, **gaussian(0.05)
            )
            n[f"relu{index}"] = L.ReLU(n[name], in_place=True)
            return n[f"relu{index}"]

        def between(index: int, top: Any) -> Any:
            for kind in ("norm", "pool") if norm_first else ("pool", "norm"):
                if kind == "pool":
                    n[f"pool{index}"] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
                else:
                    n[f"norm{index}"] = top = L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)
            return top

        top = between(1, conv(1, x, 96, 11, stride=4))
        top = between(2, conv(2, top, 256, 5, pad=2, group=2))
        top = conv(3, top, 384, 3, pad=1)
        top = conv(4, top, 384, 3, pad=1, group=2)
        top = conv(5, top, 256, 3, pad=1, group=2)
        n.pool5 = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        for index in (6, 7):
            n[f"fc{index}"] = L.InnerProduct(top, num_output=narrow(4096), param=LR, **gaussian(0.05))
            n[f"relu{index}"] = L.ReLU(n[f"fc{index}"], in_place=True)
            n[f"drop{index}"] = top = L.Dropout(n[f"relu{index}"], dropout_ratio=0.5, in_place=True)
        n.scores = L.InnerProduct(top, num_output=20, param=LR, **gaussian(0.05))
        return n.scores

    return build


def vgg16(n: Any, x: Any) -> Any:
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            n[name] = L.Convolution(x, num_output=narrow(channels), kernel_size=3, pad=1, param=LR, **XAVIER)
            n[name.replace("conv", "relu")] = x = L.ReLU(n[name], in_place=True)
        n[f"pool{block}"] = x = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for index in (6, 7):
        n[f"fc{index}"] = L.InnerProduct(x, num_output=narrow(4096), param=LR, **XAVIER)
        n[f"relu{index}"] = L.ReLU(n[f"fc{index}"], in_place=True)
        n[f"drop{index}"] = x = L.Dropout(n[f"relu{index}"], in_place=True)
    n.scores = L.InnerProduct(x, num_output=20, param=LR, **XAVIER)
    return n.scores


def googlenet(n: Any, x: Any) -> Any:
    def conv(name: str, bottom: Any, channels: int, size: int, **more: Any) -> Any:
        n[name] = L.Convolution(bottom, num_output=narrow(channels), kernel_size=size, param=LR, **more, **XAVIER)
        n[f"{name}/relu"] = L.ReLU(n[name], in_place=True)
        return n[f"{name}/relu"]

    def pool(name: str, bottom: Any) -> Any:
        n[name] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        return n[name]

    def inception(name: str, bottom: Any, one: int, *sizes: int) -> Any:
        three_before, three, five_before, five, behind_pool = sizes
        branches = [conv(f"{name}/1x1", bottom, one, 1)]
        branches.append(conv(f"{name}/3x3", conv(f"{name}/3x3_reduce", bottom, three_before, 1), three, 3, pad=1))
        branches.append(conv(f"{name}/5x5", conv(f"{name}/5x5_reduce", bottom, five_before, 1), five, 5, pad=2))
        n[f"{name}/pool"] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
        branches.append(conv(f"{name}/pool_proj", n[f"{name}/pool"], behind_pool, 1))
        n[f"{name}/output"] = L.Concat(*branches)
        return n[f"{name}/output"]

    top = pool("pool1", conv("conv1", x, 64, 7, stride=2, pad=3))
    n["pool1/norm1"] = L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)
    top = conv("conv2", conv("conv2_reduce", n["pool1/norm1"], 64, 1), 192, 3, pad=1)
    n["conv2/norm2"] = L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)
    top = pool("pool2", n["conv2/norm2"])
    top = inception("3a", top, 64, 96, 128, 16, 32, 32)
    top = pool("pool3", inception("3b", top, 128, 128, 192, 32, 96, 64))
    for name, sizes in (
        ("4a", (192, 96, 208, 16, 48, 64)), ("4b", (160, 112, 224, 24, 64, 64)), ("4c", (128, 128, 256, 24, 64, 64)),
        ("4d", (112, 144, 288, 32, 64, 64)), ("4e", (256, 160, 320, 32, 128, 128)),
    ):  # fmt: skip
        top = inception(name, top, *sizes)
    top = inception("5a", pool("pool4", top), 256, 160, 320, 32, 128, 128)
    top = inception("5b", top, 384, 192, 384, 48, 128, 128)
    n.pool5 = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=7, stride=1)
    n.drop = L.Dropout(n.pool5, dropout_ratio=0.4, in_place=True)
    n.scores = L.InnerProduct(n.drop, num_output=20, param=LR, **XAVIER)
    return n.scores


def resnet50(n: Any, x: Any) -> Any:
    def conv(name: str, bottom: Any, channels: int, size: int, *, relu: bool = True, **more: Any) -> Any:
        n[name] = L.Convolution(
            bottom, num_output=channels, kernel_size=size, bias_term=False, weight_filler=dict(type="msra"), **more
        )
        n[f"bn_{name}"] = L.BatchNorm(n[name], in_place=True)
        n[f"scale_{name}"] = top = L.Scale(n[f"bn_{name}"], bias_term=True, in_place=True)
        if relu:
            n[f"relu_{name}"] = top = L.ReLU(top, in_place=True)
        return top

    top = conv("conv1", x, narrow(64), 7, stride=2, pad=3)
    n.pool1 = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    for stage, (blocks, channels) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        inner = narrow(channels)
        for block in range(blocks):
            name, stride = f"res{stage}{'abcdef'[block]}", 2 if stage > 2 and block == 0 else 1
            shortcut = top if block else conv(f"{name}_1", top, 4 * inner, 1, relu=False, stride=stride)
            branch = conv(f"{name}_2a", top, inner, 1, stride=stride)
            branch = conv(f"{name}_2b", branch, inner, 3, pad=1)
            branch = conv(f"{name}_2c", branch, 4 * inner, 1, relu=False)
            n[name] = L.Eltwise(shortcut, branch)
            n[f"{name}_relu"] = top = L.ReLU(n[name], in_place=True)
    n.pool5 = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=7, stride=1)
    n.scores = L.InnerProduct(n.pool5, num_output=20, param=LR, **XAVIER)
    return n.scores


def squeezenet(n: Any, x: Any) -> Any:
    def conv(name: str, bottom: Any, channels: int, size: int, **more: Any) -> Any:
        n[name] = L.Convolution(bottom, num_output=channels, kernel_size=size, **more, **XAVIER)
        n[f"{name}/relu"] = L.ReLU(n[name], in_place=True)
        return n[f"{name}/relu"]

    def pool(name: str, bottom: Any) -> Any:
        n[name] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        return n[name]

    top = pool("pool1", conv("conv1", x, narrow(64), 3, stride=2))
    for index, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        name = f"fire{index}"
        inner = conv(f"{name}/squeeze1x1", top, narrow(squeeze), 1)
        one = conv(f"{name}/expand1x1", inner, narrow(4 * squeeze), 1)
        three = conv(f"{name}/expand3x3", inner, narrow(4 * squeeze), 3, pad=1)
        n[f"{name}/concat"] = top = L.Concat(one, three)
        if index in (3, 5):
            top = pool(f"pool{index}", top)
    n.drop9 = L.Dropout(top, dropout_ratio=0.5, in_place=True)
    n.pool10 = L.Pooling(conv("conv10", n.drop9, 20, 1), pool=P.Pooling.AVE, global_pooling=True)
    return n.pool10


# name -> builder, channels, crop, classes, a learning rate, published (blob, height) pairs
NETS: dict[str, tuple[Callable[[Any, Any], Any], int, int, int, float, dict[str, int]]] = {
    "LeNet": (lenet, 1, 28, 10, 0.01, {"pool1": 12, "pool2": 4}),
    "CIFAR quick": (cifar("quick"), 3, 32, 10, 0.001, {"pool1": 16, "pool2": 8, "pool3": 4}),
    "CIFAR full": (cifar("full"), 3, 32, 10, 0.001, {"pool1": 16, "norm2": 8, "pool3": 4}),
    "CIFAR sigmoid": (cifar("sigmoid"), 3, 32, 10, 0.001, {"norm1": 16, "pool3": 4}),
    "CIFAR BN": (cifar("bn"), 3, 32, 10, 0.001, {"bn1": 16, "sigmoid3": 4}),
    "CaffeNet": (alexnet(norm_first=False), 3, 227, 20, 0.001, {"conv1": 55, "norm1": 27, "pool2": 13, "pool5": 6}),
    "AlexNet": (alexnet(norm_first=True), 3, 227, 20, 0.001, {"norm1": 55, "pool1": 27, "pool5": 6}),
    "GoogLeNet": (googlenet, 3, 224, 20, 0.001, {"pool1": 56, "pool2": 28, "pool3": 14, "pool4": 7, "pool5": 1}),
    "VGG-16": (vgg16, 3, 224, 20, 0.001, {"pool1": 112, "pool5": 7}),
    "ResNet-50": (resnet50, 3, 224, 20, 0.001, {"conv1": 112, "pool1": 56, "res3a": 28, "res5c": 7, "pool5": 1}),
    "SqueezeNet": (squeezenet, 3, 227, 20, 0.001, {"pool1": 56, "pool3": 28, "pool5": 14}),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_that_classifies_trains_on_an_lmdb_and_deploys(name: str, tmp_path: Path) -> None:
    build, channels, crop, classes, rate, heights = NETS[name]
    small = crop < 100
    size, batch = (crop, 8) if small else (crop + 3, 2)
    n = caffe.NetSpec()
    transform = dict(scale=1 / 256) if small else dict(crop_size=crop, mirror=True, mean_value=[104, 117, 123])
    n.data, n.label = data(database(tmp_path, batch, channels, size, classes), batch, **transform)
    scores = build(n, n.data)
    n.loss = L.SoftmaxWithLoss(scores, n.label)
    solver, first, _ = trained(n, tmp_path, steps=3, rate=rate)
    for blob, height in heights.items():
        assert solver.net.blobs[blob].data.shape[2] == height, blob
    if name in ("CIFAR quick", "CIFAR full"):
        assert first == pytest.approx(math.log(classes), rel=0.2), "untrained scores are about equal"
    solver.net.save(str(tmp_path / "model.caffemodel"))
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, channels, crop, crop]))
    n.prob = L.Softmax(build(n, n.data))
    deploy = write(tmp_path, str(n.to_proto()), "deploy.prototxt")
    net = caffe.Net(deploy, str(tmp_path / "model.caffemodel"), caffe.TEST)
    net.blobs["data"].data[...] = np.random.RandomState(5).uniform(size=(1, channels, crop, crop))
    prob = net.forward()["prob"].reshape(-1)
    assert prob.shape == (classes,)
    assert prob.sum() == pytest.approx(1, rel=1e-5)


def test_training_lowers_lenets_loss(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data, n.label = data(database(tmp_path, 8, 1, 28, 10), 8, scale=1 / 256)
    n.loss = L.SoftmaxWithLoss(lenet(n, n.data), n.label)
    _, first, last = trained(n, tmp_path, steps=15, rate=0.01)
    assert last < 0.7 * first


def test_the_autoencoder_trains(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data = data(database(tmp_path, 8, 1, 28, 10), 8, ntop=1, scale=0.0039215684)
    n.flatdata = L.Flatten(n.data)
    top = n.data
    sizes = {
        "encode1": 1000,
        "encode2": 500,
        "encode3": 250,
        "encode4": 30,
        "decode4": 250,
        "decode3": 500,
        "decode2": 1000,
    }
    for name, size in sizes.items():
        n[name] = top = L.InnerProduct(top, num_output=size, param=LR, **gaussian(1, sparse=15))
        if name != "encode4":
            n[f"{name}neuron"] = top = L.Sigmoid(top)
    n.decode1 = L.InnerProduct(top, num_output=784, param=LR, **gaussian(1, sparse=15))
    n.loss = L.SigmoidCrossEntropyLoss(n.decode1, n.flatdata, loss_weight=1)
    n.decode1neuron = L.Sigmoid(n.decode1)
    n.l2_error = L.EuclideanLoss(n.decode1neuron, n.flatdata, loss_weight=0)
    solver, first, last = trained(n, tmp_path, steps=12, rate=0.0003)
    assert last < first
    error = solver.net.blobs["decode1neuron"].data - solver.net.blobs["flatdata"].data
    assert float(solver.net.blobs["l2_error"].data) == pytest.approx((error**2).sum() / 16, rel=1e-4)


def test_the_siamese_nets_twins_share_their_weights(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.pair_data, n.sim = data(database(tmp_path, 8, 2, 28, 2), 8, scale=1 / 256)
    n.data, n.data_p = L.Slice(n.pair_data, slice_dim=1, slice_point=1, ntop=2)

    def twin(x: Any, suffix: str) -> Any:
        def shared(layer: str) -> list[dict[str, Any]]:
            return [dict(name=f"{layer}_w", lr_mult=1), dict(name=f"{layer}_b", lr_mult=2)]

        for index, channels in ((1, 20), (2, 50)):
            conv, pool = f"conv{index}{suffix}", f"pool{index}{suffix}"
            n[conv] = L.Convolution(x, num_output=channels, kernel_size=5, param=shared(f"conv{index}"), **XAVIER)
            n[pool] = x = L.Pooling(n[conv], kernel_size=2, stride=2)
        n[f"ip1{suffix}"] = L.InnerProduct(x, num_output=500, param=shared("ip1"), **XAVIER)
        n[f"relu1{suffix}"] = x = L.ReLU(n[f"ip1{suffix}"], in_place=True)
        n[f"ip2{suffix}"] = x = L.InnerProduct(x, num_output=10, param=shared("ip2"), **XAVIER)
        n[f"feat{suffix}"] = L.InnerProduct(x, num_output=2, param=shared("feat"), **XAVIER)
        return n[f"feat{suffix}"]

    n.loss = L.ContrastiveLoss(twin(n.data, ""), twin(n.data_p, "_p"), n.sim, margin=1)
    solver, first, last = trained(n, tmp_path, steps=10, rate=0.01)
    assert last < first
    for name in ("conv1", "conv2", "ip1", "ip2", "feat"):
        for own, other in zip(solver.net.params[name], solver.net.params[f"{name}_p"], strict=True):
            np.testing.assert_array_equal(own.data, other.data)


@pytest.mark.parametrize("hidden", [False, True])
def test_logistic_regression_learns_from_hdf5(hidden: bool, tmp_path: Path) -> None:
    draw = np.random.RandomState(4)
    label = np.arange(20) % 2
    n = caffe.NetSpec()
    source = hdf5(tmp_path, data=draw.standard_normal((20, 4)) + 2 * label[:, None], label=label)
    n.data, n.label = top, _ = L.HDF5Data(source=source, batch_size=10, ntop=2)
    if hidden:
        n.fc1 = L.InnerProduct(top, num_output=40, **XAVIER)
        n.relu1 = top = L.ReLU(n.fc1, in_place=True)
    n.fc2 = L.InnerProduct(top, num_output=2, **XAVIER)
    n.accuracy = L.Accuracy(n.fc2, n.label)
    n.loss = L.SoftmaxWithLoss(n.fc2, n.label)
    solver, first, last = trained(n, tmp_path, steps=40, rate=0.05)
    assert last < first
    assert float(solver.net.blobs["accuracy"].data) >= 0.9


def test_r_cnns_deploy_net_scores_regions(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[10, 3, 227, 227]))
    alexnet(norm_first=False)(n, n.data)
    n["fc-rcnn"] = L.InnerProduct(n.drop7, num_output=200)
    proto = n.to_proto()
    del proto.layer[[layer.name for layer in proto.layer].index("scores")]
    net = caffe.Net(write(tmp_path, str(proto)), caffe.TEST)
    net.blobs["data"].reshape(3, 3, 227, 227)
    assert {name: blob.shape for name, blob in net.forward().items()} == {"fc-rcnn": (3, 200)}


def test_an_lstm_captioner_trains_on_hdf5(tmp_path: Path) -> None:
    steps, streams, words = 6, 4, 12
    draw = np.random.RandomState(6)
    sentences = draw.randint(1, words, (steps, streams))
    cont = np.ones((steps, streams))
    cont[0] = 0
    target = np.concatenate([sentences[1:], np.zeros((1, streams))])
    target[-1, 0] = -1  # no word
    source = hdf5(
        tmp_path, cont_sentence=cont, input_sentence=sentences, target_sentence=target,
        image_features=np.tile(draw.standard_normal((streams, 5)), (2, 1))[:steps],
    )  # fmt: skip
    n = caffe.NetSpec()
    n.cont_sentence, n.input_sentence, n.target_sentence = L.HDF5Data(source=source, batch_size=steps, ntop=3)
    n.image_features = L.HDF5Data(source=source, batch_size=streams)
    uniform = dict(weight_filler=dict(type="uniform", min=-0.08, max=0.08))
    n.embedded = L.Embed(n.input_sentence, input_dim=words, num_output=8, bias_term=False, **uniform)
    lstm = dict(recurrent_param=dict(num_output=10, **uniform))
    n.lstm1 = L.LSTM(n.embedded, n.cont_sentence, **lstm)
    n.lstm2 = L.LSTM(n.lstm1, n.cont_sentence, n.image_features, **lstm)
    n.predict = L.InnerProduct(n.lstm2, num_output=words, axis=2, **uniform)
    n.loss = L.SoftmaxWithLoss(
        n.predict, n.target_sentence, softmax_param=dict(axis=2), loss_param=dict(ignore_label=-1)
    )
    solver, first, last = trained(n, tmp_path, steps=40, rate=0.5)
    assert first == pytest.approx(math.log(words), rel=0.05)
    assert last < 0.9 * first
    assert [blob.shape for blob in solver.net.params["lstm2"]] == [(40, 10), (40,), (40, 5), (40, 10)]
