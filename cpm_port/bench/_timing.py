"""Timing that the benches share: the sides take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["take_turns"]


def take_turns(sides: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, Any]]:
    """Run each side once to warm up, then all in turn, `repeats` times.

    Returns
    -------
    dict
        `medians` (seconds) and `spread` ([fastest, slowest]) per side.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            gc.collect()
            start = time.perf_counter()
            kept = side()
            elapsed = time.perf_counter() - start
            del kept
            if turn:
                times[name].append(elapsed)
    return {
        "medians": {name: statistics.median(values) for name, values in times.items()},
        "spread": {name: [min(values), max(values)] for name, values in times.items()},
    }
