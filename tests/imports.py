"""Which module of the package imports which, read from the source: what `tests/test_house.py` draws its arrows from.

Every import of a file counts, wherever it stands: at the top, in a function, under `TYPE_CHECKING`, and by name at run
time: `import_module(f"cpm_port.cli.{verb}")` imports whatever fits `cpm_port.cli.*`, and a string that is a module's
whole name (as in `python -m cpm_port.demo`) imports that module. A call whose name cannot be read so is an error.

What does not count: that importing `cpm_port.graph.net` runs `cpm_port/graph/__init__.py` first, for a package always
comes before its modules.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support import ROOT

__all__ = ["circles", "imports_of", "modules", "room_of"]

BY_NAME = {"__import__", "import_module", "exec_module", "run_module", "run_path", "spec_from_file_location"}
ROOT_NAME = "cpm_port"


def modules() -> dict[str, Path]:
    """Return every module of the package: its dotted name -> its file."""
    files = sorted((ROOT / ROOT_NAME).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return dict(zip(names, files, strict=True))


def room_of(module: str) -> str:
    """Return a module's room: `caffe` of `cpm_port.caffe.text`; `cpm_port` of the package's own `__init__`."""
    return module.split(".")[1] if "." in module else module


def imports_of(module: str, source: str, known: set[str]) -> set[str]:
    """Return which of the `known` modules a module's source imports.

    Raises
    ------
    AssertionError
        It imports by a name that only running it would tell.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}, line {node.lineno}: a relative import; expected the module's whole name"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else str(node.module))
        elif isinstance(node, ast.Call) and _called(node) in BY_NAME:
            pattern = _pattern(node.args[0] if node.args else None, module)
            assert pattern is not None, f"{module}, line {node.lineno}: imports by a name that cannot be read"
            found |= {name for name in known if re.fullmatch(pattern, name)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found.add(node.value)
    return (found & known) - {module}


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _pattern(name: ast.expr | None, module: str) -> str | None:
    """Return a regular expression for the names that a string or f-string may become; None for anything else."""
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return re.escape(name.value)
    if not isinstance(name, ast.JoinedStr):
        return None
    pattern = ""
    for part in name.values:
        if isinstance(part, ast.Constant):
            pattern += re.escape(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            own = isinstance(part.value, ast.Name) and part.value.id == "__name__"
            pattern += re.escape(module) if own else r"\w+"
    return pattern if pattern.startswith(ROOT_NAME) else None


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, sorted; none where imports flow one way (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        open_.append(module)
        for other in sorted(imports[module]):
            if other not in order:
                visit(other)
            if other in open_:
                low[module] = min(low[module], low[other])
        if low[module] == order[module]:
            start = open_.index(module)
            groups.append(sorted(open_[start:]))
            del open_[start:]

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return sorted(group for group in groups if len(group) > 1)
