"""Claim: the pretended GPU notices what a GPU would refuse, wait for, or do silently wrong.

Oracle: faults planted by hand, each beside the same code without the fault where there is a right way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.pretended_gpu.runtime import RUNTIME, GpuFaultError

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def pretended() -> Iterator[None]:
    """Skip on a real GPU, which says nothing; begin and end with everything done."""
    if torch.backends.cuda.is_built():
        pytest.skip("this is about the pretended GPU")
    RUNTIME.wait_for_all("the test's begin")
    RUNTIME.synchronisations.clear()
    yield
    RUNTIME.wait_for_all("the test's end")


def captured(x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.graph(graph, stream=side):
        result = x * 2 + 1
    return graph, result


def test_a_tensor_of_the_cpu_among_those_of_the_gpu_is_refused() -> None:
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        torch.ones(3, device="cuda") + torch.ones(3)
    assert (torch.ones(3, device="cuda") + torch.tensor(1.0)).tolist() == [2, 2, 2]


def test_tensors_of_two_gpus_are_refused() -> None:
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cuda:1"):
        torch.ones(3, device="cuda:0") + torch.ones(3, device="cuda:1")


def test_an_index_of_the_cpu_is_refused() -> None:
    x = torch.arange(6.0, device="cuda").view(2, 3)
    with pytest.raises(RuntimeError, match="at least two devices"):
        x.gather(1, torch.zeros(2, 1, dtype=torch.int64))


def test_waiting_is_noted_with_its_line() -> None:
    x = torch.ones(3, device="cuda")
    assert not RUNTIME.synchronisations
    for wait in (
        lambda: x.sum().item(),
        lambda: x[x > 0],
        lambda: x.cpu(),
        lambda: x.new_tensor([1.0]),
        lambda: bool(x[0]),
    ):
        before = len(RUNTIME.synchronisations)
        wait()
        (found,) = RUNTIME.synchronisations[before:]
        assert found.file == __file__
        assert found.line == wait.__code__.co_firstlineno


def test_looking_at_a_value_in_a_capture_is_refused() -> None:
    x, graph, side = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.cuda.graph(graph, stream=side),
    ):
        (x * 2).sum().item()


def test_a_pageable_copy_in_a_capture_is_refused() -> None:
    x, graph, side = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.cuda.graph(graph, stream=side),
    ):
        x.copy_(torch.zeros(3))


def test_a_capture_computes_nothing_and_a_replay_what_is_given_then() -> None:
    x = torch.ones(3, device="cuda")
    graph, result = captured(x)
    assert result.isnan().all()
    graph.replay()
    assert result.tolist() == [3, 3, 3]
    x.fill_(5)
    graph.replay()
    assert result.tolist() == [11, 11, 11]


def test_a_graph_of_memory_that_was_given_back_is_noticed() -> None:
    x = torch.ones(3, device="cuda")
    graph, _ = captured(x)
    graph.replay()
    del x
    with pytest.raises(GpuFaultError, match="given back since its capture"):
        graph.replay()


def test_a_stale_input_is_noticed() -> None:
    x, side = torch.ones(3, device="cuda"), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        made = x * 2
    with pytest.raises(GpuFaultError, match="stale input"):
        made + 1
    torch.cuda.current_stream().wait_stream(side)
    assert (made + 1).tolist() == [3, 3, 3]


def test_writing_what_another_stream_still_reads_is_noticed() -> None:
    x, side = torch.ones(3, device="cuda"), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        kept = x * 2
    with pytest.raises(GpuFaultError, match="no order between them"):
        x.zero_()
    side.synchronize()
    assert kept.tolist() == [2, 2, 2]


def test_memory_given_back_while_another_stream_uses_it_is_noticed() -> None:
    side = torch.cuda.Stream()
    for keeps in (True, False):
        x = torch.ones(3, device="cuda")
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            made = x * 2
        if keeps:
            x.record_stream(side)
        del x
        if keeps:
            torch.zeros(1, device="cuda")
        else:
            with pytest.raises(GpuFaultError, match="record_stream is missing"):
                torch.zeros(1, device="cuda")
        side.synchronize()
        del made


def test_pinned_memory_that_is_written_to_during_its_copy_is_noticed() -> None:
    source = torch.ones(3).pin_memory()
    there = source.to("cuda", non_blocking=True)
    assert not RUNTIME.synchronisations
    source.zero_()
    with pytest.raises(GpuFaultError, match="pinned memory was written to"):
        there.sum().item()


def test_numbers_read_before_they_have_arrived_are_nan() -> None:
    numbers, event = torch.empty(3, pin_memory=True), torch.cuda.Event()
    numbers.copy_(torch.ones(3, device="cuda"), non_blocking=True)
    event.record()
    assert np.isnan(numbers.numpy()).all()
    torch.zeros(1, device="cuda")  # work behind it, so that the GPU does not idle
    event.synchronize()
    assert numbers.tolist() == [1, 1, 1]
    assert not RUNTIME.synchronisations


def test_tf32_left_on_moves_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    exact = F.conv2d(x, weight)
    found = {}
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        found[allowed] = float((F.conv2d(x.cuda(), weight.cuda()).cpu() - exact).abs().max() / exact.abs().max())
    assert found[False] < 1e-6 < 1e-5 < found[True] < 1e-2
