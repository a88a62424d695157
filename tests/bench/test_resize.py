"""The resizing bench compares equal boxes. Oracles: its parity check, spoiled on purpose; sides that must differ."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from cpm_port.bench import resize
from cpm_port.errors import DataError

NAMES = {
    "ours",
    "ours, one thread",
    "ours, whole images",
    "NumPy, the release's steps",
    "Pillow, bicubic",
    "OpenCV, cubic",
    "OpenCV, area",
}


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    resize.configure(parser)
    return parser.parse_args(words)


def test_a_small_run_compares_and_times_every_side() -> None:
    result = resize.run(arguments("--sizes", "120x100", "--repeats", "1"))
    assert result["parity"] == "7 boxes, every byte, in 4 ways"
    assert set(result["medians"]) == {f"120 x 100, {name}" for name in NAMES}
    assert set(result["ratios"]) == {f"120 x 100, {name}" for name in NAMES - {"ours"}}
    pillow = result["medians"]["120 x 100, Pillow, bicubic"]
    assert result["ratios"]["120 x 100, Pillow, bicubic"] == pillow / result["medians"]["120 x 100, ours"]
    assert result["differing"]["120 x 100, OpenCV, cubic"]["percent"] > 1  # another kernel


def test_the_issues_sizes_are_the_default() -> None:
    assert arguments().sizes == ((360, 640), (1080, 1920))


def test_a_side_with_other_bytes_stops_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy_way = resize._numpy
    monkeypatch.setattr(resize, "_numpy", lambda *given: numpy_way(*given) ^ np.uint8(1))
    with pytest.raises(
        DataError, match='100 x 60: "NumPy, the release\'s steps" gives other bytes than ours, by up to 1'
    ):
        resize.run(arguments("--sizes", "100x60", "--repeats", "1"))
