"""Where the files beside the code lie: `prototxt/`, `reference_results/` and `converters/`.

In a checkout they are folders at the top level; a wheel carries them inside the package (pyproject.toml maps them
there).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["load_converters", "resource_dir"]

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


def load_converters() -> ModuleType:
    """Import the `converters` folder as the module `cpm_port.converters`, wherever it lies."""
    name = "cpm_port.converters"
    if name in sys.modules:
        return sys.modules[name]
    folder = resource_dir("converters")
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
