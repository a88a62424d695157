"""Files appear whole or not at all: write beside the target, then rename over it.

Used by everything in the package that writes a file, so that an interrupted run never leaves half a model or table
behind. What is written lies in a folder `.partial-*` beside the target until it is whole. The folder is locked while
its process lives; what a killed process left there goes when the next one writes beside it (on network drives whose
locks do not reach folders it stays).

Links are kept: the file that a link leads to is replaced, not the link. What is no regular file (a device, a pipe,
`/dev/stdout`) is written to as it stands, once the content is whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpm_port.errors import CpmPortError, UsageError, WriteError

__all__ = ["atomic_path", "partial_folder", "real_path", "require_writable_folder", "writing"]

_PREFIX = ".partial-"
_STALE = 3600.0  # seconds after which a plain file of that prefix, which has no lock, is nobody's
_MOST_LINKS = 40  # as Linux follows
_swept: set[str] = set()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file's path; on a clean exit it replaces `path`, on an error it is removed.

    Parameters
    ----------
    path : path-like
        The final file. Its folder is created where it is missing.

    Yields
    ------
    Path
        An empty file to write to (or to replace), of the same name in a folder of its own.

    Raises
    ------
    WriteError
        It cannot be written: no permission, a full disk, a folder of that name.
    """
    with writing(path):
        through, target = _destination(path)
        if not through:
            target.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(Path(tempfile.gettempdir()) if through else target.parent) as folder:
            temporary = folder / target.name
            temporary.touch(0o600)
            yield temporary
            if through:
                _write_through(temporary, target)
            else:
                temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
                os.replace(temporary, target)


@contextmanager
def writing(path: str | os.PathLike[str], *errors: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into a WriteError that names it.

    Parameters
    ----------
    path : path-like
        The file that the user asked for.
    errors : exception types
        What a library raises for a failed write, besides OSError. An OSError about some other file passes.
    """
    try:
        yield
    except CpmPortError:
        raise
    except OSError as error:
        if not _concerns(error, path):
            raise
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise WriteError(f"{error.filename or path}: {error.strerror}; expected a folder") from error
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    except errors as error:
        raise WriteError(f"{path}: cannot be written: {error}") from error


@contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder in `parent` that this process alone writes to; it goes at the end, also after an error."""
    _remove_abandoned(parent)
    folder, handle = _locked_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the file that is replaced when `path` is written: where links lead to."""
    return Path(os.path.realpath(path))


def require_writable_folder(path: str | os.PathLike[str]) -> None:
    """Refuse an output folder that cannot be written to, before the work begins; nothing is created yet.

    Raises
    ------
    UsageError
        The folder, or the nearest one above it that exists, is a file or may not be written to.
    """
    folder = Path(path).absolute()
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError(f"{path}: {nearest} is a file; expected a folder for the results")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: {nearest} may not be written to; expected a folder for the results")


def _destination(path: str | os.PathLike[str]) -> tuple[bool, Path]:
    """Return whether to write to the path as it stands, and where to write."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False, real_path(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    through = not stat.S_ISREG(mode) or _is_open_file(path)
    return through, Path(path) if through else real_path(path)


def _is_open_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path leads to a process's open file, as `/dev/stdout` does; another could not take its place."""
    place = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
        if not os.path.islink(place):
            return False
        if place.startswith("/proc/"):
            return True
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    return False


def _write_through(source: Path, target: Path) -> None:
    append = os.O_APPEND if target.is_file() else 0  # behind what was printed so far
    with source.open("rb") as content, open(os.open(target, os.O_WRONLY | append), "wb") as out:
        shutil.copyfileobj(content, out)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """Make a folder and lock it; return it and the handle that holds the lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another process took it for abandoned before it was locked
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # no locks here: then nothing is taken for abandoned either
            return folder, handle
        if os.fstat(handle).st_nlink:
            return folder, handle
        os.close(handle)


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes left in a folder; looked for once per folder and process."""
    place = os.path.realpath(parent)
    if place in _swept:
        return
    _swept.add(place)
    for left in Path(place).glob(f"{_PREFIX}*"):
        try:
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(left, ignore_errors=True)
            elif stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE:
                left.unlink(missing_ok=True)
        except OSError:  # locked: its process lives
            continue
        finally:
            os.close(handle)


def _concerns(error: OSError, path: str | os.PathLike[str]) -> bool:
    """Tell whether an error is about the file that is written or a folder above it, or names nothing."""
    named = [Path(os.path.abspath(os.fsdecode(name))) for name in (error.filename, error.filename2) if _is_name(name)]
    asked = {Path(os.path.abspath(path)), real_path(path)}
    above = asked.union(*(place.parents for place in asked))
    partial = any(part.startswith(_PREFIX) for name in named for part in name.parts)
    return not named or partial or not above.isdisjoint(named)


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes)


def _umask() -> int:
    """Return the process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
