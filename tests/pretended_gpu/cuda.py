"""`torch.cuda` as the pretended devices answer it, and the switch that puts all of it in place."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tests.pretended_gpu.runtime import RUNTIME, Clock, Graph, Queue

__all__ = ["DEVICES", "NAME", "pretend"]

DEVICES = 2
NAME = "pretended GPU"
_MEMORY = 4 << 30

_kept: list[Any] = []  # registrations last as long as their libraries


def pretend(library: ctypes.CDLL) -> None:
    """Make this process's torch believe in two GPUs; `library` was loaded before torch was imported."""
    RUNTIME.library = library
    for name in ("convolution", "convolution_backward", "copy_"):  # kernels for all devices come before a fallback
        own = torch.library.Library("aten", "IMPL", "CUDA")
        own.impl(name, functools.partial(RUNTIME.run, getattr(torch.ops.aten, name).default))
        _kept.append(own)
    rest = torch.library.Library("_", "IMPL", "CUDA")
    rest.fallback(RUNTIME.run)
    _kept.append(rest)
    for owner, answers in ((torch.cuda, _cuda()), (torch.Tensor, _tensor()), (dist, _distributed())):
        for name, value in answers.items():
            setattr(owner, name, value)
    torch.empty = _empty(torch.empty)
    torch.compile = functools.partial(torch.compile, backend="aot_eager")  # traced; no Triton writes kernels for it
    torch.cuda.memory.mem_get_info = torch.cuda.mem_get_info


class Stream:
    """A stream; every one that is made is a new one."""

    def __init__(self, device: Any = None, priority: int = 0, *, number: int | None = None) -> None:
        index = _index(device)
        self.device = torch.device("cuda", index)
        number = RUNTIME.library.pretended_new_stream() if number is None else number
        self.queue: Queue = (index, number)

    def wait_stream(self, stream: Stream) -> None:
        RUNTIME.order_after(self.queue, RUNTIME.clock_of(stream.queue))

    def wait_event(self, event: Event) -> None:
        RUNTIME.order_after(self.queue, event.clock)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        RUNTIME.wait("stream.synchronize", self.queue[0], of=RUNTIME.clock_of(self.queue))

    def query(self) -> bool:
        return RUNTIME.reached(RUNTIME.clock_of(self.queue))

    @property
    def cuda_stream(self) -> int:
        return self.queue[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.queue == self.queue

    def __hash__(self) -> int:
        return hash(self.queue)


class Event:
    """A moment in a stream."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.clock: Clock = {}
        self._at = 0.0
        self._operations = 0

    def record(self, stream: Stream | None = None) -> None:
        self.clock = RUNTIME.clock_of((stream or _current_stream()).queue)
        self._at = time.perf_counter()
        self._operations = RUNTIME.operations

    def wait(self, stream: Stream | None = None) -> None:
        (stream or _current_stream()).wait_event(self)

    def query(self) -> bool:
        return RUNTIME.reached(self.clock)

    def synchronize(self) -> None:
        """Wait; noted as a synchronisation where no work was queued behind the event, so that the GPU would idle."""
        idle = RUNTIME.operations == self._operations
        RUNTIME.wait("event.synchronize, nothing behind it", 0, of=self.clock, note=idle)

    def elapsed_time(self, other: Event) -> float:
        return max(1000 * (other._at - self._at), 1e-3)


class _StreamContext(contextlib.AbstractContextManager[None]):
    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        library = RUNTIME.library
        self._device = library.pretended_device()
        if self.stream is not None:
            index, number = self.stream.queue
            self._before = library.pretended_stream(index)
            library.pretended_set_device(index)
            library.pretended_set_stream(index, number)

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            RUNTIME.library.pretended_set_stream(self.stream.queue[0], self._before)
            RUNTIME.library.pretended_set_device(self._device)


class _DeviceContext(contextlib.AbstractContextManager[None]):
    def __init__(self, device: Any) -> None:
        self.index = _index(device)

    def __enter__(self) -> None:
        self._before = RUNTIME.library.pretended_device()
        RUNTIME.library.pretended_set_device(self.index)

    def __exit__(self, *error: object) -> None:
        RUNTIME.library.pretended_set_device(self._before)


@contextlib.contextmanager
def _graph(
    graph: Graph, pool: int | None = None, stream: Stream | None = None, capture_error_mode: str = "global"
) -> Iterator[None]:
    RUNTIME.wait_for_all("torch.cuda.graph")
    with _StreamContext(stream or Stream()):
        graph.capture_begin(pool, capture_error_mode)
        try:
            yield
        finally:
            graph.capture_end()


def _index(device: Any) -> int:
    """Return the number of a device, however it is named."""
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return int(RUNTIME.library.pretended_device()) if index is None else index


def _set_device(device: Any) -> None:
    index = _index(device)
    if not 0 <= index < DEVICES:
        raise RuntimeError("CUDA error: invalid device ordinal")
    RUNTIME.library.pretended_set_device(index)


def _current_stream(device: Any = None) -> Stream:
    index = _index(device)
    return Stream(index, number=RUNTIME.library.pretended_stream(index))


def _exchange(device: int) -> int:
    before = int(RUNTIME.library.pretended_device())
    if device >= 0:
        _set_device(device)
    return before


def _cuda() -> dict[str, Any]:
    """Return the names of torch.cuda that are answered."""
    pools = iter(range(1, 1 << 30))
    properties = types.SimpleNamespace(
        name=NAME, major=9, minor=0, total_memory=_MEMORY, multi_processor_count=132, L2_cache_size=50 << 20
    )
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": _nothing(),
        "init": _nothing(),
        "_lazy_call": _nothing(),
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: DEVICES,
        "current_device": lambda: int(RUNTIME.library.pretended_device()),
        "set_device": _set_device,
        "_exchange_device": _exchange,
        "_maybe_exchange_device": lambda device: _exchange(device),
        "device": _DeviceContext,
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": _graph,
        "graph_pool_handle": lambda: next(pools),
        "is_current_stream_capturing": lambda: RUNTIME.capturing() is not None,
        "stream": _StreamContext,
        "current_stream": _current_stream,
        "default_stream": lambda device=None: Stream(_index(device), number=0),
        "set_stream": lambda stream: RUNTIME.library.pretended_set_stream(*stream.queue),
        "synchronize": lambda device=None: RUNTIME.wait_for_all("torch.cuda.synchronize"),
        "get_device_name": lambda device=None: NAME,
        "get_device_capability": lambda device=None: (properties.major, properties.minor),
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        "mem_get_info": lambda device=None: (_MEMORY - RUNTIME.library.pretended_bytes(), _MEMORY),
        "memory_allocated": lambda device=None: RUNTIME.library.pretended_bytes(),
        "memory_reserved": lambda device=None: RUNTIME.library.pretended_bytes(),
        "max_memory_allocated": lambda device=None: RUNTIME.library.pretended_peak(),
        "max_memory_reserved": lambda device=None: RUNTIME.library.pretended_peak(),
        "reset_peak_memory_stats": lambda device=None: RUNTIME.library.pretended_reset_peak(),
        "empty_cache": _nothing(),
        "manual_seed": _nothing(),
        "manual_seed_all": _nothing(),
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
    }


def _nothing() -> Callable[..., None]:
    """Return a function that does nothing; a new one each time, for torch tells functions apart."""
    return lambda *args, **kwargs: None


def _tensor() -> dict[str, Any]:
    return {
        "pin_memory": lambda tensor, device=None: RUNTIME.pin(tensor),
        "is_pinned": lambda tensor, device=None: RUNTIME.is_pinned(tensor),
        "record_stream": lambda tensor, stream: RUNTIME.keep_for(tensor, stream.queue),
    }


def _empty(plain: Any) -> Any:
    @functools.wraps(plain)
    def empty(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        made: Tensor = plain(*args, **kwargs)
        return made.pin_memory() if pin_memory else made

    return empty


def _distributed() -> dict[str, Any]:
    """Let gloo stand for NCCL: it is given the host's view of the memory."""
    join, add_up = dist.init_process_group, dist.all_reduce

    def init_process_group(backend: str | None = None, **kwargs: Any) -> None:
        kwargs.pop("device_id", None)
        join("gloo" if backend == "nccl" else backend, **kwargs)

    def all_reduce(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        return add_up(torch.ops.pretended_gpu.host(tensor) if tensor.is_cuda else tensor, *args, **kwargs)

    return {"init_process_group": init_process_group, "all_reduce": all_reduce}
