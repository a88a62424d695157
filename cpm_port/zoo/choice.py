"""From the user's choice to the files of a model; and the list of all models, with what is known and what is installed.

Last step of the room. `resolve` is what every verb with `--model` calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from cpm_port.caffe import PLAIN_STATE, NetState
from cpm_port.errors import CpmPortError, MissingFileError, ModelFileError, UsageError
from cpm_port.evaluation.recorded import default_record
from cpm_port.files.digest import file_sha256
from cpm_port.parts import PartOrder
from cpm_port.zoo.entries import ENTRIES, GONE, ModelEntry, ModelScore, model_named, scores
from cpm_port.zoo.own import DESCRIPTION, OwnModel, read_own_model
from cpm_port.zoo.recognition import weight_bytes
from cpm_port.zoo.store import Installed, find_installed, model_folder, models_dir

__all__ = ["Choice", "describe", "describe_all", "own_choice", "resolve"]

_RECORDED = ("sha256", "bytes", "original_name", "recognised_by", "added")


class Choice(NamedTuple):
    """The files of a model, its entry where it is one of the zoo's, and what chooses the layers of its prototxt.

    Examples
    --------
    >>> from cpm_port.zoo import resolve
    >>> choice = resolve()
    >>> choice.entry.name, choice.net.name
    ('default', 'deploy.prototxt')
    """

    net: Path
    weights: Path
    entry: ModelEntry | None
    state: NetState = PLAIN_STATE

    @property
    def part_order(self) -> PartOrder | None:
        """The parts that a model of the user's own names; None where their number tells them."""
        return None if self.entry is None or self.entry.own_scores is None else self.entry.part_order


def resolve(
    model: str | None = None,
    net: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    state: NetState = PLAIN_STATE,
) -> Choice:
    """Return the files that a user asks for.

    Parameters
    ----------
    model : str, optional
        A name of the zoo or of a model of the user's own, or the folder of one (`own.py`).
    net, weights : path, optional
        The user's own prototxt and weights, given together and instead of a name. Where nothing is given at all, the
        default model is meant.
    state : NetState
        What chooses the layers of the user's own prototxt.

    Returns
    -------
    Choice
        The user's own files as given (their readers check that they exist); a zoo model's weights are there
        and are, by their SHA-256, those that were recorded.

    Raises
    ------
    UsageError
        A name besides files, one file without the other, an unknown name, or a state for one of the zoo's nets.
    MissingFileError
        The model's weights are not there; the message says what to do.
    ModelFileError
        They are not what was recorded.

    Examples
    --------
    >>> from cpm_port.zoo import resolve
    >>> resolve("default").weights.suffix
    '.caffemodel'
    """
    if model is not None and (net is not None or weights is not None):
        raise UsageError("give --model NAME, or --net PROTOTXT and --weights MODEL, not both")
    if (net is None) != (weights is None):
        raise UsageError("--net PROTOTXT and --weights MODEL belong together")
    if net is not None and weights is not None:
        return Choice(Path(net), Path(weights), None, state)
    if state != PLAIN_STATE:
        raise UsageError(
            "--phase, --level and --stage choose layers of your own --net; the zoo's nets have no such rules"
        )
    if model is not None and model not in ENTRIES and (folder := _own_folder(model)) is not None:
        return own_choice(read_own_model(folder), model)
    entry = model_named("default" if model is None else model)
    path = _embedded(entry) if entry.embedded else _installed(entry).weights
    _check_hash(path, _recorded_hash(entry))
    return Choice(entry.net, path, entry)


def own_choice(model: OwnModel, name: str) -> Choice:
    """Return the files of a model of the user's own, under the name that it is called by."""
    entry = ModelEntry(
        name,
        model.title,
        model.folder / model.net,
        model.order,
        (model.box, model.box),
        model.center_sigma,
        model.weights,
        sha256=model.sha256[model.weights],
        own_scores=tuple(_own_scores(model)),
    )
    return Choice(entry.net, model.folder / model.weights, entry)


def _own_folder(model: str) -> Path | None:
    """Return the folder of a model of the user's own: an installed one of that name, or the path itself."""
    candidates = [Path(model)] if Path(model).name != model else [models_dir() / model, Path(model)]
    return next((folder for folder in candidates if (folder / DESCRIPTION).is_file()), None)


def _own_scores(model: OwnModel) -> Iterator[ModelScore]:
    """Yield what the last training measured."""
    for record in model.history[-1:]:
        found = record.get("validation")
        if isinstance(found, Mapping):
            values = {"total": float(found.get("percent", "nan"))}
            words = f"{found.get('people')} people held out"
            protocol, threshold = str(found.get("protocol")), found.get("threshold")
            source = "the training itself, in its boxes at one scale"
            yield ModelScore(str(found.get("source")), words, protocol, threshold, values, "measured here", source)


def describe(entry: ModelEntry) -> dict[str, Any]:
    """Return all that is known of a model, as `cpm-port models --json` prints it."""
    state: dict[str, Any] = {"present": False, "problem": None, "sha256": entry.sha256, "bytes": None}
    path = entry.net.with_name(entry.file_name) if entry.embedded else model_folder(entry) / f"{entry.name}.caffemodel"
    try:
        if entry.embedded:
            state |= {"bytes": _embedded(entry).stat().st_size, "sha256": _check_hash(path, _recorded_hash(entry))}
        else:
            installed = _installed(entry)
            path = installed.weights
            state |= {name: value for name, value in asdict(installed).items() if name in _RECORDED}
        state["present"] = True
    except MissingFileError:
        pass
    except CpmPortError as error:
        state["problem"] = str(error)
    return {**_known(entry), "path": str(path), **state}


def _known(entry: ModelEntry) -> dict[str, Any]:
    """Return what is known of a model without looking for its weights."""
    return {
        "name": entry.name,
        "title": entry.title,
        "parts": len(entry.part_order),
        "part_order": entry.part_order.name,
        "box": {"height": entry.box[0], "width": entry.box[1]},
        "center_sigma": entry.center_sigma,
        "net": str(entry.net),
        "original_file": entry.file_name,
        "weight_bytes": weight_bytes(entry) if entry.net.is_file() else None,
        "scores": [asdict(score) for score in scores(entry)],
    }


def describe_all() -> list[dict[str, Any]]:
    """Return `describe` of every model, the default one first, then the user's own."""
    folders = sorted(path.parent for path in models_dir().glob(f"*/{DESCRIPTION}") if path.parent.name not in ENTRIES)
    return [*(describe(entry) for entry in ENTRIES.values()), *map(_describe_own, folders)]


def _describe_own(folder: Path) -> dict[str, Any]:
    """Return what `describe` does, of a model of the user's own."""
    try:
        choice = own_choice(read_own_model(folder), folder.name)
    except CpmPortError as error:
        return {"name": folder.name, "title": "your own", "path": str(folder), "present": False, "problem": str(error)}
    entry = choice.entry
    assert entry is not None
    return {
        **_known(entry),
        "path": str(choice.weights),
        "present": True,
        "problem": None,
        "sha256": entry.sha256,
        "bytes": choice.weights.stat().st_size,
    }


def _embedded(entry: ModelEntry) -> Path:
    """Return the weights that ship with the package."""
    path = entry.net.with_name(entry.file_name)
    for file in (entry.net, path):
        if not file.is_file():
            raise MissingFileError(
                f"this copy of the package lacks its {entry.name} model ({file}): give --net PROTOTXT and "
                "--weights MODEL, or an installed model with --model NAME (`cpm-port models` lists them)"
            )
    return path


def _installed(entry: ModelEntry) -> Installed:
    installed = find_installed(entry)
    if installed is None:
        raise MissingFileError(
            f"model {entry.name!r} is not installed: {model_folder(entry)} does not hold it. Bring {entry.file_name} "
            f"and run `cpm-port models add {entry.file_name}`; {GONE}"
        )
    return installed


def _recorded_hash(entry: ModelEntry) -> str | None:
    if entry.embedded:
        record = default_record()
        return None if record is None else str(record["weights"]["sha256"])
    return _installed(entry).sha256


def _check_hash(path: Path, recorded: str | None) -> str:
    """Return a file's SHA-256, which must be the recorded one where there is one."""
    found = file_sha256(path)
    if recorded not in (None, found):
        raise ModelFileError(f"{path}: its SHA-256 is {found}; {recorded} was recorded, so it has changed since")
    return found
