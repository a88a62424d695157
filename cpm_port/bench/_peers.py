"""The nets that `net` and `person` hold beside ours: one seeded model, run by whoever can run it.

- plain PyTorch: the readable twin (`cpm_port.models`), eager, NCHW, as every port writes it
- OpenCV 4's Caffe importer, in an environment of its own (OpenCV 5 has none), fed through pipes
- onnxruntime, on the net as our converter exports it

A peer that is not installed is named with the reason, not left out silently. `matrix_rate` is what the machine itself
can do.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpm_port.caffe import NetSpec, infer_shapes, layer_flops, parse_net, write_prototxt
from cpm_port.errors import MissingDependencyError, ModelFileError
from cpm_port.graph import CaffeNet, load_net
from cpm_port.models import Architecture, build, deploy_text, from_caffe
from cpm_port.resources import load_converters

__all__ = [
    "SeededModel",
    "check_parity",
    "default_opencv",
    "matrix_rate",
    "net_operations",
    "onnxruntime_net",
    "opencv_net",
    "plain_net",
    "seeded_model",
]

Forward = Callable[[Tensor], Tensor]
"""One pass: (N, 4, H, W) to the last belief maps."""

PARITY = 1e-5  # of the largest belief: what the engine promises
PEER_PARITY = 1e-4  # of others, who sum in other orders

# Arrays go through the pipes as four int64 sizes and float32 values; at the start the interpreter says it is ready.
_OPENCV = """
import sys
import cv2
import numpy as np
prototxt, model, threads = sys.argv[1:]
cv2.setNumThreads(int(threads))
net = cv2.dnn.readNetFromCaffe(prototxt, model)
into, out = sys.stdin.buffer, sys.stdout.buffer
out.write(b"ready")
out.flush()
while sizes := into.read(32):
    shape = np.frombuffer(sizes, np.int64)
    net.setInput(np.frombuffer(into.read(4 * shape.prod()), np.float32).reshape(shape))
    maps = net.forward()
    out.write(np.array(maps.shape, np.int64).tobytes() + maps.tobytes())
    out.flush()
"""


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


def default_opencv() -> Path:
    """Return where the peers' environment is made: `.venv-peers` in the current folder."""
    return Path(".venv-peers") / "bin" / "python"


@contextmanager
def opencv_net(model: SeededModel, python: Path) -> Iterator[Forward]:
    """Give the forward pass of OpenCV's importer, which runs in another interpreter as long as the context lasts.

    Raises
    ------
    MissingDependencyError
        No such interpreter, or no OpenCV 4 in it.
    """
    if not python.exists():
        raise MissingDependencyError(f"no interpreter {python} with OpenCV 4 (--opencv-python names another)")
    command = [str(python), "-c", _OPENCV, str(model.prototxt), str(model.caffemodel), str(torch.get_num_threads())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        into, out = child.stdin, child.stdout
        assert into is not None
        assert out is not None

        def forward(x: Tensor) -> Tensor:
            into.write(np.array(x.shape, np.int64).tobytes() + x.numpy().tobytes())
            into.flush()
            shape = np.frombuffer(out.read(32), np.int64)
            maps = np.frombuffer(out.read(4 * int(shape.prod())), np.float32).reshape(shape)
            return torch.from_numpy(maps.copy())

        if out.read(5) != b"ready":
            raise MissingDependencyError(f"{python}: it does not read Caffe files with OpenCV")
        try:
            yield forward
        finally:
            into.close()


def onnxruntime_net(model: SeededModel, folder: Path) -> Forward:
    """Export the net and return onnxruntime's forward pass.

    Raises
    ------
    MissingDependencyError
        The extra `onnx` is not installed.
    """
    converters = load_converters()
    path = folder / "net.onnx"
    converters.convert(model.caffemodel, path, model.prototxt)
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
    return sum(layer_flops(layer, [shapes[bottom] for bottom in layer.bottoms]) for layer in spec.layers)


def matrix_rate(seconds: float = 1.0) -> float:
    """Return the fastest float32 matrix rate seen, operations a second: torch's product, and a 1 x 1 convolution's."""
    size = 1536
    a, b = torch.randn(size, size), torch.randn(size, size)
    maps = torch.randn(1, 512, 64, 64).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 1, 1)
    sides: list[tuple[float, Callable[[], Tensor]]] = [
        (2.0 * size**3, lambda: a @ b),
        (2.0 * 512 * 512 * 64 * 64, lambda: torch.conv2d(maps, weight)),
    ]
    best, until = 0.0, time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < until:
            for operations, side in sides:
                start = time.perf_counter()
                side()
                best = max(best, operations / (time.perf_counter() - start))
    return best
