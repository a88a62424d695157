"""Where a file is that another file names: Caffe's paths are relative to the folder that Caffe was started in.

Conventions: a path is looked for from the root (the working directory), then from the folder of the file that names it,
then from the folders above that one, nearest first: one of those is where Caffe was started. The file system's own root
is not among them. Windows' backslashes are read as slashes where nothing bears them in its name.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_named"]


def find_named(name: str, folder: Path, root: Path | None = None) -> Path | None:
    """Return the file or folder that a name means, None where there is nothing.

    Parameters
    ----------
    name : str
        As written.
    folder : Path
        Where the file lies that names it.
    root : Path, optional
        Where it is looked for first; the working directory by default.
    """
    if not name:
        return None
    above = [one for one in folder.resolve().parents if one != one.parent]
    folders = [root or Path(), folder, *above]
    slashed = name.replace("\\", "/")
    candidates = [one / spelled for spelled in dict.fromkeys((name, slashed)) for one in folders]
    return next((candidate for candidate in candidates if candidate.exists()), None)
