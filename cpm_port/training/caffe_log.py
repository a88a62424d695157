"""A run's lines as Caffe logs them, for the scripts that read its logs (`parse_log.py`, `parse_log.sh`, plots).

Flow: the loop's numbers -> **lines** -> the console. Every line of the log has glog's head, `I1129 14:50:33.381027
25210 solver.cpp:0] `. Those scripts look for the line with "Solving" (the start), "Iteration N, loss =" and "Iteration
N, lr =" with the number as the ninth word, "Train net output #", "Iteration N, Testing net (#K)" and "Test net
output #"; so no other line of this log says "Iteration ".

Conventions: numbers have six digits, as a C++ stream prints them.

Source: BVLC/caffe@9b89154 src/caffe/solver.cpp, solvers/sgd_solver.cpp (the words), tools/extra (what is read).
Differs: the loss line has no pace in brackets (Caffe's has since 2016, and its own `parse_log.sh` stumbles over it).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

__all__ = ["TEST_LOSS", "headed", "opening", "snapshot_lines", "test_lines", "told", "train_lines"]

TEST_LOSS = "Test loss"
"""What a test's total loss is called, where `test_compute_loss` asks for it."""


def headed(line: str) -> str:
    """Return a line with glog's head: level, date, time, thread, place."""
    now = datetime.now()
    return f"I{now:%m%d %H:%M:%S.%f} {threading.get_native_id():5d} solver.cpp:0] {line}"


def opening(net: str, policy: str) -> list[str]:
    """Return the lines that a run starts with; the first tells when."""
    return [f"Solving {net}", f"Learning Rate Policy: {policy}"]


def train_lines(
    iteration: int, loss: float, outputs: Mapping[str, Any], weights: Mapping[str, float], rate: float
) -> list[str]:
    """Return an iteration's lines: the smoothed loss, the net's outputs, the rate.

    Parameters
    ----------
    iteration : int
    loss : float
    outputs : mapping
        Name -> value or values, before the loss weights.
    weights : mapping
        Output -> its loss weight, for those that have one.
    rate : float
    """
    return [
        f"Iteration {iteration}, loss = {loss:g}",
        *(f"    Train net output {line}" for line in output_lines(outputs, weights)),
        f"Iteration {iteration}, lr = {rate:g}",
    ]


def test_lines(iteration: int, number: int, outputs: Mapping[str, Any], weights: Mapping[str, float]) -> list[str]:
    """Return the lines of a test of test net `number`; `outputs` and `weights` as of `train_lines`.

    What `outputs` has under `TEST_LOSS` is the total loss.
    """
    losses = [f"{TEST_LOSS}: {outputs[TEST_LOSS]:g}"] if TEST_LOSS in outputs else []
    named = {name: value for name, value in outputs.items() if name != TEST_LOSS}
    return [
        f"Iteration {iteration}, Testing net (#{number})",
        *losses,
        *(f"    Test net output {line}" for line in output_lines(named, weights)),
    ]


def snapshot_lines(state: str | os.PathLike[str]) -> list[str]:
    """Return the lines that name a snapshot's two files, by the path of its `.solverstate`."""
    state = os.fspath(state)
    kind = "HDF5 file" if state.endswith(".h5") else "binary proto file"
    folder, name = os.path.split(state)
    weights = os.path.join(folder, name.replace(".solverstate", ".caffemodel"))
    return [f"Snapshotting to {kind} {weights}", f"Snapshotting solver state to {kind} {state}"]


def output_lines(outputs: Mapping[str, Any], weights: Mapping[str, float]) -> Iterator[str]:
    """Yield `#K: name = value` for every number of the outputs, a loss with what it counts."""
    number = 0
    for name, values in outputs.items():
        for value in np.ravel(values).tolist():
            yield f"#{number}: {told(name, value, weights.get(name, 0.0))}"
            number += 1


def told(name: str, value: float, weight: float) -> str:
    """Return an output's value, and what a loss counts."""
    return f"{name} = {value:g}" + (f" (* {weight:g} = {weight * value:g} loss)" if weight else "")
