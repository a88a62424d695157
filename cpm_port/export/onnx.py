"""ONNX, `.onnx`: the net as a graph, batch size left open; checked against onnxruntime as soon as it is written.

Needs the extra `onnx`. The net must have declared inputs (a deploy net). Written only: ONNX keeps neither layer names
nor Caffe's parameters. A file that onnxruntime does not run to our own outputs is refused, and does not appear.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cpm_port.errors import MissingDependencyError, ModelFileError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.formats import Model
from cpm_port.graph import CaffeNet, load_net

__all__ = ["TOLERANCE", "write_onnx"]

TOLERANCE = 1e-4  # of each output's largest value: onnxruntime fuses and sums in another order
OPSET = 18


def write_onnx(path: Path, model: Model) -> list[str]:
    """Export, check with onnxruntime on batches of 1 and 3 seeded inputs, and keep the file if they agree.

    Raises
    ------
    MissingDependencyError
        The extra `onnx` is not installed.
    UsageError
        There is no net, or it has no declared inputs.
    ModelFileError
        onnxruntime's outputs differ from ours.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"{path}: writing ONNX needs {', '.join(missing)}; pip install 'cpm_port[onnx]'")
    if model.net is None or not model.net.inputs:
        raise UsageError(f"{path}: writing ONNX needs a net with declared inputs; give the deploy prototxt by --net")
    net = load_net(model.net, model.blobs).eval()
    inputs = dict(model.net.inputs)
    with atomic_path(path) as temporary:
        names = _export(net, inputs, temporary)
        largest = max(_difference(net, inputs, names, temporary, batch) for batch in (1, 3))
    return [f"onnxruntime agrees: largest difference {largest:.1e} of an output's largest value (batches of 1 and 3)"]


def _export(net: CaffeNet, inputs: dict[str, tuple[int, ...]], path: Path) -> list[str]:
    """Write the graph; return the names of its outputs."""
    example = tuple(torch.zeros((2, *shape[1:])) for shape in inputs.values())
    names = list(net(dict(zip(inputs, example, strict=True))))
    batch = torch.export.Dim("batch", min=1)
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            _Positional(net).eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=names,
            opset_version=OPSET,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            dynamo=True,
            external_data=False,
        )
    return names


class _Positional(nn.Module):
    """The net with inputs and outputs in order, as the exporter wants them."""

    def __init__(self, net: CaffeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net(dict(zip(self.net.inputs, arrays, strict=True))).values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, deprecations and remarks on absent packages to itself: what it wrote is checked."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _difference(net: CaffeNet, inputs: dict[str, tuple[int, ...]], names: list[str], path: Path, batch: int) -> float:
    """Return the largest difference from our outputs, relative to each output's largest value; refuse a large one."""
    import onnxruntime

    generator = torch.Generator().manual_seed(batch)
    arrays = {name: torch.randn((batch, *shape[1:]), generator=generator) for name, shape in inputs.items()}
    with torch.no_grad():
        ours = net(arrays)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(names, {name: array.numpy() for name, array in arrays.items()})
    worst = 0.0
    for name, array in zip(names, theirs, strict=True):
        mine = ours[name].numpy()
        if array.shape != mine.shape:
            raise ModelFileError(f"output {name!r}: onnxruntime gives shape {array.shape}, expected {mine.shape}")
        scale = max(float(abs(mine).max()), 1e-30)
        difference = float(abs(array - mine).max()) / scale
        if not difference <= TOLERANCE:
            raise ModelFileError(f"output {name!r}: onnxruntime differs by {difference:.1e}; allowed is {TOLERANCE}")
        worst = max(worst, difference)
    return worst
