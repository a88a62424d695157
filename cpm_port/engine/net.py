"""A Caffe net run fast on the CPU: same parameters, same blobs, same interface, other arithmetic.

`accelerate(net)` returns a `CaffeNet` that shares everything with `net` and computes differently where no gradients
are needed: convolutions in the frequency domain where that pays (`plan.py`), ReLU and pooling joined to them
(`program.py`), activations channels-last. Anything else (gradients, another device or dtype, autocast, tracing, hooks
on layers, inputs that are not finite) runs the net's own layers, so export never sees the engine (and training sees
another part of it, `learning.py`).

Weights are transformed on first use, and again when they have changed. A change is noticed by the tensor's version or
place, or by a sample of its values, which also sees writes past torch (`.data`, NumPy views) unless they leave all of
some 64 values as they were; `forget()` is for those. Tensors made in inference mode have no version: all of their
values are looked at in every pass.

A net runs one pass at a time, with all of torch's threads; further threads that call it wait. So the memory bound
holds for all threads together. Copies and pickles of a net hold its parameters, and transform them anew.

It knowingly differs: results agree to about 1e-6 of a blob's largest value rather than bit by bit, and a value that
becomes infinite or NaN on the way spoils its neighbourhood (`fft.py`) rather than its receptive field.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import _has_any_global_hook

from cpm_port.compute.memory import Workspace
from cpm_port.engine.fft import FourierConv
from cpm_port.engine.plan import ConvJob, Way, choose, estimate, prepare, run_direct, time_ways, without_small_gains
from cpm_port.engine.pointwise import PointwiseConv
from cpm_port.engine.program import Operation, Program, compile_program, is_plain_convolution
from cpm_port.errors import UsageError
from cpm_port.graph import CaffeNet, LayerModule, Shape
from cpm_port.graph.layers.concat import Concat
from cpm_port.graph.net import Blob

__all__ = ["MEMORY_BOUND", "AcceleratedNet", "accelerate"]

MEMORY_BOUND = 1792 << 20
"""Default bound, bytes: with it a person at seven scales in the full MPI net peaks under 3 GiB."""

_WORKSPACE = 128 << 20
_SAMPLES = 64
_OWN = {"_turn", "_workspace", "_weights_bound", "_plans", "_current_plan", "_transformed"}  # what `_start` makes
PLANS = 64  # kept at most, one for each size of inputs and set of wanted blobs; the oldest one goes

PlanSource = Literal["model", "measure"]
_Key = tuple[str, int]  # a layer's key in the net, a tile size
_Fingerprint = tuple[object, ...]
_Convolve = FourierConv | PointwiseConv


def accelerate(net: CaffeNet, *, memory_bound: int = MEMORY_BOUND, plan: PlanSource = "model") -> AcceleratedNet:
    """Return a net with the same parameters that runs faster on the CPU under `torch.no_grad()` or `inference_mode()`.

    Parameters
    ----------
    net : CaffeNet
        Stays as it is. Its parameters are shared: training or loading through either net changes both.
    memory_bound : int
        Bytes that transformed weights and spectra may take together. Less memory means more layers run directly; 0 is
        all of them.
    plan : {"model", "measure"}
        Decide by the cost model, the same everywhere; or by times measured once on this machine and then kept in the
        user's cache folder.

    Raises
    ------
    UsageError
        A negative bound, or another plan.

    Examples
    --------
    >>> import torch
    >>> import cpm_port
    >>> from cpm_port.engine import accelerate
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=1, width=4, box=(64, 64)))))
    >>> fast, data = accelerate(net), torch.rand(1, 4, 64, 64)
    >>> torch.allclose(fast(data)["conv7_stage1"], net(data)["conv7_stage1"], atol=1e-4)
    True
    """
    return AcceleratedNet(net, memory_bound, plan)


@dataclass(frozen=True)
class _Plan:
    """How the operations run for one size of inputs: operation's key -> way."""

    program: Program
    ways: dict[str, Way]


class AcceleratedNet(CaffeNet):
    """What `accelerate` returns; see there.

    Attributes
    ----------
    memory_bound : int
        Bytes.
    plan_source : {"model", "measure"}

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.engine import AcceleratedNet
    >>> isinstance(cpm_port.load_model().net, AcceleratedNet)  # models are made fast when they are loaded
    True
    """

    def __init__(self, net: CaffeNet, memory_bound: int, plan: PlanSource) -> None:
        if memory_bound < 0:
            raise UsageError(f"memory_bound is {memory_bound}, expected bytes, 0 or more")
        if plan not in ("model", "measure"):
            raise UsageError(f"plan is {plan!r}, expected 'model' or 'measure'")
        nn.Module.__init__(self)
        self.__dict__.update(net.__dict__)
        self.memory_bound = memory_bound
        self.plan_source = plan
        self._start()

    def _start(self) -> None:
        """Make what a copy does not share and a pickle does not hold."""
        self._turn = threading.RLock()
        self._workspace = Workspace(min(_WORKSPACE, self.memory_bound // 8))
        self._weights_bound = self.memory_bound - self._workspace.nbytes
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._current_plan: _Plan | None = None
        self._transformed: dict[_Key, tuple[_Fingerprint, _Convolve]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` take along: everything but what `_start` makes."""
        return {name: value for name, value in self.__dict__.items() if name not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with nothing planned or transformed."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._start()

    def forward(self, inputs: Mapping[str, Blob] | Blob, blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Run the net; parameters, result and errors as those of `CaffeNet.forward`."""
        if torch.is_grad_enabled() or self.is_followed(inputs):
            return super().forward(inputs, blobs)
        table = self.take_inputs(inputs)
        if not self.is_covered(table) or not all(_is_finite(tensor) for tensor in table.values()):
            return super().forward(table, blobs)
        with self._turn:
            return self._run_fast(table, self._wanted(blobs))

    def _run_fast(self, table: dict[str, Tensor], wanted: list[str]) -> dict[str, Tensor]:
        """Run the operations of the wanted blobs; takes the inputs out of `table`, so that they can go."""
        shapes = {name: tuple(tensor.shape) for name, tensor in table.items()}
        self._reshape(shapes)
        plan = self._plan(shapes, tuple(wanted))
        values = {plan.program.inputs[name]: tensor for name, tensor in table.items()}
        table.clear()
        for operation in plan.program.operations:
            tops = self._run(operation, plan.ways.get(operation.key), [values[value] for value in operation.reads])
            values.update(zip(operation.writes, tops, strict=True))
            self._take_shapes(operation, tops)
            del tops
            for value in operation.frees:
                del values[value]
        return {name: values[value].contiguous() for name, value in plan.program.results.items()}

    def _take_shapes(self, operation: Operation, tops: Sequence[Tensor]) -> None:
        """Work out the shapes behind a layer that has told only now how large its tops are."""
        module = self.get_submodule(operation.key)
        if isinstance(module, LayerModule) and module.shaped_by_values:
            found = {name: tuple(top.shape) for name, top in zip(module.spec.tops, tops, strict=True)}
            position = next(i for i, step in enumerate(self.steps) if step.key == operation.key)
            self._reshape_behind(position, self._blob_shapes | found)

    def forget(self) -> None:
        """Drop all transformed weights and plans; the next run makes them anew."""
        with self._turn:
            self._plans.clear()
            self._current_plan = None
            self._transformed.clear()

    @property
    def ways(self) -> dict[str, int]:
        """Convolution layer -> tile size in the last run, 0 for direct."""
        plan = self._current_plan
        return {key: way.size for key, way in plan.ways.items()} if plan is not None else {}

    @property
    def transformed_bytes(self) -> int:
        """Memory that transformed weights take now."""
        return sum(conv.nbytes for _, conv in list(self._transformed.values()))

    def is_followed(self, inputs: Mapping[str, Blob] | Blob) -> bool:
        """Tell whether somebody follows what the layers do: compiles or exports the net, or has hooks on layers."""
        if _is_traced() or isinstance(inputs, fx.Proxy):
            return True
        everywhere = _has_any_global_hook()  # type: ignore[no-untyped-call]
        return bool(everywhere) or any(map(_has_hooks, self._layer_modules()))

    def is_covered(self, table: Mapping[str, Tensor]) -> bool:
        """Tell whether the engine covers these inputs and the parameters: float32 in this machine's memory."""
        return all(_is_plain(tensor) for tensor in (*table.values(), *self.parameters()))

    def _run(self, operation: Operation, way: Way | None, bottoms: list[Tensor]) -> Sequence[Tensor]:
        module = self.get_submodule(operation.key)
        if way is not None and way.size:
            convolve = self._fourier(operation, module, way.size)
            return (convolve(bottoms[0], operation.rectify, operation.pool, self._workspace),)
        if operation.rectify or operation.pool.kernel > 1:
            return (run_direct(bottoms[0], lambda x: module(x)[0], operation.rectify, operation.pool),)
        if type(module) is Concat and _joins_channels(module, bottoms):
            return (_concatenate(bottoms),)
        tops: tuple[Tensor, ...] = module(*bottoms)
        return tops

    def _fourier(self, operation: Operation, module: nn.Module, size: int) -> _Convolve:
        """Return the layer's transformed weights, made anew where the layer's parameters are no longer those."""
        assert isinstance(module, LayerModule)
        weight, bias = module.blob(0), module.blob(1) if len(module.blobs) > 1 else None
        fingerprint = _fingerprint(weight, bias)
        known = self._transformed.get((operation.key, size))
        if known is None or known[0] != fingerprint:
            self._transformed.pop((operation.key, size), None)  # before the new one takes its memory
            known = (fingerprint, prepare(weight, bias, size))
            self._transformed[operation.key, size] = known
        return known[1]

    def _plan(self, shapes: dict[str, Shape], wanted: tuple[str, ...]) -> _Plan:
        """Return how to run inputs of these shapes; where it is another plan than the last one, make room for it."""
        key = (tuple(shapes.items()), wanted, torch.get_num_threads())
        plan = self._plans.get(key)
        if plan is None:
            program = compile_program(self, wanted)
            ways = {layer: self._ways_of(job) for layer, job in self._jobs(program)}
            if self.plan_source == "model":
                ways = without_small_gains(ways)
            plan = self._plans[key] = _Plan(program, choose(ways, self._weights_bound))
            if len(self._plans) > PLANS:
                del self._plans[next(iter(self._plans))]
        if plan is not self._current_plan:
            self._make_room(plan)
            self._current_plan = plan
        return plan

    def _make_room(self, plan: _Plan) -> None:
        """Drop transformed weights that `plan` does not need until all that it needs fits into the bound."""
        needed = {(layer, way.size) for layer, way in plan.ways.items()}
        others = [key for key in self._transformed if key not in needed]
        spare = self._weights_bound - sum(way.nbytes for way in plan.ways.values())
        spare -= sum(self._transformed[key][1].nbytes for key in others)
        for key in others:
            if spare >= 0:
                break
            spare += self._transformed.pop(key)[1].nbytes

    def _ways_of(self, job: ConvJob) -> list[Way]:
        return (
            time_ways(job, self._workspace.nbytes)
            if self.plan_source == "measure"
            else estimate(job, self._workspace.nbytes)
        )

    def _jobs(self, program: Program) -> Iterator[tuple[str, ConvJob]]:
        """Give the convolutions that have more than one way, at the sizes that `_reshape` has just found."""
        for operation in program.operations:
            module = self.get_submodule(operation.key)
            if is_plain_convolution(module):
                assert isinstance(module, LayerModule)
                images, channels, height, width = self._blob_shapes[module.spec.bottoms[0]]
                outputs, _, kernel, _ = module.blob(0).shape
                tail = operation.rectify, operation.pool
                yield operation.key, ConvJob(images, channels, outputs, kernel, height, width, *tail)


def _has_hooks(module: LayerModule) -> bool:
    """Tell whether somebody wants to be called when a layer runs, forward or back."""
    forward = module._forward_pre_hooks or module._forward_hooks
    return bool(forward or module._backward_pre_hooks or module._backward_hooks)


def _joins_channels(module: Concat, bottoms: list[Tensor]) -> bool:
    axis = module.fields.concat_dim if "concat_dim" in module.given else module.fields.axis
    return axis % bottoms[0].dim() == 1 and bottoms[0].dim() == 4


def _concatenate(bottoms: list[Tensor]) -> Tensor:
    """Join maps along the channels, channels-last, by NumPy's copies (see `fft.channels_last`)."""
    count, _, height, width = bottoms[0].shape
    joined = np.empty((count, height, width, sum(bottom.shape[1] for bottom in bottoms)), np.float32)
    np.concatenate([bottom.detach().permute(0, 2, 3, 1).numpy() for bottom in bottoms], axis=3, out=joined)
    return torch.from_numpy(joined).permute(0, 3, 1, 2)


def _fingerprint(*tensors: Tensor | None) -> _Fingerprint:
    """Return what tells a tensor's content from that of another time: its place, its version, some of its values."""
    parts: list[object] = []
    for tensor in tensors:
        if tensor is None:
            continue
        values = tensor.detach().numpy()
        if tensor.is_inference():  # without a version
            parts.append((tensor.data_ptr(), hash(values.tobytes())))
        else:
            every = max(1, tensor.numel() // _SAMPLES)
            sample = values.flat[::every].tobytes()  # whatever the layout, no other value is touched
            parts.append((tensor.data_ptr(), tensor._version, sample))
    return tuple(parts)


def _is_plain(tensor: Tensor) -> bool:
    """Tell whether a tensor is float32 in this machine's memory, and no subclass of `Tensor`."""
    own = type(tensor) in (Tensor, nn.Parameter)
    plain = own and tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.layout == torch.strided
    if plain:
        try:
            tensor.data_ptr()
        except RuntimeError:  # it stands for others: vmap, jvp
            return False
    return plain


def _is_finite(tensor: Tensor) -> bool:
    """Tell whether all values are finite (or too large to be added up, which the plain layers may take as well)."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.add.reduce(tensor.detach().numpy(), axis=None)))


def _is_traced() -> bool:
    """Tell whether somebody follows the computation, to compile or export it, or has asked for another precision."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return torch.compiler.is_compiling() or tracing or torch.is_autocast_enabled("cpu")
