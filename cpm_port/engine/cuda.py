"""A net on a GPU: the whole forward pass captured once per input shape as a CUDA graph, then replayed.

A CPM's pass is some eighty small launches; a graph launches them as one. Inputs are copied into the graph's own memory,
results out of it. Graphs of several shapes share one pool of memory (and are captured on one stream, without which the
pool would be no shared one), which is safe because they are replayed one after another, whatever stream they are called
on, and nothing but their inputs and outputs outlives a replay; threads that call at once take turns. The shapes are
fixed, so cuDNN measures its kernels before a capture and takes the fastest. Weights are
read where they were when the graph was captured: values loaded into the parameters are seen, parameters that were
moved make the net capture anew.

A net with a layer that does more than compute tops from bottoms (`LayerModule.replayable`) runs uncaptured: a replay
would begin with the state of the capture, repeat its draws, or write no file.

On a CPU, `GraphedNet` runs as `PreciseNet` does. No GPU has run this module yet: the tests pretend one
(`tests/pretended_gpu`), and no speed-up is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cpm_port.engine.precision import PreciseNet, Precision, kernels_measured
from cpm_port.graph import CaffeNet, LayerModule

__all__ = ["GraphedNet"]

_WARM_UPS = 3  # passes before the capture, in which libraries choose their kernels
_GRAPHS = 8  # kept at most; the one that was not used for longest goes

_OWN = {"_graphs", "_places", "_pool", "_side", "_replayed"}  # what `_start` makes

_Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class _Captured:
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Mapping[str, Tensor]
    results: Mapping[str, Tensor]


class GraphedNet(PreciseNet):
    """A net that predicts in one precision from captured graphs; see `PreciseNet`."""

    def __init__(self, net: CaffeNet, precision: Precision = "float32") -> None:
        super().__init__(net, precision)
        self._start()

    def _start(self) -> None:
        """Make what a copy does not share and a pickle does not hold."""
        self._graphs: dict[_Key, _Captured] = {}
        self._places: list[int] = []
        self._pool: Any = None
        self._side: Any = None
        self._replayed: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` take along: everything but the graphs."""
        return {name: value for name, value in self.__dict__.items() if name not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with nothing captured."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._start()

    def _compute(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> dict[str, Tensor]:
        layers = (module for module in self.net.modules() if isinstance(module, LayerModule))
        if self.device.type != "cuda" or not all(layer.replayable for layer in layers):
            return super()._compute(inputs, blobs)
        return self._replay(inputs, blobs)

    def _replay(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> dict[str, Tensor]:
        """Run the inputs through the graph of their shapes, captured now where there is none."""
        places = [tensor.data_ptr() for tensor in (*self.net.parameters(), *self.net.buffers())]
        if places != self._places:
            self._graphs.clear()
            self._places, self._pool = places, None
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in inputs.items())
        key = (shapes, tuple(blobs or ()))
        captured = self._graphs.pop(key, None)
        if captured is None:
            while len(self._graphs) >= _GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            captured = self._capture(inputs, blobs)
        self._graphs[key] = captured  # the last one now
        with self._after_the_last():
            for name, tensor in inputs.items():
                captured.inputs[name].copy_(tensor)
            captured.graph.replay()
            return {name: tensor.clone() for name, tensor in captured.results.items()}

    @contextmanager
    def _after_the_last(self) -> Iterator[None]:
        """Let this thread's stream go on after the last replay, on whatever stream that was: the memory is the same."""
        if self.device.type != "cuda":
            yield
            return
        stream = torch.cuda.current_stream(self.device)
        if self._replayed is not None:
            stream.wait_event(self._replayed)
        yield
        self._replayed = stream.record_event()

    def _capture(self, inputs: Mapping[str, Tensor], blobs: Sequence[str] | None) -> _Captured:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        own = {name: tensor.clone() for name, tensor in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            if self._side is None:
                self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side = self._side
            side.wait_stream(torch.cuda.current_stream())
            with kernels_measured():
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UPS):
                        super()._compute(own, blobs)
                torch.cuda.current_stream().wait_stream(side)
                # Other threads may go on using the GPU (NCCL's watchdog does): only this one's calls are captured.
                # The stream is given, for the default one is of whichever GPU came first in the process.
                with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                    results = super()._compute(own, blobs)
            torch.cuda.current_stream().wait_stream(side)
        return _Captured(graph, own, results)
