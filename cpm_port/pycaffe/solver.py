"""Solvers: pycaffe's `get_solver`, `SGDSolver` and the others, over this package's updates, rates and snapshots.

    solver = caffe.get_solver("solver.prototxt")
    solver.step(100)
    print(solver.net.blobs["loss"].data, solver.test_nets[0].blobs["accuracy"].data)
    solver.snapshot()

Every iteration: the test nets where their interval divides its number; `iter_size` forward and backward passes of
`solver.net`; the rate; the update; a snapshot where its interval divides the number of iterations done.

*Source*: BVLC/caffe@9b89154 src/caffe/solver.cpp (Step, Solve, Test, Snapshot), python/caffe/_caffe.cpp. Differs: after
an update `diff` still holds the gradient, where Caffe leaves the update. As in Caffe, a loss that is not finite ends
nothing, and data layers start anew at a resume; `cpm-port train` knows better.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.caffe import SolverSpec, SolverState, read_solver, write_solverstate
from cpm_port.pycaffe import modes
from cpm_port.pycaffe.net import Net, require_openable
from cpm_port.training.history import collect_history, restore_history
from cpm_port.training.lr_policy import Rate, learning_rate
from cpm_port.training.presets import recipe_of
from cpm_port.training.snapshot import read_snapshot, snapshot_path
from cpm_port.training.solver_nets import locate, testing_nets, training_net

__all__ = [
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "get_solver",
]


class Solver:
    """A solver over a solver prototxt.

    Parameters
    ----------
    param_file : path-like
    allow_python_layers : bool, optional
        As for `Net`.

    Attributes
    ----------
    net : Net
        In phase TRAIN.
    test_nets : list of Net
        They take the trained weights whenever they are tested.
    iter : int
        Iterations done.
    param : SolverParameter
        As the file says; a change of its `base_lr` counts from the next update on, other changes do not.

    Raises
    ------
    RuntimeError
        The solver's file or its net's is not there, or its fields contradict each other.
    """

    type: str | None = None
    """The update's kind; None: as the file says."""

    def __init__(self, param_file: str | os.PathLike[str], *, allow_python_layers: bool | None = None) -> None:
        require_openable(param_file)
        solver = read_solver(param_file)
        for note in solver.notes:
            modes.warn(note)
        self._solver: SolverSpec = solver if self.type is None else replace(solver, type=self.type)
        self.param: Any = solver.params.message()
        if solver.random_seed >= 0:
            modes.set_random_seed(solver.random_seed)
        self.net = Net(training_net(self._solver), allow_python_layers=allow_python_layers)
        tests = list(testing_nets(self._solver))
        self.test_nets = [Net(spec, allow_python_layers=allow_python_layers) for spec, _ in tests]
        self._test_batches = [batches for _, batches in tests]
        for path in self._solver.weights:
            self.net.copy_from(locate(path, self._solver.source))
        self.iter = 0
        self._current_step = 0
        self._infos = self.net.learnable
        self._optimizer, _ = recipe_of(self._solver, self._infos)
        self._losses: deque[float] = deque(maxlen=max(self._solver.average_loss, 1))
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return self._rate().value

    def _rate(self) -> Rate:
        return learning_rate(replace(self._solver, base_lr=self.param.base_lr), self.iter, self._current_step)

    def step(self, count: int) -> None:
        """Make so many iterations."""
        solver = self._solver
        for _ in range(count):
            tested = solver.test_interval > 0 and self.iter % solver.test_interval == 0
            if tested and (self.iter > 0 or solver.test_initialization):
                self._test_all()
            for before, _ready in self._callbacks:
                before()
            self.net.clear_param_diffs()
            last = len(self.net.layers) - 1
            loss = 0.0
            for _pass in range(solver.iter_size):
                loss += self.net._forward(0, last)
                self.net._backward(last, 0)
            self._losses.append(loss / solver.iter_size)
            if solver.display and self.iter % solver.display == 0:
                modes.log(f"Iteration {self.iter}, loss = {fmean(self._losses):.6g}, lr = {self.lr:.6g}")
            for _before, ready in self._callbacks:
                ready()
            self.apply_update()
            self.iter += 1
            if solver.snapshot and self.iter % solver.snapshot == 0:
                self.snapshot()

    def solve(self, resume_file: str | os.PathLike[str] | None = None) -> None:
        """Run to `max_iter`, from a `.solverstate` where one is given; then snapshot and test as the file says."""
        if resume_file is not None:
            self.restore(resume_file)
        solver = self._solver
        self.step(solver.max_iter - self.iter)
        if solver.snapshot_after_train and (not solver.snapshot or self.iter % solver.snapshot):
            self.snapshot()
        if solver.test_interval > 0 and self.iter % solver.test_interval == 0:
            self._test_all()

    def apply_update(self) -> None:
        """Update the parameters from their `diff`, at the rate of this iteration."""
        rate, self._current_step = self._rate()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for info in self._infos:
            info.tensor.grad = self.net.gradient_of(info.tensor)
        self._optimizer.set_iteration(self.iter)
        self._optimizer.step()
        for info in self._infos:
            info.tensor.grad = None

    def snapshot(self) -> None:
        """Write `<prefix>_iter_<iter>.caffemodel` and `.solverstate`, or their `.h5` where the file asks for HDF5."""
        prefix = self._solver.snapshot_prefix or Path(self._solver.source).with_suffix("")
        state = snapshot_path(prefix, self.iter, hdf5=self._solver.snapshot_format == "HDF5")
        weights = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
        self.net.save(weights)
        history = collect_history(self._optimizer, [info.tensor for info in self._infos])
        write_solverstate(state, SolverState(self.iter, str(weights), self._current_step, history))
        modes.log(f"Snapshotting to {weights} and {state}")

    def restore(self, state_file: str | os.PathLike[str]) -> None:
        """Go on from a `.solverstate` and the model that it names; data layers start anew, as in Caffe.

        Raises
        ------
        RuntimeError
            The files are not there, or belong to another net or kind of solver.
        """
        require_openable(state_file)
        found = read_snapshot(state_file)
        self.net.copy_from(found.weights)
        restore_history(self._optimizer, [info.tensor for info in self._infos], found.history, str(found.path))
        self.iter, self._current_step = found.iteration, found.current_step

    def add_callback(self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]) -> None:
        """Call one function before every iteration, and one between its gradients and its update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, other: Net) -> None:
        """Let the net's parameters be those of another one."""
        self.net.share_with(other)

    def _test_all(self) -> None:
        """Run every test net over its batches, with the trained weights, and report the means."""
        for number, (net, batches) in enumerate(zip(self.test_nets, self._test_batches, strict=True)):
            net.share_with(self.net)
            sums: dict[str, NDArray[np.float64]] = {}
            for _ in range(batches):
                for name, values in net.forward().items():
                    sums[name] = sums.get(name, np.zeros(values.shape)) + values
            for name, total in sums.items():
                mean = np.array2string(total / batches, precision=6, threshold=20)
                modes.log(f"Iteration {self.iter}, test net #{number}: {name} = {mean}")


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum, whatever type the file names."""

    type = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad."""

    type = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp."""

    type = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta."""

    type = "AdaDelta"


class AdamSolver(Solver):
    """Adam."""

    type = "Adam"


def get_solver(param_file: str | os.PathLike[str], *, allow_python_layers: bool | None = None) -> Solver:
    """Return the solver of the type that a solver prototxt names.

    Raises
    ------
    RuntimeError
        As `Solver`.
    """
    kinds = {kind.type: kind for kind in Solver.__subclasses__()}
    require_openable(param_file)
    return kinds.get(read_solver(param_file).type, Solver)(param_file, allow_python_layers=allow_python_layers)
