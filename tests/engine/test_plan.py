"""Choosing ways: within the bound, never slower than need be. Oracle: trying every combination of a small problem."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_port.engine import plan as plans
from cpm_port.engine.fft import Pool, compiled
from cpm_port.engine.plan import ConvJob, Way, cache_file, choose, estimate, prepare, time_ways
from cpm_port.errors import UsageError

JOB = ConvJob(images=1, channels=16, outputs=32, kernel=9, height=46, width=46, rectify=True, pool=Pool())

way = st.builds(Way, st.integers(1, 64), st.floats(0.001, 1.0), st.integers(1, 100))
ways_of_a_layer = st.lists(way, max_size=4).map(lambda ways: [Way(0, 1.0, 0), *ways])


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 9), ways_of_a_layer, min_size=1, max_size=4), st.integers(0, 400))
def test_a_choice_keeps_the_bound_and_is_the_fastest_where_everything_fits(
    ways: dict[int, list[Way]], bound: int
) -> None:
    chosen = choose(ways, bound)
    assert chosen.keys() == ways.keys()
    assert all(chosen[key] in options for key, options in ways.items())
    assert sum(way.nbytes for way in chosen.values()) <= bound
    fastest = {key: min(way.seconds for way in options) for key, options in ways.items()}
    fits = min(
        sum(way.nbytes for way in combination)
        for combination in itertools.product(
            *([way for way in options if way.seconds == fastest[key]] for key, options in ways.items())
        )
    )
    if fits <= bound:
        assert {key: way.seconds for key, way in chosen.items()} == fastest


def test_the_step_that_costs_least_per_byte_comes_first() -> None:
    ways = {
        "slow to do without": [Way(0, 1.0, 0), Way(32, 0.1, 100)],
        "cheap to do without": [Way(0, 0.3, 0), Way(32, 0.1, 100)],
        "with a middle way": [Way(0, 1.0, 0), Way(32, 0.12, 40), Way(64, 0.1, 100)],
    }
    assert [way.size for way in choose(ways, 300).values()] == [32, 32, 64]
    assert [way.size for way in choose(ways, 299).values()] == [32, 32, 32]
    assert [way.size for way in choose(ways, 200).values()] == [32, 0, 32]
    assert [way.size for way in choose(ways, 0).values()] == [0, 0, 0]


def test_estimates_are_the_same_every_time_and_begin_with_the_direct_way() -> None:
    ways = estimate(JOB, 1 << 27)
    assert ways == estimate(JOB, 1 << 27)
    assert ways[0].size == 0
    assert ways[0].nbytes == 0
    assert {way.size for way in ways[1:]} == {16, 24, 32, 36, 48, 64}


def test_tiles_that_the_workspace_cannot_hold_are_no_way() -> None:
    assert [way.size for way in estimate(JOB, 1000)] == [0]
    assert max(way.size for way in estimate(JOB, 1 << 19)) < 64


def test_outputs_that_are_no_multiple_of_a_vector_go_directly() -> None:
    job = ConvJob(1, 16, 15, 9, 46, 46, False, Pool())
    assert [way.size for way in estimate(job, 1 << 27)] == [0]


def test_times_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "times.json"
    first = time_ways(JOB, 1 << 27, file)
    assert all(way.seconds > 0 for way in first)
    monkeypatch.setattr(plans, "_time", lambda *_: pytest.fail("measured again"))
    assert time_ways(JOB, 1 << 27, file) == first


def test_times_that_cannot_be_kept_are_an_error_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_time", lambda *_: 0.5)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"kept in .*file/times\.json, which cannot be written"):
        time_ways(JOB, 1 << 27, tmp_path / "file" / "times.json")


@pytest.mark.skipif(not compiled(), reason="only compiled kernels pack weights")
def test_what_a_pointwise_convolution_takes_is_what_its_estimate_says() -> None:
    way = estimate(ConvJob(1, 20, 15, 1, 46, 46, False, Pool()), 1 << 27)[1]
    assert way.nbytes == prepare(torch.randn(15, 20, 1, 1), None, way.size).nbytes


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', '{"a": {"b": {"32": "fast"}}}', '{"a": {"b": {"32": NaN}}}']
)
def test_a_spoilt_file_of_times_is_replaced(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "times.json"
    file.write_text(content)
    monkeypatch.setattr(plans, "_time", lambda *_: 0.5)
    assert all(way.seconds == 0.5 for way in time_ways(JOB, 1 << 27, file))
    written = json.loads(file.read_text())
    assert len(written) == 1
    assert "a" not in written


def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "cpm_port" / "convolution_times.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_file() == tmp_path / ".cache" / "cpm_port" / "convolution_times.json"
