"""The checkout's folder: what is recorded belongs in the repository."""

from __future__ import annotations

from pathlib import Path

from cpm_port.errors import UsageError
from cpm_port.resources import resource_dir

__all__ = ["checkout"]


def checkout() -> Path:
    """Return the checkout's folder.

    Raises
    ------
    UsageError
        The package runs from an installation.
    """
    folder = resource_dir("reference_results").parent
    if not (folder / "pyproject.toml").is_file():
        raise UsageError(f"{folder} is no checkout: results are recorded, and reported, in the repository")
    return folder
