"""ONNX, `.onnx`: the net as a graph, checked against onnxruntime as soon as it is written.

Needs the extra `onnx`. The net's inputs must be told by its prototxt: by a deploy net's declarations, or by a data
layer that tells its shapes (MemoryData). Batch, height and width are left open where the net takes others than its own
(an InnerProduct does not), inputs and outputs are called as Caffe's blobs, and inputs that no layer reads are left out.
Written only: ONNX keeps neither layer names nor Caffe's parameters. A file that onnxruntime does not run to our own
outputs is refused, and does not appear.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cpm_port.errors import LayerError, MissingDependencyError, ModelFileError, ShapeError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.formats import StoredModel
from cpm_port.graph import CaffeNet, Shape, load_net

__all__ = ["TOLERANCE", "write_onnx"]

TOLERANCE = 1e-4  # of each output's largest value: onnxruntime fuses and sums in another order
OPSET = 18
_TELLING = frozenset(("Input", "MemoryData", "DummyData"))
_COMPUTING = frozenset(("Parameter",))  # without a bottom, and no source
_AXES = {0: "batch", 2: "height", 3: "width"}
_LARGER = ((0, 0), (16, 32), (5, 3))  # px of height and width by which open ones are tried, where the net takes them


def write_onnx(path: Path, model: StoredModel, metadata: Mapping[str, str] | None = None) -> list[str]:
    """Export, check with onnxruntime on batches of 1 and 3 seeded inputs, and keep the file if they agree.

    Parameters
    ----------
    path : Path
    model : StoredModel
        With its net.
    metadata : mapping of str to str, optional
        What the file says of itself, in `metadata_props`.

    Raises
    ------
    MissingDependencyError
        The extra `onnx` is not installed.
    UsageError
        There is no net, or its prototxt does not tell its inputs' shapes.
    ModelFileError
        onnxruntime's outputs differ from ours.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"{path}: writing ONNX needs {', '.join(missing)}; pip install 'cpm_port[onnx]'")
    if model.net is None:
        raise UsageError(f"{path}: writing ONNX needs a net; give the deploy prototxt by --net")
    sources = {layer.type for layer in model.net.layers if not layer.bottoms}
    if not sources & _TELLING or sources - _TELLING - _COMPUTING:
        raise UsageError(
            f"{path}: writing ONNX needs a net that tells its inputs' shapes, by {', '.join(sorted(_TELLING))}; found "
            f"{', '.join(sorted(sources)) or 'none'}; give the deploy prototxt by --net"
        )
    whole = _Positional(load_net(model.net, model.blobs).eval()).eval()
    with atomic_path(path) as temporary:
        _export(whole, temporary)
        _describe(temporary, metadata or {})
        opened = _open_axes(temporary)
        sizes = [whole.sized(batch) for batch in (1, 3)]
        if {"height", "width"} & opened:
            sizes += [whole.sized(2, more) for more in _LARGER[1:]]
        found = [_difference(whole, shapes, temporary, seed) for seed, shapes in enumerate(sizes, 1)]
    largest = max(difference for difference in found if difference is not None)
    tried = "batches of 1 and 3" + (", and larger pictures" if len(sizes) > 2 else "")
    return [
        f"open: {', '.join(name for name in _AXES.values() if name in opened) or 'nothing'}",
        f"onnxruntime agrees: largest difference {largest:.1e} of an output's largest value ({tried})",
    ]


class _Positional(nn.Module):
    """The net with inputs and outputs in order, as the exporter wants them; inputs that no layer reads are zeros.

    Attributes
    ----------
    inputs : dict of str to tuple of int
        Those that a layer reads.
    outputs : list of str
    """

    def __init__(self, net: CaffeNet) -> None:
        super().__init__()
        self.net = net
        read = {bottom for layer in net.layers for bottom in layer.bottoms}
        self.inputs: dict[str, Shape] = {name: shape for name, shape in net.inputs.items() if name in read}
        self._unread = {name: shape for name, shape in net.inputs.items() if name not in read}
        self.outputs = [name for name in net.outputs if name not in self._unread]
        self.outputs += [name for name in net.loss_weights if name not in self.outputs]

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, arrays, strict=True))
        zeros = {name: arrays[0].new_zeros((arrays[0].shape[0], *shape[1:])) for name, shape in self._unread.items()}
        found = self.net({name: given.get(name, zeros.get(name)) for name in self.net.inputs})
        return tuple(found[name] for name in self.outputs)

    def sized(self, batch: int, more: tuple[int, int] = (0, 0)) -> list[Shape]:
        """Return the inputs' shapes for a batch, and for pictures higher and wider by so much than the net's own."""
        return [
            (batch, shape[1], shape[2] + more[0], shape[3] + more[1]) if len(shape) == 4 else (batch, *shape[1:])
            for shape in self.inputs.values()
        ]


def _export(net: _Positional, path: Path) -> None:
    """Write the graph with as many open axes as the net takes: batch, height and width, or the batch alone."""
    example = tuple(torch.zeros(shape) for shape in net.sized(2))
    automatic = torch.export.Dim.AUTO
    for axes in (tuple(_AXES), (0,)):
        shapes = tuple({axis: automatic for axis in axes if axis == 0 or array.dim() == 4} for array in example)
        try:
            with _quiet(), torch.no_grad():
                program = torch.onnx.export(
                    net,
                    example,
                    input_names=list(net.inputs),
                    output_names=net.outputs,
                    opset_version=OPSET,
                    dynamic_shapes=(shapes,),
                    dynamo=True,
                )
                assert program is not None
                program.save(str(path), external_data=False)
        except Exception:  # the exporter raises whatever the net's arithmetic on sizes raises
            if axes == (0,):
                raise
            continue
        if _runs(net, path):
            return


def _runs(net: _Positional, path: Path) -> bool:
    """Whether the file takes the sizes that it leaves open, and the net takes any of them."""
    sizes = _LARGER if {"height", "width"} & _open_axes(path) else _LARGER[:1]
    try:
        found = [_difference(net, net.sized(1, more), path, 0) for more in sizes]
    except Exception:  # onnxruntime's own, and ours
        return False
    return len(sizes) == 1 or any(difference is not None for difference in found[1:])


def _open_axes(path: Path) -> set[str]:
    """Return which of batch, height and width the file's inputs leave open; call them so in the file."""
    import onnx

    model = onnx.load(str(path))
    names: dict[str, str] = {}
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param and axis in _AXES:
                names.setdefault(dim.dim_param, _AXES[axis])
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dim.dim_param)
    onnx.save(model, str(path))
    return set(names.values())


def _describe(path: Path, metadata: Mapping[str, str]) -> None:
    import onnx

    model = onnx.load(str(path))
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


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


def _difference(net: _Positional, shapes: list[Shape], path: Path, seed: int) -> float | None:
    """Return the largest difference from our outputs, relative to each output's largest value; refuse a large one.

    None for sizes that the net itself refuses.
    """
    import onnxruntime

    generator = torch.Generator().manual_seed(seed)
    arrays = [torch.randn(shape, generator=generator) for shape in shapes]
    try:
        with torch.no_grad():
            ours = net(*arrays)
    except (ShapeError, LayerError):
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(net.outputs, {name: array.numpy() for name, array in zip(net.inputs, arrays, strict=True)})
    worst = 0.0
    for name, blob, array in zip(net.outputs, ours, theirs, strict=True):
        mine = blob.numpy()
        if array.shape != mine.shape:
            raise ModelFileError(f"output {name!r}: onnxruntime gives shape {array.shape}, expected {mine.shape}")
        scale = max(float(abs(mine).max()), 1e-30)
        difference = float(abs(array - mine).max()) / scale
        if not difference <= TOLERANCE:
            raise ModelFileError(f"output {name!r}: onnxruntime differs by {difference:.1e}; allowed is {TOLERANCE}")
        worst = max(worst, difference)
    return worst
