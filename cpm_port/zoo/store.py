"""The folder of installed models: one folder per model, with its weights and a `model.json` that says what they are.

`$CPM_PORT_MODELS`, or `cpm_port/models` in the user's data folder (`$XDG_DATA_HOME`, by default `~/.local/share`). In
it, `NAME/NAME.caffemodel` (`.caffemodel.h5` for an HDF5 file) and `NAME/model.json`. The record is written last: a
model is installed if it is there. A model's folder is locked while the model is installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cpm_port.caffe.kinds import HDF5_MAGIC
from cpm_port.errors import ModelFileError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json
from cpm_port.zoo.entries import ModelEntry
from cpm_port.zoo.recognition import recognise

__all__ = [
    "Installed",
    "add",
    "checked_sha256",
    "find_installed",
    "model_folder",
    "models_dir",
    "url_file_name",
]

_VARIABLE = "CPM_PORT_MODELS"


@dataclass(frozen=True)
class Installed:
    """What `model.json` says of an installed model.

    Attributes
    ----------
    name : str
        Of the model.
    file : str
        Name of the weights' file beside it.
    sha256 : str
    bytes : int
        Size of the file.
    original_name : str
        What the file was called before, or its address.
    recognised_by : str
        "layers and shapes", "file name" or "the user".
    added : str
        Date and time, UTC.

    Examples
    --------
    >>> from cpm_port.zoo import find_installed, model_named
    >>> installed = find_installed(model_named("mpii-6s"))
    >>> installed is None or installed.bytes > 0
    True
    """

    name: str
    file: str
    sha256: str
    bytes: int
    original_name: str
    recognised_by: str
    added: str

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return models_dir() / self.name / self.file


def models_dir() -> Path:
    """Return the folder of installed models; it may not exist yet.

    Examples
    --------
    >>> from cpm_port.zoo import models_dir
    >>> models_dir().is_absolute()
    True
    """
    if os.environ.get(_VARIABLE):
        return Path(os.environ[_VARIABLE]).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "cpm_port" / "models"


def model_folder(entry: ModelEntry) -> Path:
    """Return where a model is installed."""
    return models_dir() / entry.name


def find_installed(entry: ModelEntry) -> Installed | None:
    """Return what is installed of a model, its size checked; None where nothing is.

    Raises
    ------
    ModelFileError
        The record is broken, or the weights are not there or of another size.

    Examples
    --------
    >>> from cpm_port.zoo import find_installed, model_named
    >>> find_installed(model_named("default")) is None  # it ships with the package, and is not installed
    True
    """
    path = model_folder(entry) / "model.json"
    if not path.is_file():
        return None
    again = f"remove {path.parent} and add the model again"
    try:
        installed = Installed(**read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: not a model's record ({error}); {again}") from error
    if installed.name != entry.name or Path(installed.file).name != installed.file:
        raise ModelFileError(f"{path}: the record of {installed.name!r}, file {installed.file!r}; {again}")
    if not installed.weights.is_file():
        raise ModelFileError(f"{installed.weights}: is gone; {again}")
    size = installed.weights.stat().st_size
    if size != installed.bytes:
        raise ModelFileError(f"{installed.weights}: {size} bytes, {installed.bytes} when it was added; {again}")
    return installed


def add(
    path: str | Path, name: str | None = None, *, sha256: str | None = None, origin: str | None = None
) -> tuple[Installed, bool]:
    """Install an official model's file: recognise it, check it, copy it under its stable name.

    Parameters
    ----------
    path : path
        The file; it stays where it is.
    name : str, optional
        Which model it is, where its layers and its name do not say.
    sha256 : str, optional
        What its SHA-256 must be.
    origin : str, optional
        The address that it was fetched from.

    Returns
    -------
    installed : Installed
    new : bool
        False where this very file was installed already.

    Raises
    ------
    MissingFileError, ModelFileError, UsageError
        As `recognise`; ModelFileError also where the SHA-256 is not the expected one, or the file changes while it is
        copied; UsageError also where `sha256` is none, or another file is installed under the model's name.

    Examples
    --------
    >>> from cpm_port.zoo import add
    >>> add("pose_iter_985000_addLEEDS.caffemodel")  # where it is not there
    Traceback (most recent call last):
    ...
    cpm_port.errors.MissingFileError: pose_iter_985000_addLEEDS.caffemodel...
    """
    path = Path(path)
    called = path.name if origin is None else url_file_name(origin)
    sha256 = checked_sha256(sha256)
    entry, how = recognise(path, name, file_name=called)
    digest = file_sha256(path)
    for expected in (entry.sha256, sha256):
        if expected not in (None, digest):
            raise ModelFileError(f"{path}: its SHA-256 is {digest}, expected {expected}")
    with _alone(entry):
        installed = find_installed(entry)
        if installed is None:
            return _install(path, digest, entry, origin or called, how), True
    if installed.sha256 != digest:
        raise UsageError(
            f"{entry.name} is installed from another file ({installed.original_name}, SHA-256 {installed.sha256}); "
            f"remove {model_folder(entry)} first to replace it"
        )
    return installed, False


def checked_sha256(said: str | None) -> str | None:
    """Return a user's SHA-256 in lower case; UsageError where it is none."""
    if said is not None and re.fullmatch("[0-9a-fA-F]{64}", said) is None:
        raise UsageError(f"SHA-256 {said!r}: expected 64 hexadecimal digits")
    return None if said is None else said.lower()


def url_file_name(url: str) -> str:
    """Return the last part of an address's path."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


@contextmanager
def _alone(entry: ModelEntry) -> Iterator[None]:
    """Wait until no other process installs this model, and keep others waiting."""
    folder = model_folder(entry)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install(path: Path, digest: str, entry: ModelEntry, original_name: str, how: str) -> Installed:
    """Copy a file into the model's folder, whole or not at all, and write its record."""
    with path.open("rb") as file:
        suffix = ".caffemodel.h5" if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC else ".caffemodel"
    target = model_folder(entry) / f"{entry.name}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
        size = temporary.stat().st_size
        if file_sha256(temporary) != digest:
            raise ModelFileError(f"{path}: changed while it was copied; add it again when it is complete")
    added = datetime.now(UTC).isoformat(timespec="seconds")
    installed = Installed(entry.name, target.name, digest, size, original_name, how, added)
    with atomic_path(target.with_name("model.json")) as temporary:
        temporary.write_text(json.dumps(asdict(installed), indent=1) + "\n", encoding="utf-8")
    return installed
