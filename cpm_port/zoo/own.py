"""Models of one's own: a folder that says what its weights are. `--model` takes the folder, or the name that it got.

The folder holds `model.json`, `deploy.prototxt` and the weights (and whatever its maker left there besides).
`model.json` has

- `parts`, `flip_pairs`, `skeleton`: as in annotation files (`annotations/genjson.py`);
- `box`: side of the input, px; `center_sigma`: of the center map, box px;
- `net`, `weights`: the two files' names, and `sha256` of each;
- `title`, and `history`: how it came about, a record for each training, the last one last. A record's `validation` has
  `source`, `people`, `protocol`, `threshold` and `percent`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpm_port.annotations.genjson import own_order
from cpm_port.errors import DataError, ModelFileError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json
from cpm_port.parts import PartOrder

__all__ = ["DESCRIPTION", "OwnModel", "install_own_model", "read_own_model", "write_own_model"]

DESCRIPTION = "model.json"
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class OwnModel:
    """What a model's folder says.

    Attributes
    ----------
    folder : Path
    order : PartOrder
        The parts in the order of the maps, their counterparts and their skeleton.
    box : int
        Side of the input, px.
    center_sigma : float
        Of the center map, box px.
    title : str
        What it is, in words.
    history : sequence of mapping
        How it came about (see the module).
    net, weights : str
        Names of its files.
    sha256 : mapping of str to str
        Of these files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.parts import CPM14
    >>> from cpm_port.zoo import OwnModel
    >>> OwnModel(Path("own"), CPM14, box=184, center_sigma=10.5, title="climbers").weights
    'weights.caffemodel'
    """

    folder: Path
    order: PartOrder
    box: int
    center_sigma: float
    title: str
    history: Sequence[Mapping[str, Any]] = ()
    net: str = "deploy.prototxt"
    weights: str = "weights.caffemodel"
    sha256: Mapping[str, str] = field(default_factory=dict)


def write_own_model(model: OwnModel) -> Path:
    """Write a folder's `model.json`; its net and weights must be there. Return the file's path.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.parts import CPM14
    >>> from cpm_port.zoo import OwnModel, write_own_model
    >>> model = OwnModel(Path("."), CPM14, box=184, center_sigma=10.5, title="climbers")
    >>> for name in (model.net, model.weights):  # yours
    ...     Path(name).touch()
    >>> write_own_model(model).name
    'model.json'
    """
    content = {
        "format": _FORMAT,
        "title": model.title,
        "parts": model.order.parts,
        "flip_pairs": model.order.pairs,
        "skeleton": model.order.limbs,
        "box": model.box,
        "center_sigma": model.center_sigma,
        "net": model.net,
        "weights": model.weights,
        "sha256": {name: file_sha256(model.folder / name) for name in (model.net, model.weights)},
        "history": list(model.history),
    }
    path = model.folder / DESCRIPTION
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def read_own_model(folder: Path) -> OwnModel:
    """Read a model's folder.

    Raises
    ------
    MissingFileError
        There is no `model.json` in it.
    ModelFileError
        It is none of ours, or a file that it names is not there or has changed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.zoo import read_own_model
    >>> read_own_model(Path("nowhere"))
    Traceback (most recent call last):
    ...
    cpm_port.errors.MissingFileError: nowhere/model.json: no such file
    """
    path = folder / DESCRIPTION
    content = read_json(path)
    wrong = f"{path}: not the description of a model of ours"
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelFileError(f"{wrong}; this package reads format {_FORMAT}")
    try:
        order = own_order(content, str(path))
    except DataError as error:
        raise ModelFileError(str(error)) from error
    if order is None:
        raise ModelFileError(f"{path}: names no parts")
    try:
        model = OwnModel(
            folder,
            order,
            int(content["box"]),
            float(content["center_sigma"]),
            str(content["title"]),
            [dict(record) for record in content["history"]],
            str(content["net"]),
            str(content["weights"]),
            {str(name): str(digest) for name, digest in content["sha256"].items()},
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ModelFileError(f"{wrong} ({error!r:.120})") from error
    for name in (model.net, model.weights):
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ModelFileError(f"{path}: names {name!r}, which is not beside it")
        if file_sha256(file) != model.sha256.get(name):
            raise ModelFileError(f"{file}: its SHA-256 is {file_sha256(file)}, {path} says {model.sha256.get(name)}")
    return model


def install_own_model(folder: Path, name: str, models: Path, taken: Sequence[str]) -> tuple[OwnModel, bool]:
    """Copy a model's folder into the folder of installed models, under a name; say whether it is new there.

    Parameters
    ----------
    folder : Path
    name : str
        Letters, digits, dots, dashes and underscores.
    models : Path
        The folder of installed models.
    taken : sequence of str
        Names that mean other models.

    Raises
    ------
    UsageError
        The name is taken, or cannot be one.
    MissingFileError, ModelFileError
        As of `read_own_model`.
    """
    if not _NAME.fullmatch(name) or name in taken:
        why = "it is a model of the package's own list" if name in taken else "letters, digits, '.', '-', '_' expected"
        raise UsageError(f"--as {name}: {why}")
    model, target = read_own_model(folder), models / name
    if (target / DESCRIPTION).exists():
        there = read_own_model(target)
        if there.sha256 == model.sha256:
            return there, False
        raise UsageError(f"{name} is installed already, from another folder; remove {target} first to replace it")
    for file in [*(path for path in folder.iterdir() if path.suffix == ".onnx"), *map(folder.joinpath, model.sha256)]:
        with atomic_path(target / file.name) as temporary:
            shutil.copyfile(file, temporary)
    with atomic_path(target / DESCRIPTION) as temporary:
        shutil.copyfile(folder / DESCRIPTION, temporary)
    return read_own_model(target), True
