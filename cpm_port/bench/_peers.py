"""The nets that `net` and `person` compare with ours: one seeded model, run by every peer that can run it.

- plain PyTorch: the readable twin (`cpm_port.models`), eager, NCHW, as every port writes it
- OpenCV 4's Caffe importer, in an environment of its own (OpenCV 5 has none), fed through pipes
- real Caffe, where `--caffe` names an interpreter that imports it, fed through pipes
- onnxruntime, on the net as our converter exports it

A peer that is not installed is named with the reason, not left out silently; one that was asked for by its path stops
the bench. `matrix_rate` is what the machine itself can do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from torch import Tensor

from cpm_port.caffe import NetSpec, infer_shapes, layer_flops, parse_net, write_prototxt
from cpm_port.errors import MissingDependencyError, ModelFileError
from cpm_port.export import convert
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import Architecture, build, deploy_text, from_caffe

__all__ = [
    "OPENCV_PYTHON",
    "PARITY",
    "PEER_PARITY",
    "SeededModel",
    "add_peer_arguments",
    "check_parity",
    "matrix_rate",
    "net_operations",
    "other_nets",
    "piped_net",
    "plain_net",
    "seeded_model",
    "wait_for",
]

Forward = Callable[[Tensor], Tensor]
"""One pass: (N, 4, H, W) to the last belief maps."""

OPENCV_PYTHON = Path(".venv-peers") / "bin" / "python"  # in the current folder
PARITY = 1e-5  # of the largest belief: what the engine promises
PEER_PARITY = 1e-4  # of others, who sum in other orders

_IMPORTERS = {
    "OpenCV": """
import cv2
cv2.setNumThreads(int(threads))
net = cv2.dnn.readNetFromCaffe(prototxt, model)
def forward(data):
    net.setInput(data)
    return net.forward()
""",
    "pycaffe": """
import caffe
caffe.set_mode_cpu()
net = caffe.Net(prototxt, model, caffe.TEST)
def forward(data):
    blob = net.blobs[net.inputs[0]]
    if blob.data.shape != data.shape:
        blob.reshape(*data.shape)
        net.reshape()
    blob.data[...] = data
    return net.forward()[net.outputs[-1]]
""",
}
"""Python for other interpreters: from `prototxt`, `model` and `threads` to a function `forward`."""

# Arrays go through the pipes as four int64 sizes and float32 values; at the start the interpreter says that it is
# ready. What libraries print goes to stderr.
_SERVER = """
import os, sys
into, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
import numpy as np
prototxt, model, threads, importer = sys.argv[1:]
exec(importer)
out.write(b"ready")
out.flush()
while sizes := into.read(32):
    shape = np.frombuffer(sizes, np.int64)
    data = np.frombuffer(into.read(4 * int(shape.prod())), np.float32).reshape(shape)
    maps = np.ascontiguousarray(forward(data), np.float32)
    out.write(np.array(maps.shape, np.int64).tobytes() + maps.tobytes())
    out.flush()
"""
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class SeededModel:
    """A net with drawn weights, and the files that hold it."""

    design: Architecture
    net: CaffeNet
    prototxt: Path
    caffemodel: Path


def seeded_model(design: Architecture, folder: Path, seed: int = 368) -> SeededModel:
    """Draw weights that keep activations of about one size (He's), write the files and load them."""
    spec = parse_net(deploy_text(design))
    net = load_net(spec)
    draw = np.random.default_rng(seed)
    net.load_weights(
        {
            layer: [
                draw.standard_normal(tuple(weight.shape), dtype=np.float32) * np.float32(2 / weight[0].numel()) ** 0.5,
                0.1 * draw.standard_normal(len(bias), dtype=np.float32),
            ]
            for layer, (weight, bias) in net.params.items()
        }
    )
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    write_prototxt(prototxt, spec)
    net.save(caffemodel)
    return SeededModel(design, net, prototxt, caffemodel)


def plain_net(model: SeededModel, memory_format: torch.memory_format = torch.contiguous_format) -> Forward:
    """Return the twin's forward pass."""
    twin = build(model.design)
    blobs = {layer: tuple(blob.detach().numpy() for blob in blobs) for layer, blobs in model.net.params.items()}
    twin.load_state_dict(from_caffe(blobs, model.design))
    twin.to(memory_format=memory_format)  # type: ignore[call-overload]
    return lambda x: twin(x)[-1]


def add_peer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where peers are."""
    parser.add_argument(
        "--opencv-python", type=Path, default=OPENCV_PYTHON, metavar="PYTHON",
        help="an interpreter with OpenCV 4 (default: %(default)s, which `make peers` makes)",
    )  # fmt: skip
    parser.add_argument(
        "--caffe", type=Path, metavar="PYTHON",
        help="an interpreter that imports pycaffe, PYTHONPATH set where needed, to have real Caffe beside us",
    )  # fmt: skip
    parser.add_argument("--no-onnx", action="store_true", help="leave out onnxruntime, whose export takes a while")


def other_nets(
    model: SeededModel, folder: Path, args: argparse.Namespace, stack: ExitStack
) -> tuple[dict[str, Forward], dict[str, str]]:
    """Return the passes of the peers other than PyTorch, and of those that are not here the reason.

    Raises
    ------
    MissingDependencyError
        `--caffe` was given and does not work.
    """
    found: dict[str, Forward] = {}
    absent: dict[str, str] = {}
    try:
        found["OpenCV 4 importer"] = stack.enter_context(piped_net(model, args.opencv_python, "OpenCV"))
    except MissingDependencyError as error:
        absent["OpenCV 4 importer"] = str(error)
    if args.caffe is not None:
        found["Caffe"] = stack.enter_context(piped_net(model, args.caffe, "pycaffe"))
    else:
        absent["Caffe"] = "no --caffe given"
    if args.no_onnx:
        absent["onnxruntime"] = "--no-onnx"
    else:
        try:
            found["onnxruntime"] = onnxruntime_net(model, folder)
        except MissingDependencyError as error:
            absent["onnxruntime"] = str(error)
    return found, absent


@contextmanager
def piped_net(model: SeededModel, python: Path, package: Literal["OpenCV", "pycaffe"]) -> Iterator[Forward]:
    """Give the forward pass of a package that runs in another interpreter as long as the context lasts.

    Raises
    ------
    MissingDependencyError
        No such interpreter, or it does not read the net with that package; or, later, it ended.
    """
    if not python.is_file():
        raise MissingDependencyError(f"{package}: {python} is no interpreter")
    threads = str(torch.get_num_threads())
    command = [str(python), "-c", _SERVER, str(model.prototxt), str(model.caffemodel), threads, _IMPORTERS[package]]
    environment = {**os.environ, **dict.fromkeys(_THREAD_SETTINGS, threads), "GLOG_minloglevel": "1"}
    with tempfile.TemporaryFile() as said, _started(command, environment, said) as child:
        into, out = child.stdin, child.stdout
        assert into is not None
        assert out is not None

        def received(count: int, what: str) -> bytes:
            found = out.read(count)
            if len(found) < count:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise MissingDependencyError(f"{python}: {what}: {' '.join(last) or 'it ended without a word'}")
            return found

        def forward(x: Tensor) -> Tensor:
            with suppress(BrokenPipeError):  # `received` says why
                into.write(np.array(x.shape, np.int64).tobytes() + x.numpy().tobytes())
                into.flush()
            shape = np.frombuffer(received(32, f"{package} ended"), np.int64)
            maps = np.frombuffer(received(4 * int(shape.prod()), f"{package} ended"), np.float32).reshape(shape)
            return torch.from_numpy(maps.copy())

        received(len(b"ready"), f"it does not read Caffe files with {package}")
        yield forward


@contextmanager
def _started(command: list[str], environment: dict[str, str], stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process while the context lasts; it ends by itself when its stdin is closed."""
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, bufsize=-1
    )
    try:
        yield child
    finally:
        child.communicate()


def onnxruntime_net(model: SeededModel, folder: Path) -> Forward:
    """Export the net and return onnxruntime's forward pass.

    Raises
    ------
    MissingDependencyError
        The extra `onnx` is not installed.
    """
    path = folder / "net.onnx"
    convert(model.caffemodel, path, model.prototxt)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def check_parity(reference: Tensor, found: Tensor, side: str, limit: float = PEER_PARITY) -> float:
    """Return the largest difference over the reference's largest value; refuse to go on where it exceeds `limit`."""
    if reference.shape != found.shape:
        raise ModelFileError(f"{side!r} gives maps of {tuple(found.shape)}, expected {tuple(reference.shape)}")
    difference = float((found - reference).abs().max() / reference.abs().max())
    if not difference <= limit:
        raise ModelFileError(f"{side!r} differs from plain PyTorch by {difference:.1e} of the largest; at most {limit}")
    return difference


def net_operations(spec: NetSpec) -> int:
    """Return the multiplications and additions of the convolutions of one pass, written as direct sums."""
    shapes = infer_shapes(spec)
    return sum(layer_flops(layer, [shapes[bottom] for bottom in layer.bottoms]) or 0 for layer in spec.layers)


def matrix_rate(
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    seconds: float = 1.0,
    size: int | None = None,
) -> float:
    """Return the fastest matrix rate seen on a device, operations a second.

    On a CPU of torch's product and of a 1 x 1 convolution, on a GPU of the product of two large matrices, of `size`
    rows and columns.
    """
    device = device or torch.device("cpu")
    size = size or (8192 if device.type == "cuda" else 1536)
    channels = size // 3
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    sides: list[tuple[float, Callable[[], Tensor]]] = [(2.0 * size**3, lambda: a @ b)]
    if device.type == "cpu":
        maps = torch.randn(1, channels, 64, 64).contiguous(memory_format=torch.channels_last).to(dtype)
        weight = torch.randn(channels, channels, 1, 1).to(dtype)
        sides.append((2.0 * channels * channels * 64 * 64, lambda: torch.conv2d(maps, weight)))
    best, until = 0.0, time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < until:
            for operations, side in sides:
                wait_for(device)
                start = time.perf_counter()
                side()
                wait_for(device)
                best = max(best, operations / (time.perf_counter() - start))
    return best


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
