"""What the training tests share: the nets and data of `tests/golden/caffe/solver`, and a source of arrays in memory."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from cpm_port.caffe import SolverSpec, read_net, read_solver
from cpm_port.compute.devices import World
from cpm_port.graph import CaffeNet, load_net
from cpm_port.training.loop import Trainer
from cpm_port.training.objective import Objective
from cpm_port.training.presets import recipe_of
from cpm_port.training.progress import Progress
from tests.support import GOLDEN, ROOT

SOLVERS = GOLDEN / "caffe" / "solver"
CPU = World(0, 1, torch.device("cpu"))


class ArraySource:
    """Arrays in order, wrapping around, as Caffe's HDF5Data layer gives them."""

    def __init__(self, arrays: Mapping[str, np.ndarray], batch: int) -> None:
        self.arrays = arrays
        self.batch = batch
        self.position = 0
        self.count = len(next(iter(arrays.values())))

    def _rows(self, start: int) -> list[int]:
        return [(start + i) % self.count for i in range(self.batch)]

    def next_batch(self) -> dict[str, np.ndarray]:
        rows = self._rows(self.position)
        self.position += self.batch
        return {name: array[rows] for name, array in self.arrays.items()}

    def skip(self, batches: int) -> None:
        self.position += batches * self.batch

    def state(self) -> dict[str, Any]:
        return {"position": self.position}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]

    def describe_last(self) -> list[str]:
        return [f"row {row}" for row in self._rows(self.position - self.batch)]


def golden_arrays() -> dict[str, np.ndarray]:
    with h5py.File(SOLVERS / "train.h5") as file:
        return {name: file[name][:] for name in ("data", "label")}


def golden_net() -> CaffeNet:
    arrays = golden_arrays()
    spec = read_net(SOLVERS / "train.prototxt", phase="TRAIN")
    shapes = {name: (2, *array.shape[1:]) for name, array in arrays.items()}
    return load_net(spec, SOLVERS / "init.caffemodel", input_shapes=shapes)


def golden_trainer(variant: str, prefix: Path, **solver_fields: Any) -> Trainer:
    """Return the trainer of one of Caffe's own runs, snapshots off unless asked for."""
    solver = read_solver(SOLVERS / f"{variant}.solver.prototxt")
    return make_trainer(replace(solver, **{"snapshot": 0, "display": 0, **solver_fields}), golden_net(), prefix)


def make_trainer(
    solver: SolverSpec, net: CaffeNet, prefix: Path, *, arrays: Mapping[str, np.ndarray] | None = None, **fields: Any
) -> Trainer:
    optimizer, schedule = recipe_of(solver, net.param_info())
    return Trainer(
        solver=solver,
        net=net,
        optimizer=optimizer,
        schedule=schedule,
        source=ArraySource(golden_arrays() if arrays is None else arrays, 2),
        **{
            "recipe": solver.type,
            "prefix": prefix,
            "progress": Progress(),
            "world": CPU,
            "objective": Objective(net),
            **fields,
        },
    )


def start_node(node: int, nodes: int, processes: int, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start `cpm_port train` under torchrun, as on one of several machines; they meet at a port of this one."""
    meeting = ["--standalone"]
    if nodes > 1:
        meeting = ["--nnodes", str(nodes), "--node-rank", str(node), "--master-addr", "127.0.0.1"]
        meeting += ["--master-port", str(_meeting_port(os.getpid()))]
    launcher = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*launcher, "-m", "cpm_port", "train", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@functools.cache
def _meeting_port(_process: int) -> int:
    """Return a port that was free a moment ago, one for each process of the tests."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
