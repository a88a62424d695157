"""Claim: the augmentation bench checks parity before it times, and reports what it promises. Oracle: its own fields."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from cpm_port.bench import augment
from cpm_port.errors import DataError
from cpm_port.imaging import warp


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    augment.configure(parser)
    return parser.parse_args(["--repeats", "1", "--size", "64"])


def test_the_bench_reports_times_ratios_and_rates() -> None:
    found = augment.run(arguments())
    assert found["ratios"].keys() == found["targets"].keys()
    for name in ("resize x1.17", "turn 25 degrees"):
        medians = found["medians"]
        for peer in (f"{name}, cv2", f"{name}, cv2, IPP off"):
            assert found["ratios"][peer] == pytest.approx(medians[peer] / medians[f"{name}, ours"])
    for name, rate in found["examples_per_second"].items():
        assert rate == pytest.approx(1 / found["medians"][name])
        assert any(text.startswith(f"{name}: ") for text in found["missed"]) == (rate < 300)
    assert len(found["parity"]) == 5


def test_a_kernel_that_differs_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warp, "_resize_reference", lambda planes, scale: np.zeros((3, 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"resize x0\.8: the kernel differs from its readable twin"):
        augment.run(arguments())
