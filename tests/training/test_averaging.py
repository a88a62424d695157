"""The moving average of a run's weights. Oracles: the recurrence by hand; an unbroken run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_port.caffe import read_weights
from cpm_port.errors import UsageError
from cpm_port.training.averaging import WeightAverage
from cpm_port.training.loop import PeriodicMeasure
from cpm_port.training.snapshot import read_snapshot
from tests.training.support import golden_net, golden_trainer

pytestmark = pytest.mark.usefixtures("one_thread")
ROUNDING = 1e-6


def test_the_average_follows_its_recurrence() -> None:
    net = golden_net()
    average = WeightAverage(net, 0.5)
    name = next(iter(net.params))
    expected = net.params[name][0].detach().numpy().copy()
    for n in range(1, 20):
        with torch.no_grad():
            net.params[name][0].add_(1)
        average.update(n)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * net.params[name][0].detach().numpy()
    np.testing.assert_allclose(average.blobs()[name][0], expected, rtol=ROUNDING)


def test_the_net_has_the_average_inside_the_block_and_its_own_weights_after() -> None:
    net = golden_net()
    average = WeightAverage(net, 0.9)
    name = next(iter(net.params))
    before = net.params[name][0].detach().clone()
    with torch.no_grad():
        net.params[name][0].add_(1)
    with average.applied():
        assert torch.equal(net.params[name][0], before)
    assert torch.equal(net.params[name][0], before + 1)


def test_the_average_is_what_is_measured_and_the_run_goes_on_as_without_it(tmp_path: Path) -> None:
    plain = golden_trainer("sgd_step", tmp_path / "plain", max_iter=6)
    averaged = golden_trainer("sgd_step", tmp_path / "averaged", max_iter=6)
    averaged.average = WeightAverage(averaged.net, 0.9)
    name = next(iter(averaged.net.params))
    seen: list[np.ndarray] = []

    def measure(_: int) -> tuple[dict[str, float], str]:
        seen.append(averaged.net.params[name][0].detach().numpy().copy())
        return {}, ""

    averaged.evaluations = [PeriodicMeasure("validation", 0, False, measure)]
    plain.solve()
    averaged.solve()
    for key, tensor in plain.net.state_dict().items():
        assert torch.equal(tensor, averaged.net.state_dict()[key]), key
    np.testing.assert_array_equal(seen[0], averaged.average.blobs()[name][0])
    assert not np.array_equal(seen[0], averaged.net.params[name][0].detach().numpy())


def test_a_run_that_is_taken_up_has_the_average_of_one_that_never_stopped(tmp_path: Path) -> None:
    whole = golden_trainer("sgd_step", tmp_path / "whole", max_iter=8)
    whole.average = WeightAverage(whole.net, 0.9)
    whole.solve()
    first = golden_trainer("sgd_step", tmp_path / "parts", max_iter=8, snapshot_after_train=True)
    first.average = WeightAverage(first.net, 0.9)
    first.solver = replace(first.solver, max_iter=3)
    first.solve()
    snapshot = read_snapshot(first.last_snapshot or "")
    assert snapshot.averaged == tmp_path / "parts_iter_3.ema.caffemodel"
    second = golden_trainer("sgd_step", tmp_path / "parts", max_iter=8, snapshot_after_train=True)
    second.average = WeightAverage(second.net, 0.9)
    second.net.load_weights(snapshot.weights)
    second.restore(snapshot)
    second.solve()
    assert whole.average is not None
    for name, blobs in whole.average.blobs().items():
        for found, expected in zip(second.average.blobs()[name], blobs, strict=True):
            np.testing.assert_array_equal(found, expected)
        for stored, expected in zip(read_weights(tmp_path / "parts_iter_8.ema.caffemodel")[name], blobs, strict=True):
            np.testing.assert_array_equal(stored, expected)


def test_a_run_without_an_average_leaves_none_of_an_earlier_run(tmp_path: Path) -> None:
    first = golden_trainer("sgd_step", tmp_path / "run", max_iter=2, snapshot_after_train=True)
    first.average = WeightAverage(first.net, 0.9)
    first.solve()
    assert read_snapshot(first.last_snapshot or "").averaged is not None
    second = golden_trainer("sgd_step", tmp_path / "run", max_iter=2, snapshot_after_train=True)
    second.solve()
    assert second.last_snapshot == first.last_snapshot
    assert read_snapshot(second.last_snapshot or "").averaged is None


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 0 to below 1, got 1"):
        WeightAverage(golden_net(), 1.0)
