"""Sharing a loop gives every index once, whatever the number of threads; errors come through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from cpm_port.compute.memory import Workspace
from cpm_port.compute.threads import ahead, share


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_every_index_comes_once_and_workers_are_numbered(threads: int, count: int) -> None:
    seen: list[int] = []
    workers: set[int] = set()

    def body(worker: int, start: int, stop: int) -> None:
        workers.add(worker)
        seen.extend(range(start, stop))

    share(body, count)
    assert sorted(seen) == list(range(count))
    assert workers <= set(range(threads))


@pytest.mark.parametrize("at", [0, 60, 99])
def test_an_error_in_any_span_is_raised(threads: int, at: int) -> None:
    def body(_: int, start: int, stop: int) -> None:
        if start <= at < stop:
            raise ValueError("from a worker")

    with pytest.raises(ValueError, match="from a worker"):
        share(body, 100)
    share(lambda *_: None, 100)


def test_two_threads_may_share_loops_at_once(threads: int) -> None:
    sums = [0, 0]

    def outer(index: int) -> None:
        partial = [0] * 8

        def body(worker: int, start: int, stop: int) -> None:
            partial[worker] += sum(range(start, stop))

        for _ in range(20):
            share(body, 100)
        sums[index] = sum(partial)

    runners = [threading.Thread(target=outer, args=(index,)) for index in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert sums == [20 * 4950, 20 * 4950]


def test_a_workspace_is_kept_and_never_shared() -> None:
    workspace = Workspace()
    with workspace.take(100, 7) as (first, second), workspace.take(100) as (other,):
        arrays = [first, second, other]
        assert [len(array) for array in arrays] == [100, 7, 100]
        for value, array in enumerate(arrays):
            array[:] = value
        assert [set(array) for array in arrays] == [{0}, {1}, {2}]
        assert all(array.ctypes.data % 64 == 0 for array in arrays)
        place = other.ctypes.data
    with workspace.take(50) as (again,):
        assert again.ctypes.data == place


@pytest.mark.parametrize("count", [0, 1, 5])
def test_items_taken_ahead_come_in_order_and_no_more_than_asked_for(count: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(6):
            taken.append(i)
            yield i

    with closing(ahead(items(), count)) as fetched:
        for expected, item in enumerate(fetched):
            assert item == expected
            assert len(taken) <= expected + 2 + count
    assert taken == list(range(6))


def test_an_error_comes_after_the_items_before_it_and_a_closed_generator_takes_no_more() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("from the items")

    fetched = ahead(items(), 4)
    assert [next(fetched), next(fetched)] == [1, 2]
    with pytest.raises(ValueError, match="from the items"):
        next(fetched)
    endless = ahead(iter(int, 1), 1)
    assert next(endless) == 0
    endless.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("cpm_port.ahead")]
