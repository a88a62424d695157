"""Scoring a million joints at fifty thresholds, beside a plain Python loop and NumPy.

Timed, from coordinates to hits per threshold and part (62 500 people of 16 joints):

- `ours`: `cpm_port.evaluation.pck.pck`, its checks included;
- `numpy, searchsorted`: each error's first threshold by binary search, one `bincount` per part, summed up: the fastest
  way found in NumPy;
- `numpy, comparing`: the errors compared with every threshold in turn, as most evaluation scripts do;
- `plain python`: the loop written out, over lists (timed once: it takes seconds).

First, all four must give the same counts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.bench._timing import take_turns
from cpm_port.errors import DataError
from cpm_port.evaluation.pck import pck

__all__ = ["configure", "run"]

_PARTS, _THRESHOLDS = 16, 50
_TARGETS = {"plain python": 20.0, "numpy, searchsorted": 1.0, "numpy, comparing": 1.0}
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=7, help="timed turns per side (default: %(default)s)")
    parser.add_argument("--joints", type=int, default=1_000_000, help="joints to score (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time the four ways to count, and return medians, spread and ratios."""
    draw = np.random.default_rng(50)
    people = max(args.joints // _PARTS, 1)
    truth = 400 * draw.random((people, _PARTS, 2))
    predicted = truth + 20 * draw.standard_normal(truth.shape)
    normalizer = draw.uniform(60, 180, people)
    thresholds = np.arange(1, _THRESHOLDS + 1) / 100
    data = (predicted, truth, normalizer, thresholds)

    as_lists: list[Any] = [array.tolist() for array in data]
    start = time.perf_counter()
    plain = _plain(*as_lists)
    plain_seconds = time.perf_counter() - start
    expected = np.array(plain, dtype=np.int64)
    sides: dict[str, Callable[[], Counts]] = {
        "ours": lambda: pck(*data)[0],
        "numpy, searchsorted": lambda: _searching(*data),
        "numpy, comparing": lambda: _comparing(*data),
    }
    for name, side in sides.items():
        if not np.array_equal(side(), expected):
            raise DataError(f"{name!r} counts other hits than the plain loop")
    timed = take_turns(sides, args.repeats)
    medians = {**timed["medians"], "plain python": plain_seconds}
    return {
        "joints": people * _PARTS,
        "thresholds": _THRESHOLDS,
        "repeats": args.repeats,
        "parity": f"{expected.size} counts, {int(expected.sum())} hits, equal in all four",
        "medians": medians,
        "spread": {**timed["spread"], "plain python": [plain_seconds, plain_seconds]},
        "ratios": {side: medians[side] / medians["ours"] for side in medians if side != "ours"},
        "targets": _TARGETS,
    }


def _plain(
    predicted: list[list[list[float]]],
    truth: list[list[list[float]]],
    normalizer: list[float],
    thresholds: list[float],
) -> list[list[int]]:
    hits = [[0] * len(truth[0]) for _ in thresholds]
    for guesses, places, length in zip(predicted, truth, normalizer, strict=True):
        for part, ((px, py), (tx, ty)) in enumerate(zip(guesses, places, strict=True)):
            dx, dy = px - tx, py - ty
            error = math.sqrt(dx * dx + dy * dy) / length
            for t, threshold in enumerate(thresholds):
                if error <= threshold:
                    hits[t][part] += 1
    return hits


def _errors(predicted: Floats, truth: Floats, normalizer: Floats) -> Floats:
    dx = predicted[..., 0] - truth[..., 0]
    dy = predicted[..., 1] - truth[..., 1]
    return np.asarray(np.sqrt(dx * dx + dy * dy) / normalizer[:, None])


def _searching(predicted: Floats, truth: Floats, normalizer: Floats, thresholds: Floats) -> Counts:
    first = np.searchsorted(thresholds, _errors(predicted, truth, normalizer))
    bins = [np.bincount(first[:, part], minlength=len(thresholds) + 1)[:-1] for part in range(first.shape[1])]
    return np.cumsum(np.stack(bins, axis=1), axis=0)


def _comparing(predicted: Floats, truth: Floats, normalizer: Floats, thresholds: Floats) -> Counts:
    errors = _errors(predicted, truth, normalizer)
    return np.stack([(errors <= threshold).sum(axis=0) for threshold in thresholds])
