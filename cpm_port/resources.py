"""Where the files beside the code lie: `prototxt/`, `reference_results/` and `converters/`.

In a checkout they are folders at the top level; a wheel carries them inside the package (pyproject.toml maps them
there).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource_dir"]

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder `name`, from the installed package or from the checkout around it.

    Raises
    ------
    FileNotFoundError
        Neither place holds it: the installation is broken.
    """
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"resource folder {name!r}: neither in {_PACKAGE} nor beside it; reinstall cpm_port")
