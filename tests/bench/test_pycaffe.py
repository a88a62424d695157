"""`bench pycaffe` compares equal maps and sees an edited weight. Oracle: its own parity check, spoiled on purpose."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cpm_port.bench import pycaffe as bench
from cpm_port.errors import ModelFileError

SMALL = ["--width", "16", "--box-size", "64", "--repeats", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    return parser.parse_args(SMALL)


def test_it_reports_both_sides_and_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench.run(arguments())
    assert set(result["medians"]) == {"ours", "load_net"}
    assert "edited in place" in result["parity"]
    times = {"ours": 1.06, "load_net": 1.0}
    monkeypatch.setattr(bench, "take_turns", lambda sides, repeats: {"medians": times, "spread": {}})
    assert bench.run(arguments())["missed"] == ["6.0 % more than load_net, at most 5 asked"]
    times["ours"] = 1.04
    assert bench.run(arguments())["missed"] == []


def test_maps_that_differ_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    right = bench._directly
    monkeypatch.setattr(bench, "_directly", lambda net, x: right(net, x) + np.float32(1))
    with pytest.raises(ModelFileError, match="off load_net's"):
        bench.run(arguments())


def test_an_edit_that_nobody_sees_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[np.ndarray] = []

    def frozen(net: object, x: np.ndarray) -> np.ndarray:
        first.append(right(net, x) if not first else first[0])
        return first[0]

    right = bench._as_old_code
    monkeypatch.setattr(bench, "_as_old_code", frozen)
    monkeypatch.setattr(bench, "_directly", lambda net, x: first[0] if first else frozen(net, x))
    with pytest.raises(ModelFileError, match="changes nothing"):
        bench.run(arguments())
