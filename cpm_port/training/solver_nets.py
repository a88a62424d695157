"""The nets of a solver: the one that it trains and those that it tests, named by path or written inside.

Flow: solver prototxt -> **NetSpecs** -> the training loop, pycaffe's solvers.

A net may be given as `net` or `net_param` (both phases), `train_net` or `train_net_param`, and any number of
`test_net_param` and `test_net`, tested in that order; what `test_iter` counts beyond them are test nets out of `net` or
`net_param`. `train_state` and `test_state` (one for each test net, or none) choose among the nets' layers, on top of
the nets' own `state`.

Paths are looked for as `cpm_port.files.named` says.

Source: BVLC/caffe@9b891540 src/caffe/solver.cpp (InitTrainNet, InitTestNets).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpm_port.caffe import MessageView, NetSpec, SolverSpec, read_net
from cpm_port.caffe.netspec import spec_of
from cpm_port.errors import MissingFileError, TrainingError
from cpm_port.files.named import find_named

__all__ = ["locate", "testing_nets", "training_net"]


def locate(path: str | os.PathLike[str], named_in: str | os.PathLike[str]) -> Path:
    """Return where a path named in a file is: from the working directory, beside that file, or from a folder above it.

    Raises
    ------
    MissingFileError
        At none of these places.
    """
    folder = Path(named_in).parent
    found = find_named(os.fspath(path), folder)
    if found is None:
        raise MissingFileError(
            f"{named_in}: names {os.fspath(path)!r}, which is neither here nor at {folder / path}, nor above it"
        )
    return found


def training_net(solver: SolverSpec) -> NetSpec:
    """Return the TRAIN net that a solver names or holds, under the solver's `train_state`.

    Raises
    ------
    MissingFileError, CaffeFormatError, LayerError
        The net's file is absent, or no net.
    TrainingError
        The solver names no net.
    """
    params = solver.params
    inside = [(name, getattr(params, name)) for name in ("train_net_param", "net_param") if params.has(name)]
    path = solver.train_net or solver.net
    if path is None and not inside:
        raise TrainingError(f"{solver.source}: names no net to train")
    return _spec(solver, path or inside[0], "TRAIN", params.train_state)


def testing_nets(solver: SolverSpec) -> Iterator[tuple[NetSpec, int]]:
    """Yield a solver's TEST nets, each with its number of batches.

    Raises
    ------
    TrainingError
        Counts that do not fit each other, or no interval.
    """
    params, count = solver.params, len(solver.test_iter)
    if count and solver.test_interval <= 0:
        raise TrainingError(f"{solver.source}: test_iter without a positive test_interval")
    nets: list[str | tuple[str, MessageView]] = [("test_net_param", inside) for inside in params.test_net_param]
    nets += solver.test_nets
    both: str | tuple[str, MessageView] | None = solver.net
    if params.has("net_param"):
        both = ("net_param", params.net_param)
    if both is not None:
        nets += [both] * (count - len(nets))
    if len(nets) != count:
        raise TrainingError(f"{solver.source}: {count} test_iter for {len(nets)} test nets")
    states = params.test_state or (None,) * count
    if len(states) != count:
        raise TrainingError(f"{solver.source}: {len(states)} test_state for {count} test nets")
    for net, batches, state in zip(nets, solver.test_iter, states, strict=True):
        yield _spec(solver, net, "TEST", state), batches


def _spec(solver: SolverSpec, net: str | tuple[str, MessageView], phase: str, state: MessageView | None) -> NetSpec:
    """Return a net by its path, or by the field and message that hold it, in a state."""
    chosen: dict[str, Any] = {"phase": phase}
    if state is not None:
        chosen = {"phase": state.phase if state.has("phase") else phase, "level": state.level, "stages": state.stage}
    if isinstance(net, str):
        return read_net(locate(net, solver.source), **chosen)
    name, inside = net
    return spec_of(inside.message(), source=f"{solver.source}: {name}", **chosen)
