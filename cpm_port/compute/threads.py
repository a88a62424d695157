"""Threads: a few that share a loop, and one that fetches things ahead of who needs them.

The kernels release the GIL, so plain Python threads run them side by side.

numba's own parallel loops would bring a threading layer that must not be entered from two threads at once, or not after
a fork; these threads may be used from any thread, and a forked child starts its own. Their number is torch's:
`torch.set_num_threads`.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["ahead", "share"]

_T = TypeVar("_T")

_SPANS_PER_WORKER = 4  # so that a worker that another process slows down does less
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def share(body: Callable[[int, int, int], None], count: int) -> None:
    """Call `body(worker, start, stop)` on spans that together are range(count), on torch's number of threads.

    Spans are handed out as workers get free; `worker` counts from 0 and tells which scratch memory is whose. An error
    in any span is raised here, after all workers have stopped.
    """
    workers = max(1, min(torch.get_num_threads(), count))
    if workers == 1:
        if count:
            body(0, 0, count)
        return
    spans = min(count, workers * _SPANS_PER_WORKER)
    tickets = itertools.count()

    def work(worker: int) -> None:
        while (ticket := next(tickets)) < spans:
            body(worker, count * ticket // spans, count * (ticket + 1) // spans)

    others = [_pool(workers).submit(work, worker) for worker in range(1, workers)]
    try:
        work(0)
    finally:
        errors = [other.exception() for other in others]
    for error in errors:
        if error is not None:
            raise error


def ahead(items: Iterable[_T], count: int = 2) -> Generator[_T, None, None]:
    """Yield the items in order while a thread takes up to `count` more; an error comes in its item's place.

    Close the generator (`contextlib.closing`) where it is not exhausted: that waits for the item that is being taken.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="cpm_port.ahead") as thread:
        waiting: deque[Future[object]] = deque()
        try:
            while True:
                while len(waiting) <= count:
                    waiting.append(thread.submit(next, iterator, end))
                item = waiting.popleft().result()
                if item is end:
                    return
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return this process's pool (a fork inherits the dictionary, but no threads)."""
    key = os.getpid(), workers
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(workers - 1, thread_name_prefix="cpm_port")
    return _pools[key]
