"""Every kind of file that the package writes, as small calls: for the tests that fill disks and kill writers.

Usage: python -m tests.files.writers NAME PATH (writes PATH over and over, until it is killed)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cpm_port.caffe import (
    SolverState,
    parse_net,
    read_mean,
    read_net,
    read_solverstate,
    read_weights,
    write_mean,
    write_prototxt,
    write_solverstate,
    write_weights,
)
from cpm_port.files.atomic import atomic_path
from cpm_port.formats import StoredModel, safetensors
from cpm_port.parts import LSP14, Convention, Joints
from cpm_port.predictions.files import read_predictions, write_predictions
from cpm_port.predictions.values import Predictions
from tests.support import ROOT

NET = parse_net(
    'input: "data" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 1 } }'
)
BLOBS = {"ip": (np.random.default_rng(0).normal(size=(1, 100_000)).astype(np.float32), np.zeros(1, np.float32))}
HISTORY = [np.asarray(array) for array in BLOBS["ip"]]
PEOPLE = 3000


def people() -> Predictions:
    joints = Joints(np.random.default_rng(0).normal(size=(PEOPLE, 14, 2)), Convention(LSP14, 0, "person"))
    return Predictions(joints, np.ones((PEOPLE, 14)), tuple(f"im{i:05d}" for i in range(PEOPLE)))


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)


def write_video(path: Path) -> None:
    from cpm_port.imaging.video import VideoWriter

    with atomic_path(path) as temporary, VideoWriter(temporary, 25.0, (320, 320)) as writer:
        for seed in range(20):
            writer.write(np.random.default_rng(seed).integers(0, 256, (320, 320, 3), np.uint8))


def read_video(path: Path) -> object:
    from cpm_port.imaging.video import VideoReader

    with VideoReader(path) as reader:
        return list(reader)


def write_records(path: Path) -> None:
    from cpm_port.records.lmdb import write_lmdb
    from tests.records.test_lmdb import record

    write_lmdb(path, (record(number, 20) for number in range(20)))


def read_records(path: Path) -> object:
    from cpm_port.records.lmdb import LmdbRecords

    return list(LmdbRecords(path))


def write_picture(path: Path) -> None:
    from cpm_port.imaging.writing import write_png

    write_png(path, picture())


def read_picture(path: Path) -> object:
    from cpm_port.imaging.reading import read_image

    return read_image(path)


def write_table(path: Path) -> None:
    write_predictions(path, people())


def read_table(path: Path) -> object:
    return read_predictions(path, order=LSP14)


def write_model(path: Path) -> None:
    write_weights(path, BLOBS, NET)


def write_state(path: Path) -> None:
    write_solverstate(path, SolverState(3, "x.caffemodel", 1, HISTORY))


def write_people_as_shards(path: Path) -> None:
    from dataclasses import replace

    from cpm_port.drawn.source import DrawnPeople
    from cpm_port.records.shards import write_shards

    sample, _ = DrawnPeople(1, 64)[0]
    image = ROOT / "docs" / "pictures" / "training_example.jpg"
    write_shards(path, [replace(sample, image=image, split="train")] * 60, 20, 1)


def read_shards(path: Path) -> object:
    import json
    import tarfile

    found = []
    for one in json.loads((path / "index.json").read_text())["shardlist"]:
        with tarfile.open(path / one["url"]) as tar:
            found += [tar.extractfile(member).read() for member in tar]  # type: ignore[union-attr]
    return found


WRITERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "model.caffemodel": (write_model, read_weights),
    "model.caffemodel.h5": (write_model, read_weights),
    "model.safetensors": (lambda path: safetensors.FORMAT.write(path, StoredModel(BLOBS, NET)), safetensors.read),
    "state.solverstate": (write_state, read_solverstate),
    "state.solverstate.h5": (write_state, read_solverstate),
    "mean.binaryproto": (lambda path: write_mean(path, BLOBS["ip"][0].reshape(1, 100, 1000)), read_mean),
    "people.h5": (write_table, read_table),
    "people.mat": (write_table, read_table),
    "people.json": (write_table, read_table),
    "net.prototxt": (lambda path: write_prototxt(path, parse_net(NET_TEXT)), read_net),
    "picture.png": (write_picture, read_picture),
    "video.mp4": (write_video, read_video),
    "video.avi": (write_video, read_video),
    "records": (write_records, read_records),
    "shards": (write_people_as_shards, read_shards),
}
"""A file's name -> what writes it, and what reads it back."""
FOLDERS = ("records", "shards")
"""Written once, to a new folder."""

NET_TEXT = "".join(
    f'layer {{ name: "relu{number}" type: "ReLU" bottom: "data{number}" top: "data{number + 1}" }}\n'
    for number in range(2000)
).join(['input: "data0" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n', ""])


if __name__ == "__main__":
    name, place = sys.argv[1:]
    print("ready", flush=True)
    for turn in range(10**9):
        WRITERS[name][0](Path(place) if name not in FOLDERS else Path(place).with_name(f"{name}{turn}"))
