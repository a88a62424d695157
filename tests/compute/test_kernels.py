"""Kernels are compiled wherever the package runs, also where nothing can be kept. Oracle: the processes' exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

MODULE = """
from numba import float64

from cpm_port.compute.kernels import kernel


@kernel(float64(float64))
def twice(x):
    return 2 * x


print(twice(4.0))
"""
NOWHERE = "import numba.core.caching as c\nc.CacheImpl._locator_classes = [c.UserProvidedCacheLocator]\n"
"""What numba finds where neither the source's folder nor the home may be written to."""


def run(tmp_path: Path, before: str = "", **environment: str) -> str:
    (tmp_path / "module.py").write_text(MODULE)
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{before}import module"
    variables = {**os.environ, "TMPDIR": str(tmp_path), **environment}
    variables.pop("NUMBA_CACHE_DIR", None)
    variables.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.stdout == "8.0\n", done.stderr
    return done.stderr


def test_machine_code_is_kept_beside_the_source(tmp_path: Path) -> None:
    run(tmp_path)
    assert list(tmp_path.glob("__pycache__/module.twice-*.nbc"))


def test_a_compilation_is_told_of_once_and_what_was_kept_is_not(tmp_path: Path) -> None:
    assert run(tmp_path).count("compiling loops for this processor, once") == 1
    assert "compiling" not in run(tmp_path)


def test_where_nothing_else_is_writable_it_is_kept_below_the_temporary_folder(tmp_path: Path) -> None:
    run(tmp_path, NOWHERE)
    (folder,) = tmp_path.glob("cpm_port-kernels-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.glob("*/module.twice-*.nbc"))


def spoil_mode(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)  # others might put their own machine code there


def spoil_kind(folder: Path) -> None:
    folder.write_text("a file")


def spoil_link(folder: Path) -> None:
    folder.symlink_to(folder.parent)


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_kind, spoil_link])
def test_a_temporary_folder_that_others_may_write_to_is_not_used(spoil, tmp_path: Path) -> None:
    folder = tmp_path / f"cpm_port-kernels-{os.getuid()}"
    spoil(folder)
    run(tmp_path, NOWHERE)
    assert not list(tmp_path.glob("**/*.nbc"))


def test_without_any_folder_it_compiles_all_the_same(tmp_path: Path) -> None:
    run(tmp_path, NOWHERE + "import tempfile\ntempfile.gettempdir = lambda: '/dev/null/none'\n")
    assert not list(tmp_path.glob("**/*.nbc"))


def test_what_is_kept_and_spoiled_is_compiled_anew(tmp_path: Path) -> None:
    run(tmp_path)
    for kept in tmp_path.glob("__pycache__/module.twice-*.nb*"):
        kept.write_bytes(kept.read_bytes()[:20])
    run(tmp_path)


def test_a_disk_that_takes_no_machine_code_does_not_matter(tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
    run(tmp_path, limit)
