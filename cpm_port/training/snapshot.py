"""Snapshots that Caffe can resume, and that resume our runs as if they had never stopped.

Flow: weights + optimizer history + where the run stands -> **three files**, or four, and back:

- `<prefix>_iter_<N>.caffemodel` (or `.caffemodel.h5`): the weights;
- `<prefix>_iter_<N>.solverstate` (or `.solverstate.h5`): iteration, rate step, history blobs, and the model's name;
- `<prefix>_iter_<N>.ema.caffemodel`: the moving average of the weights, where the run keeps one;
- `<solverstate>.json`: what Caffe's files have no place for (position in the data, seed, loss window, the model's
  SHA-256). Caffe never looks at it; a snapshot of Caffe's own has none.

Each file appears whole or not at all, the `.solverstate` last, and an older `.solverstate` of the same iteration goes
before its model is replaced; so does an older average where the run keeps none. So wherever a writer is killed, every
`.solverstate` belongs to the model beside it.

History blobs stand in the order of the net's learnable parameters; solvers with two per parameter (AdaDelta, Adam) have
all first ones, then all second ones.

Source: BVLC/caffe@9b891540 src/caffe/solver.cpp and sgd_solver.cpp (SnapshotFilename, SnapshotSolverState).
Differs: the model is looked for beside the `.solverstate` first, so a folder of snapshots may move; Caffe tries only
the name as written, from the working directory. The order of writing above is ours; Caffe writes in place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.caffe import (
    NetSpec,
    SolverSpec,
    SolverState,
    read_solverstate,
    read_weights,
    write_solverstate,
    write_weights,
)
from cpm_port.errors import CaffeFormatError, MissingFileError, TrainingError
from cpm_port.files.atomic import atomic_path, real_path
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json

__all__ = [
    "RunState",
    "Snapshot",
    "latest_snapshot",
    "read_latest_snapshot",
    "read_snapshot",
    "snapshot_path",
    "snapshot_prefix",
    "write_snapshot",
]

_SIDE_VERSION = 1


@dataclass(frozen=True)
class RunState:
    """Where a run stands, beyond Caffe's files; JSON values only.

    Attributes
    ----------
    recipe : str
        Which update rule filled the history: a solver type, or a preset's name.
    seed : int
        Of dropout and fillers.
    data : dict or None
        The data source's own state; None when it has none.
    losses : tuple of float
        The window of `average_loss`.
    reference_loss : float or None
        What an exploding loss is measured against.
    best : dict
        Best validation score so far and its iteration; empty without validation.
    """

    recipe: str
    seed: int
    data: Mapping[str, Any] | None = None
    losses: tuple[float, ...] = ()
    reference_loss: float | None = None
    best: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as read: everything but the weights, whose file it names.

    Attributes
    ----------
    iteration : int
        Updates made so far.
    current_step : int
        The rate policy's step counter.
    path : Path
        The `.solverstate` or `.solverstate.h5`.
    weights : Path
        The `.caffemodel` or `.caffemodel.h5`.
    history : tuple of ndarray, float32
    run : RunState or None
        None for a snapshot that Caffe wrote.
    averaged : Path or None
        The file of the averaged weights, where there is one.
    """

    iteration: int
    current_step: int
    path: Path
    weights: Path
    history: tuple[np.ndarray, ...]
    run: RunState | None
    averaged: Path | None = None


def snapshot_prefix(solver: SolverSpec) -> Path:
    """Return what a solver's snapshots are named after, as Caffe has it.

    It is the solver's `snapshot_prefix`; where that is a folder, the solver file's stem in that folder; where it is not
    set, the solver file without its suffix. A prefix that ends in a slash is a folder, there or not (Caffe stops where
    it is not there).

    Source: BVLC/caffe@9b891540 src/caffe/util/upgrade_proto.cpp, UpgradeSnapshotPrefixProperty.
    """
    given, source = solver.snapshot_prefix, Path(solver.source)
    if not given:
        return source.with_suffix("")
    return Path(given) / source.stem if given.endswith("/") or Path(given).is_dir() else Path(given)


def snapshot_path(prefix: str | os.PathLike[str], iteration: int, *, hdf5: bool = False) -> Path:
    """Return the path of the `.solverstate` of an iteration, named as Caffe names it."""
    return Path(f"{os.fspath(prefix)}_iter_{iteration}.solverstate{'.h5' if hdf5 else ''}")


def write_snapshot(
    prefix: str | os.PathLike[str],
    *,
    iteration: int,
    current_step: int,
    blobs: Mapping[str, Sequence[np.ndarray]],
    net: NetSpec,
    history: Sequence[np.ndarray],
    run: RunState,
    averaged: Mapping[str, Sequence[np.ndarray]] | None = None,
    hdf5: bool = False,
) -> Path:
    """Write a snapshot's three files; return the path of the `.solverstate`.

    Parameters
    ----------
    prefix : path-like
        The solver's `snapshot_prefix`; its folder is created.
    iteration, current_step : int
    blobs : mapping of layer name to arrays
        The weights.
    net : NetSpec
        The net that the model file describes.
    history : sequence of ndarray, float32
        In the order of the learnable parameters.
    run : RunState
    averaged : mapping of layer name to arrays, optional
        The moving average of the weights.
    hdf5 : bool
        The solver's `snapshot_format`.
    """
    state_path = snapshot_path(prefix, iteration, hdf5=hdf5)
    weights_path = _weights_path(state_path)
    averaged_path = _averaged_path(state_path)
    real_path(state_path).unlink(missing_ok=True)
    write_weights(weights_path, blobs, net)
    if averaged is None:
        real_path(averaged_path).unlink(missing_ok=True)  # of an earlier run: not these weights' average
    else:
        write_weights(averaged_path, averaged, net)
    side = {
        "version": _SIDE_VERSION,
        "iteration": iteration,
        "weights_sha256": file_sha256(weights_path),
        **asdict(run),
    }
    with atomic_path(_side_path(state_path)) as temporary:
        temporary.write_text(json.dumps(side, indent=1) + "\n", encoding="utf-8")
    state = SolverState(
        iter=iteration,
        learned_net=str(weights_path),
        current_step=current_step,
        history=[np.asarray(h) for h in history],
    )
    write_solverstate(state_path, state)
    return state_path


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read a `.solverstate` (ours or Caffe's) and what lies beside it.

    Raises
    ------
    MissingFileError
        The file, or the model that it names, is not there.
    CaffeFormatError
        It is no solver state.
    TrainingError
        The three files do not belong together.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such snapshot")
    state = read_solverstate(path)
    last = re.split(r"[/\\]", state.learned_net)[-1]  # Caffe on Windows writes backslashes
    candidates = [path.parent / Path(state.learned_net).name, path.parent / last, Path(state.learned_net)]
    weights = next((c for c in candidates if c.is_file()), None)
    if weights is None:
        raise MissingFileError(f"{path}: its model {state.learned_net!r} is neither beside it nor where it says")
    run = None
    if (side_path := _side_path(path)).is_file():
        run = _read_side(side_path, state.iter, weights)
    averaged = _averaged_path(path)
    found = averaged if averaged.is_file() else None
    return Snapshot(state.iter, state.current_step, path, weights, tuple(state.history), run, found)


def latest_snapshot(prefix: str | os.PathLike[str]) -> Path | None:
    """Return the `.solverstate` of the highest iteration under a `snapshot_prefix`, or None."""
    found = _snapshots(Path(prefix))
    return found[-1] if found else None


def _snapshots(prefix: Path) -> list[Path]:
    """Return every `.solverstate` under a `snapshot_prefix`, by iteration."""
    pattern = re.compile(re.escape(prefix.name) + r"_iter_(\d+)\.solverstate(\.h5)?")
    found = [
        (int(match[1]), path)
        for path in (prefix.parent.iterdir() if prefix.parent.is_dir() else ())
        if (match := pattern.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def read_latest_snapshot(prefix: str | os.PathLike[str]) -> Snapshot | None:
    """Read the snapshot of `latest_snapshot`, its weights too; None where there is none.

    Raises
    ------
    CaffeFormatError
        One of its files is cut, not there, or not of the others; the message says what to delete, and what the run goes
        on from then.
    """
    found = _snapshots(Path(prefix))
    if not found:
        return None
    *earlier, path = found
    try:
        snapshot = read_snapshot(path)
        for weights in filter(None, (snapshot.weights, snapshot.averaged)):
            read_weights(weights)
    except (CaffeFormatError, MissingFileError, TrainingError) as error:
        then = f"goes on from {earlier[-1].name}" if earlier else "begins anew"
        raise CaffeFormatError(
            f"the newest snapshot cannot be read: {error}; delete {path} and the same command {then}"
        ) from error
    return snapshot


def _read_side(side_path: Path, iteration: int, weights: Path) -> RunState:
    """Read the JSON beside a solver state and check that it belongs to both other files."""
    try:
        side = read_json(side_path)
        version, stated, digest = side.pop("version"), side.pop("iteration"), side.pop("weights_sha256")
        run = RunState(**{**side, "losses": tuple(side["losses"])})
        _check_types(run, digest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{side_path}: not the run state of a snapshot ({error!r})") from error
    if version != _SIDE_VERSION:
        raise TrainingError(f"{side_path}: version {version}, this package reads {_SIDE_VERSION}")
    if stated != iteration:
        raise TrainingError(f"{side_path}: of iteration {stated}, but its solver state is of {iteration}")
    if digest != (found := file_sha256(weights)):
        raise TrainingError(
            f"{weights}: SHA-256 is {found[:12]}…, the snapshot was written with {digest[:12]}…; "
            f"give the weights alone to start from them, or remove {side_path.name} to resume without our run state"
        )
    return run


def _check_types(run: RunState, digest: Any) -> None:
    """Raise TypeError for JSON values of other types than we write."""
    numbers = [*run.losses, *dict(run.best).values(), *([] if run.reference_loss is None else [run.reference_loss])]
    wrong = {
        "weights_sha256": not isinstance(digest, str),
        "recipe": not isinstance(run.recipe, str),
        "seed": type(run.seed) is not int,
        "data": not isinstance(run.data, dict | None),
        "best": not isinstance(run.best, dict),
        "losses, best and reference_loss": not all(type(number) in (int, float) for number in numbers),
    }
    if any(wrong.values()):
        raise TypeError(f"of another type than written: {', '.join(name for name in wrong if wrong[name])}")


def _weights_path(state_path: Path) -> Path:
    return state_path.with_name(state_path.name.replace(".solverstate", ".caffemodel"))


def _averaged_path(state_path: Path) -> Path:
    return state_path.with_name(state_path.name.replace(".solverstate", ".ema.caffemodel"))


def _side_path(state_path: Path) -> Path:
    return state_path.with_name(state_path.name + ".json")
