"""File names as text: a system's names are bytes, of which not all are UTF-8."""

from __future__ import annotations

import os

__all__ = ["printable"]


def printable(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that every file and terminal takes: what is not UTF-8 as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
