"""Reading a full-size .caffemodel (125 MB), beside plain protobuf.

Timed, from a path to NumPy arrays that `torch.from_numpy` can take, every page of them touched, file in the page cache:

- `ours`: `read_weights`, whose arrays are views of the mapped file;
- `ours, copied`: the same, with every array copied to memory of its own;
- `plain protobuf`: the whole file read and parsed with a schema that declares blobs' values as packed floats (as
  Caffe's own does), then every blob copied to an array;
- `protobuf, bytes`: the same with a schema that declares them as bytes, which protobuf parses much faster.

First, all four must give the same arrays, bit by bit.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cpm_port.bench._timing import take_turns
from cpm_port.caffe import infer_shapes, message_class, param_shapes, read_net, read_weights, write_weights
from cpm_port.errors import WeightsError
from cpm_port.resources import resource_dir

__all__ = ["configure", "run", "write_seeded_model"]

TARGETS = {"plain protobuf": 2.0}
_FLOATS_PER_PAGE = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=7, help="timed turns per side (default: %(default)s)")
    parser.add_argument(
        "--model", type=Path, help="a .caffemodel to read, instead of a seeded one of the official size"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time the four ways to read, and return medians, spread and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = args.model
        if path is None:
            path = Path(folder) / "seeded_mpi.caffemodel"
            write_seeded_model(path)
        sides = _sides(path)
        parity = _check_parity(sides)
        timed = take_turns({name: functools.partial(_touched, read) for name, read in sides.items()}, args.repeats)
        size = path.stat().st_size
    medians = timed["medians"]
    return {
        "file_bytes": size,
        "repeats": args.repeats,
        "parity": parity,
        **timed,
        "ratios": {side: medians[side] / medians["ours"] for side in medians if side != "ours"},
        "targets": TARGETS,
    }


def write_seeded_model(path: Path, *, prototxt: Path | None = None, seed: int = 368) -> None:
    """Write a model of the official MPI architecture (or of another prototxt) with seeded normal weights."""
    net = read_net(prototxt or resource_dir("prototxt") / "mpi_deploy.prototxt")
    shapes = infer_shapes(net)
    rng = np.random.default_rng(seed)
    blobs = {}
    for layer in net.layers:
        wanted = param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms])
        if wanted:
            blobs[layer.name] = [rng.standard_normal(shape, dtype=np.float32) for shape in wanted]
    write_weights(path, blobs, net)


_Arrays = list[np.ndarray]


def _sides(path: Path) -> dict[str, Callable[[], _Arrays]]:
    net_as_floats = message_class("NetParameter")
    net_as_bytes = _net_with_bytes()

    def ours() -> _Arrays:
        return [array for arrays in read_weights(path).values() for array in arrays]

    def plain() -> _Arrays:
        net = net_as_floats()
        net.ParseFromString(path.read_bytes())
        return [np.array(blob.data, np.float32).reshape(blob.shape.dim) for layer in net.layer for blob in layer.blobs]

    def as_bytes() -> _Arrays:
        net = net_as_bytes()
        net.ParseFromString(path.read_bytes())
        return [
            np.array(np.frombuffer(blob.data, "<f4")).reshape(blob.shape.dim)
            for layer in net.layer
            for blob in layer.blobs
        ]

    return {
        "ours": ours,
        "ours, copied": lambda: [np.array(array) for array in ours()],
        "plain protobuf": plain,
        "protobuf, bytes": as_bytes,
    }


def _check_parity(sides: dict[str, Callable[[], _Arrays]]) -> str:
    """Compare what all sides read, bit by bit; return what was compared."""
    first_name, *others = sides
    reference = sides[first_name]()
    for name in others:
        found = sides[name]()
        if [array.shape for array in found] != [array.shape for array in reference]:
            raise WeightsError(f"{name!r} reads arrays of other shapes than {first_name!r}")
        for index, (mine, theirs) in enumerate(zip(reference, found, strict=True)):
            if mine.tobytes() != theirs.tobytes():
                raise WeightsError(f"{name!r} reads other values than {first_name!r} in array {index}")
    return f"{len(reference)} arrays, {sum(array.size for array in reference)} values, bit by bit"


def _touched(read: Callable[[], _Arrays]) -> _Arrays:
    """Read, and look at one value of every memory page, so that a mapped file is really read."""
    arrays = read()
    for array in arrays:
        array.reshape(-1)[::_FLOATS_PER_PAGE].sum()
    return arrays


def _net_with_bytes() -> Any:
    """Make a NetParameter class that knows only layers, blobs, shapes, and values as bytes."""
    field = descriptor_pb2.FieldDescriptorProto
    fields = {
        "Shape": [("dim", 1, field.TYPE_INT64, "", True)],
        "Blob": [("data", 5, field.TYPE_BYTES, "", False), ("shape", 7, field.TYPE_MESSAGE, "Shape", False)],
        "Layer": [("blobs", 7, field.TYPE_MESSAGE, "Blob", True)],
        "Net": [("layer", 100, field.TYPE_MESSAGE, "Layer", True)],
    }
    file = descriptor_pb2.FileDescriptorProto(name="cpm_port/bench.proto", package="cpm_port.bench", syntax="proto2")
    for name, entries in fields.items():
        message = file.message_type.add(name=name)
        for entry, number, kind, target, repeated in entries:
            added = message.field.add(name=entry, number=number, type=kind)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if target:
                added.type_name = f".cpm_port.bench.{target}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cpm_port.bench.Net"))
