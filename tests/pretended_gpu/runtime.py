"""What the pretended GPU does with an operation: run it on the host, and hold it to a GPU's rules.

Every operation on a tensor that says `cuda:N` comes to `Runtime.run`, below autograd and autocast. The values lie in
the host's memory, so results are the CPU's. Rules that are held, each as a GPU would:

- tensors of different devices do not meet (`RuntimeError`, as PyTorch says it); 0-dim CPU tensors may come along;
- what makes the host wait is noted with the line that asked (`synchronisations`);
- in a capture nothing is computed: results are NaN until the graph is replayed, and waiting is an error;
- streams run beside each other: reading what another stream has written, or writing what it still reads, without an
  order between the two is a `GpuFaultError`; so is memory given back while another stream uses it;
- copies to pinned memory arrive when the host has waited for them, and are NaN before; pinned memory that is written
  to while a copy from it is under way is a `GpuFaultError`;
- where TF32 is switched on, convolutions and products round their float32 inputs to 10 bits.

It knowingly lacks: times, the limits of memory, races inside a kernel, and orders of sums other than the CPU's.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["GpuFaultError", "Graph", "Runtime", "Synchronisation"]

Queue = tuple[int, int]  # device, stream
Clock = dict[Queue, int]  # how far each stream is known to have come

_HERE = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addbmm"}
_CONVOLUTIONS = {"convolution", "convolution_backward"}
_FORBIDDEN = "operation not permitted when stream is capturing"


class GpuFaultError(RuntimeError):
    """What a GPU would do wrong without a word."""


@dataclass(frozen=True)
class Synchronisation:
    """The host waited: how, and the line that asked."""

    kind: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.kind} at {self.file}:{self.line}"


@dataclass
class _Use:
    """Who has written and read a block of memory, and where it was made."""

    born: Queue
    written: Clock = field(default_factory=dict)
    read: Clock = field(default_factory=dict)
    recorded: set[Queue] = field(default_factory=set)


@dataclass
class _Copy:
    """A copy between pinned memory and the GPU that is under way: to the host with its values, or from it."""

    queue: Queue
    number: int
    tensor: Tensor
    values: Tensor | None
    content: int


@dataclass
class _Call:
    """An operation of a captured graph, on the host's views of the memory that the capture saw."""

    run: Callable[[], Any]
    outputs: list[Tensor]


class Graph:
    """A captured graph; replays run its operations one by one."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.calls: list[_Call] = []
        self.reads: set[int] = set()
        self.writes: set[int] = set()
        self.own: set[int] = set()
        self.shares: int | None = None
        self.device = self.stream = 0
        self.mode = "global"

    def capture_begin(self, pool: int | None = None, capture_error_mode: str = "global") -> None:
        self.shares, self.mode = pool, capture_error_mode
        RUNTIME.begin(self)

    def capture_end(self) -> None:
        RUNTIME.end(self)

    def replay(self) -> None:
        RUNTIME.replay(self)

    def pool(self) -> int | None:
        return self.shares

    def reset(self) -> None:
        self.calls.clear()


class Runtime:
    """The state of the pretended devices."""

    def __init__(self) -> None:
        self.library: ctypes.CDLL
        self.synchronisations: list[Synchronisation] = []
        self.operations = 0
        self._lock = threading.RLock()
        self._clocks: dict[Queue, Clock] = {}
        self._host: Clock = {}
        self._uses: dict[int, _Use] = {}
        self._dead: set[int] = set()
        self._copies: list[_Copy] = []
        self._pinned: dict[int, weakref.ref[np.ndarray]] = {}
        self._thread = threading.local()
        self._captures: list[Graph] = []

    # -- where we are --------------------------------------------------------------------------------------------------

    def queue(self, device: int | None = None) -> Queue:
        """Return this thread's device (or that one) and its stream there."""
        index = self.library.pretended_device() if device is None else device
        return index, self.library.pretended_stream(index)

    def capturing(self) -> Graph | None:
        return getattr(self._thread, "graph", None)

    # -- operations ----------------------------------------------------------------------------------------------------

    def run(self, op: Any, *args: Any, **kwargs: Any) -> Any:
        """Run an operation of the dispatcher; `op` is its overload."""
        with self._lock:
            self._notice_freed()
            name = op._schema.name.removeprefix("aten::")
            if name in ("copy_", "_copy_from", "_copy_from_and_resize"):
                return self._copy(
                    args[0], args[1], bool(args[2]) if len(args) > 2 else kwargs.get("non_blocking", False)
                )
            tensors = list(_tensors((args, kwargs)))
            device = self._common_device(name, tensors)
            if self._waits(name, tensors):
                self.wait(name, device)
            written = {id(t) for t in _written(op, args, kwargs)}
            reads = [t for t in tensors if t.device.type == "cuda" and id(t) not in written]
            writes = [t for t in tensors if t.device.type == "cuda" and id(t) in written]
            graph = self.capturing()
            if graph is None:
                self._note(self.queue(device), map(_block, [*reads, *writes]), map(_block, writes))
            return self._compute(op, name, args, kwargs, device, graph)

    def _compute(self, op: Any, name: str, args: Any, kwargs: Any, device: int, graph: Graph | None) -> Any:
        """Run it on the host's views, or note it for the graph; return what the operation returns."""
        out = {a.name: kwargs[a.name] for a in op._schema.arguments if a.is_out and kwargs.get(a.name) is not None}
        view = _host if graph is None else self._view_for(graph)
        host_args = _map(args, view)
        rest = {key: value for key, value in kwargs.items() if key not in out}
        host_kwargs = _map({k: _on_host(v) for k, v in rest.items()}, view)
        arithmetic = _rounded if _rounds(name) else _same
        kinds = [str(argument.type) for argument in op._schema.arguments]

        def compute() -> Any:
            fresh = {key: torch.empty(0, dtype=value.dtype) for key, value in out.items()}
            given = (_as_tensor(*each) for each in zip(arithmetic(host_args), kinds, strict=False))
            return op(*given, **arithmetic(host_kwargs), **fresh)

        changes = [a for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        in_place = bool(changes) and not out
        if in_place and graph is not None:
            graph.calls.append(_Call(compute, []))
            self._note_for(graph, args, kwargs, _written(op, args, kwargs))
            return _shaped(op, list(_written(op, args, kwargs)))
        result = compute()
        if in_place:
            return _shaped(op, list(_written(op, args, kwargs)), result, device)
        results = result if isinstance(result, tuple | list) else (result,)
        given: list[Any] = []
        for value, target in zip(results, [*out.values(), *[None] * len(results)], strict=False):
            if not isinstance(value, Tensor):
                given.append(value)
                continue
            place = _like(value, device) if target is None else target
            if place.shape != value.shape:
                place.resize_(value.shape)
            _host(place).copy_(value) if graph is None else _spoil(_host(place))
            given.append(place)
        tensors = [value for value in given if isinstance(value, Tensor)]
        if graph is None:
            self._note(self.queue(device), (), map(_block, tensors), step=False)
        else:
            graph.calls.append(_Call(compute, [_host(tensor) for tensor in tensors]))
            self._note_for(graph, args, kwargs, tensors)
        if isinstance(result, tuple):
            return tuple(given)
        return given if isinstance(result, list) else given[0]

    def _common_device(self, name: str, tensors: list[Tensor]) -> int:
        """Return the number of the device that all tensors lie on."""
        indices = {t.device.index for t in tensors if t.device.type == "cuda"}
        strays = [
            t for t in tensors if t.device.type == "cpu" and t.dim() and name not in ("index", "_index_put_impl_")
        ]
        if len(indices) > 1 or (indices and strays):
            found = sorted({str(t.device) for t in tensors})
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{' and '.join(found)}! (in {name})"
            )
        return indices.pop() if indices else self.library.pretended_device()

    @staticmethod
    def _waits(name: str, tensors: list[Tensor]) -> bool:
        """Tell whether a GPU's host waits in an operation: its result's shape or value is needed."""
        if name in ("index", "_index_put_impl_"):  # a mask read comes as `nonzero`, too, and is noted there
            masks = name != "index"
            indices = [t for t in tensors[1:3] if t.dim()]
            return any((masks and t.dtype in (torch.bool, torch.uint8)) or t.device.type == "cpu" for t in indices)
        return name in _WAITING

    # -- copies --------------------------------------------------------------------------------------------------------

    def _copy(self, to: Tensor, source: Tensor, non_blocking: bool) -> Tensor:
        """Copy within a GPU, between GPUs, or to and from the host."""
        graph = self.capturing()
        on_gpu = to if to.device.type == "cuda" else source
        queue = self.queue(on_gpu.device.index)
        if to.device.type == source.device.type:
            if graph is not None:
                self._note_call(graph, to, source)
                return to
            self._note(queue, [_block(to), _block(source)], [_block(to)])
            _host(to).copy_(_host(source))
            return to
        pinned = self.is_pinned(source if to.device.type == "cuda" else to)
        if graph is not None:
            if not (pinned and non_blocking):
                raise RuntimeError(f"CUDA error: {_FORBIDDEN} (a copy of pageable memory, or one that waits)")
            self._note_call(graph, to, source)
            return to
        if to.device.type == "cuda":
            number = self._note(queue, [_block(to)], [_block(to)])
            _host(to).copy_(source)
            if not non_blocking:
                self.wait("copy to the device", queue[0])
            elif pinned:
                self._copies.append(_Copy(queue, number, source, None, _content(source)))
            return to
        number = self._note(queue, [_block(source)], [])
        values = _host(source).clone()
        if non_blocking and pinned:
            _spoil(to)
            self._copies.append(_Copy(queue, number, to, values, 0))
        else:
            self.wait("copy to the host", queue[0])
            to.copy_(values)
        return to

    def pin(self, tensor: Tensor) -> Tensor:
        """Return a copy in pinned memory, the tensor itself where it is."""
        if self.is_pinned(tensor):
            return tensor
        kept = np.empty(max(tensor.numel() * tensor.element_size(), 1), np.uint8)
        pinned = torch.from_numpy(kept)[: tensor.numel() * tensor.element_size()].view(tensor.dtype)
        pinned = pinned.as_strided(
            tensor.shape, tensor.contiguous().stride() if not tensor.is_contiguous() else tensor.stride()
        )
        pinned.copy_(tensor)
        self._pinned[kept.ctypes.data] = weakref.ref(kept)
        return pinned

    def is_pinned(self, tensor: Tensor) -> bool:
        known = self._pinned.get(tensor.untyped_storage().data_ptr())
        return known is not None and known() is not None

    # -- order ---------------------------------------------------------------------------------------------------------

    def wait(self, kind: str, device: int, *, of: Clock | None = None, note: bool = True) -> None:
        """Let the host wait: for a clock, or for the device's stream."""
        with self._lock:
            for graph in self._captures:
                if graph is self.capturing() or graph.mode == "global":
                    raise RuntimeError(f"CUDA error: {_FORBIDDEN} ({kind})")
            if note:
                self.synchronisations.append(Synchronisation(kind, *_asked_at()))
            queue = self.queue(device)
            _merge(self._host, dict(self._clocks.get(queue, {})) if of is None else of)
            self._deliver()

    def wait_for_all(self, kind: str) -> None:
        everything: Clock = {}
        for clock in self._clocks.values():
            _merge(everything, clock)
        self.wait(kind, 0, of=everything)

    def clock_of(self, queue: Queue) -> Clock:
        """Return how far everything has come when this stream comes to what it was last given."""
        with self._lock:
            return dict(self._clocks.get(queue, {}))

    def order_after(self, queue: Queue, clock: Clock) -> None:
        """Let a stream go on after a clock."""
        with self._lock:
            _merge(self._clocks.setdefault(queue, {queue: 0}), clock)

    def reached(self, clock: Clock) -> bool:
        """Let what a clock stands for arrive at the host, as time passes."""
        self.wait("query", 0, of=clock, note=False)
        return True

    def keep_for(self, tensor: Tensor, queue: Queue) -> None:
        """Do not give back a tensor's memory while a stream uses it."""
        with self._lock:
            self._use(_block(tensor), self.queue()).recorded.add(queue)

    def _use(self, block: int, queue: Queue) -> _Use:
        return self._uses.setdefault(block, _Use(queue))

    def _note(self, queue: Queue, reads: Iterable[int], writes: Iterable[int], *, step: bool = True) -> int:
        """Let a stream read and write blocks; returns the operation's number in the stream."""
        clock = self._clocks.setdefault(queue, {queue: 0})
        if step:
            clock[queue] += 1
            self.operations += 1
        number = clock[queue]
        reads, writes = set(reads) - {0}, set(writes) - {0}
        for block in reads | writes:
            use = self._use(block, queue)
            others = dict(use.written)
            if block in writes:
                _merge(others, use.read)
            for other, made in others.items():
                if other != queue and max(clock.get(other, 0), self._host.get(other, 0)) < made:
                    raise GpuFaultError(
                        f"stream {queue} uses memory that stream {other} uses, with no order between them: "
                        f"stale input, at {':'.join(map(str, _asked_at()))}"
                    )
            if block in writes:
                use.written, use.read = {queue: number}, {}
            else:
                use.read[queue] = number
        return number

    def _deliver(self) -> None:
        """End the copies that the host knows to be over."""
        waiting = []
        for copy in self._copies:
            if copy.number > self._host.get(copy.queue, 0):
                waiting.append(copy)
            elif copy.values is not None:
                with torch.inference_mode():  # the memory may be an inference tensor's: no rule of a GPU's
                    copy.tensor.copy_(copy.values)
            elif _content(copy.tensor) != copy.content:
                self._copies.remove(copy)
                raise GpuFaultError("pinned memory was written to while a copy from it to the device was under way")
        self._copies = waiting

    def _notice_freed(self) -> None:
        """Look at the blocks that were given back: nobody but the stream that made them may still use them."""
        while number := self.library.pretended_freed():
            self._dead.add(number)
            use = self._uses.pop(number, None)
            if use is None:
                continue
            known = self._clocks.get(use.born, {})
            for uses in (use.written, use.read):
                for queue, made in uses.items():
                    safe = queue == use.born or queue in use.recorded
                    if not safe and max(known.get(queue, 0), self._host.get(queue, 0)) < made:
                        raise GpuFaultError(
                            f"memory of stream {use.born} was given back while stream {queue} uses it: "
                            "record_stream is missing"
                        )

    # -- captured graphs -----------------------------------------------------------------------------------------------

    def begin(self, graph: Graph) -> None:
        """Start to capture what this thread gives to its stream."""
        with self._lock:
            queue = self.queue()
            if queue[1] == 0:
                raise RuntimeError("CUDA graphs must be captured on a non-default stream")
            if self._captures:
                raise RuntimeError("a graph is being captured already")
            graph.device, graph.stream = queue
            self._thread.graph = graph
            self._captures.append(graph)
            self._first_own = _block(torch.empty(1, device=f"cuda:{queue[0]}"))

    def end(self, graph: Graph) -> None:
        with self._lock:
            self._thread.graph = None
            self._captures.remove(graph)

    def replay(self, graph: Graph) -> None:
        """Run a graph's operations on the memory that the capture saw."""
        with self._lock:
            self._notice_freed()
            gone = sorted((graph.reads | graph.writes) & self._dead - graph.own)
            if gone:
                raise GpuFaultError(f"the graph uses memory that was given back since its capture ({len(gone)} blocks)")
            pool = set() if graph.shares is None else {-1 - graph.shares}
            self._note(self.queue(graph.device), graph.reads | graph.writes | pool, graph.writes | pool)
            for call in graph.calls:
                result = call.run()
                results = result if isinstance(result, tuple | list) else (result,)
                for place, value in zip(call.outputs, (r for r in results if isinstance(r, Tensor)), strict=False):
                    place.copy_(value)

    def _view_for(self, graph: Graph) -> Callable[[Tensor], Tensor]:
        """Return how a graph sees memory: it keeps its own, and not what it was given."""
        if self.queue()[1] != graph.stream:
            raise GpuFaultError("an operation on another stream than the captured one is not in the graph")

        def view(tensor: Tensor) -> Tensor:
            if tensor.device.type == "cpu":
                return tensor
            own = _block(tensor) >= self._first_own
            return _host(tensor) if own else torch.ops.pretended_gpu.borrowed(tensor)

        return view

    def _note_for(self, graph: Graph, args: Any, kwargs: Any, outputs: Iterable[Tensor]) -> None:
        graph.reads |= {_block(t) for t in _tensors((args, kwargs)) if t.device.type == "cuda"} - {0}
        graph.writes |= {_block(t) for t in outputs} - {0}
        graph.own |= {block for block in graph.reads | graph.writes if block >= self._first_own}

    def _note_call(self, graph: Graph, to: Tensor, source: Tensor) -> None:
        view = self._view_for(graph)
        into, out_of = view(to), view(source)
        graph.calls.append(_Call(lambda: into.copy_(out_of), []))
        self._note_for(graph, (source,), {}, [to])


RUNTIME = Runtime()


def _host(tensor: Tensor) -> Tensor:
    """Return the host's view of a tensor's memory."""
    return tensor if tensor.device.type == "cpu" else torch.ops.pretended_gpu.host(tensor)


def _on_host(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


def _block(tensor: Tensor) -> int:
    number: int = torch.ops.pretended_gpu.block(tensor)
    return number


def _like(value: Tensor, device: int) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=f"cuda:{device}")


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for each in tree:
            yield from _tensors(each)
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))


def _map(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        return type(tree)(_map(each, function) for each in tree)
    if isinstance(tree, dict):
        return {key: _map(each, function) for key, each in tree.items()}
    return _on_host(tree)


def _as_tensor(value: Any, kind: str) -> Any:
    """Return a number as the tensor that an operation takes: the dispatcher gives Python a number where it was one."""
    return torch.tensor(value) if kind == "Tensor" and isinstance(value, bool | int | float) else value


def _written(op: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """Give the tensors that an operation writes to, by its schema."""
    for place, argument in enumerate(op._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from _tensors(value)


def _shaped(op: Any, written: list[Tensor], result: Any = None, device: int = 0) -> Any:
    """Return what an operation in place returns: what it has written, and what it has made besides."""
    returns = op._schema.returns
    if not returns:
        return None
    results = result if isinstance(result, tuple | list) else [result] * len(returns)
    left = iter(written)
    given = []
    for kind, value in zip(returns, results, strict=False):
        if kind.alias_info is not None and kind.alias_info.is_write:
            given.append(next(left))
        else:
            made = _like(value, device)
            _host(made).copy_(value)
            given.append(made)
    return given[0] if len(returns) == 1 else tuple(given)


def _spoil(tensor: Tensor) -> None:
    """Fill memory that holds nothing yet with what gives it away."""
    if tensor.is_floating_point():
        tensor.fill_(float("nan"))
    elif tensor.dtype != torch.bool:
        tensor.fill_(77)


def _content(tensor: Tensor) -> int:
    return hash(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()) if tensor.numel() else 0


def _merge(clock: Clock, other: Clock) -> None:
    for queue, number in other.items():
        clock[queue] = max(clock.get(queue, 0), number)


def _rounds(name: str) -> bool:
    """Tell whether TF32 is switched on for an operation."""
    if name in _CONVOLUTIONS:
        owner: Any = torch.backends.cudnn
        owner = getattr(owner, "conv", owner)
    elif name in _PRODUCTS:
        owner = torch.backends.cuda.matmul
    else:
        return False
    return bool(owner.fp32_precision == "tf32" if hasattr(owner, "fp32_precision") else owner.allow_tf32)


def _rounded(tree: Any) -> Any:
    """Round float32 tensors to TF32's 10 bits."""

    def to_tf32(tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        bits = tensor.detach().clone(memory_format=torch.preserve_format).view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    return _map(tree, to_tf32)


def _same(tree: Any) -> Any:
    return tree


def _asked_at() -> tuple[str, int]:
    """Return file and line of the nearest caller that is neither torch nor this folder's machinery."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        machinery = file.startswith(_HERE) and not Path(file).name.startswith("test_")
        if not (machinery or file.startswith((_TORCH, "<"))):
            return file, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return "autograd", 0
