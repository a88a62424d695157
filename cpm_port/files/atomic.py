"""Files appear whole or not at all: write beside the target, then rename over it.

Used by everything in the package that writes a file, so that an interrupted run never leaves half a model or table
behind.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpm_port.errors import UsageError

__all__ = ["atomic_path", "require_writable_folder"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file's path in `path`'s folder; on a clean exit it replaces `path`, on an error it is removed.

    Parameters
    ----------
    path : path-like
        The final file. Its folder is created where it is missing. The temporary name keeps the suffixes, so that
        writers that look at them (NumPy, OpenCV) see the right one.

    Yields
    ------
    Path
        An empty file to write to (or to replace).
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix="".join(target.suffixes)[-40:], dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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


def _umask() -> int:
    """Return the process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
