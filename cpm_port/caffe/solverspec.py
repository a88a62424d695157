"""SolverSpec: a solver prototxt as frozen Python values, with Caffe's defaults.

Paths stay as written: Caffe resolves them against the working directory, and so must the code that opens them.
*Source*: BVLC/caffe@9b89154 src/caffe/proto/caffe.proto (SolverParameter), src/caffe/util/upgrade_proto.cpp (the old
`solver_type`).

It knowingly differs: a file that gives the net in more than one way is refused when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cpm_port.caffe import dialects
from cpm_port.caffe.files import read_text
from cpm_port.caffe.schema import Message
from cpm_port.caffe.upgrade import upgrade_solver
from cpm_port.caffe.view import MessageView
from cpm_port.errors import CaffeFormatError, UsageError

__all__ = ["SolverSpec", "parse_solver", "read_solver", "with_changes", "with_train_state"]

_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")


@dataclass(frozen=True)
class SolverSpec:
    """A solver's fields, named as in Caffe; those without a default in Caffe's schema are 0 or empty where the file
    lacks them.

    Attributes
    ----------
    type : str
        "SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta" or "Adam".
    net, train_net : str or None
    test_nets : tuple of str
        `net` serves both phases; `train_net` and `test_net` (repeatable) one each. None or empty where the net stands
        in the file.
    clip_gradients : float
        Negative is off.
    random_seed : int
        Negative is unseeded.
    snapshot_format : {"BINARYPROTO", "HDF5"}
    params : MessageView
        The whole SolverParameter, upgraded, for fields that have no name here.
    source : str
        The file, for messages.
    notes : tuple of str
        Upgrades, and fields that the schema does not know.

    Examples
    --------
    >>> from cpm_port.caffe import parse_solver
    >>> solver = parse_solver("net: 'train.prototxt' base_lr: 0.1 lr_policy: 'fixed'")
    >>> solver.type, solver.momentum, solver.iter_size
    ('SGD', 0.0, 1)
    """

    type: str
    net: str | None
    train_net: str | None
    test_nets: tuple[str, ...]
    test_iter: tuple[int, ...]
    test_interval: int
    test_compute_loss: bool
    test_initialization: bool
    base_lr: float
    lr_policy: str
    gamma: float
    power: float
    stepsize: int
    stepvalue: tuple[int, ...]
    momentum: float
    momentum2: float
    rms_decay: float
    delta: float
    weight_decay: float
    regularization_type: str
    clip_gradients: float
    iter_size: int
    max_iter: int
    display: int
    average_loss: int
    snapshot: int
    snapshot_prefix: str
    snapshot_format: str
    snapshot_diff: bool
    snapshot_after_train: bool
    solver_mode: str
    device_id: int
    random_seed: int
    debug_info: bool
    weights: tuple[str, ...]
    params: MessageView
    source: str
    notes: tuple[str, ...]


def read_solver(path: str | os.PathLike[str], *, dialect: str | None = None) -> SolverSpec:
    """Read a solver prototxt.

    Raises
    ------
    MissingFileError, CaffeFormatError
        Where the file is absent; where it is no solver, or names its net twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.caffe import read_solver
    >>> from cpm_port.models import architecture, write_files
    >>> solver = write_files(architecture("mpi"), Path("nets"))[2]
    >>> read_solver(solver).lr_policy
    'step'
    """
    return parse_solver(read_text(path), source=os.fspath(path), dialect=dialect)


def parse_solver(text: str, *, source: str = "<string>", dialect: str | None = None) -> SolverSpec:
    """Parse a solver prototxt's text; as `read_solver`.

    Examples
    --------
    >>> from cpm_port.caffe import parse_solver
    >>> parse_solver("net: 'train.prototxt' base_lr: 0.1 lr_policy: 'fixed'").lr_policy
    'fixed'
    """
    parsed = dialects.parse_message(text, "SolverParameter", source=source, dialect=dialect)
    return _spec(parsed.message, source, [f"{source}:{unknown}" for unknown in parsed.unknown])


def with_changes(solver: SolverSpec, text: str, *, source: str = "<changes>") -> SolverSpec:
    """Return a solver with fields replaced by those of a prototxt's text; a repeated field is replaced whole.

    Raises
    ------
    CaffeFormatError
        The text is no solver's.
    UsageError
        It holds fields that the schema lacks, or names nets.
    """
    changes = parse_solver(text, source=source)
    given: Any = changes.params.message()
    names = [field.name for field, _ in given.ListFields()]
    fixed = [name for name in names if name in _NETS]
    if fixed or changes.notes:
        raise UsageError(f"{source} {text!r}: cannot change {', '.join(fixed) or '; '.join(changes.notes)}")
    message: Any = solver.params.message()
    for name in names:
        message.ClearField(name)
    message.MergeFrom(given)
    return _spec(message, solver.source, solver.notes)


def with_train_state(solver: SolverSpec, level: int, stages: Sequence[str]) -> SolverSpec:
    """Return a solver whose `train_state` has this level, unless it is 0, and further stages."""
    message: Any = solver.params.message()
    if level:
        message.train_state.level = level
    message.train_state.stage.extend(stages)
    return _spec(message, solver.source, solver.notes)


def _spec(message: Message, source: str, notes: Sequence[str]) -> SolverSpec:
    """Make a SolverSpec of a SolverParameter, which stays as it is."""
    try:
        message, upgrades = upgrade_solver(message)
    except CaffeFormatError as error:
        raise CaffeFormatError(f"{source}: {error}") from None
    given = [name for name in ("net", "net_param", "train_net", "train_net_param") if message.HasField(name)]
    if len(given) > 1:
        raise CaffeFormatError(f"{source}: the training net is given by {' and '.join(given)}; expected one of them")
    params = MessageView(message)
    values = {name: getattr(params, name) for name in SolverSpec.__dataclass_fields__ if name in _SAME_NAME}
    return SolverSpec(
        **values,
        net=params.net if params.has("net") else None,
        train_net=params.train_net if params.has("train_net") else None,
        test_nets=params.test_net,
        params=params,
        source=source,
        notes=(*notes, *upgrades),
    )


_SAME_NAME = frozenset(SolverSpec.__dataclass_fields__) - {"net", "train_net", "test_nets", "params", "source", "notes"}
