"""`kernel`: numba's compiler for one function, with its machine code kept between runs wherever that can be.

numba keeps what it compiles beside the source file, or in the user's cache folder, and refuses to compile where it may
write to neither: in containers that run as an arbitrary user, on clusters whose home is read-only. Then a folder of the
user's own below the temporary one is taken; where that cannot be either, or the disk is full, the function is compiled
anew in every run. Compiling all of the package's kernels takes some tens of seconds; the first one to be compiled in a
process says so on standard error, by `logging`.
"""

from __future__ import annotations

import logging
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core.errors import NumbaError
from numba.core.event import Event, Listener, register, unregister

__all__ = ["kernel"]

_log = logging.getLogger(__name__)

_UNCACHED = (OSError, RuntimeError, EOFError, ValueError, AttributeError, ImportError, pickle.PickleError)


def kernel(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at once, by `numba.njit` with NumPy's rules for errors, and keep its machine code.

    Parameters
    ----------
    signature : numba signature, or list of them
    options
        Further ones of `njit`.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        for place in (None, _own_folder):
            try:
                with _cache_folder(place), _told():
                    return numba.njit(signature, cache=True, error_model="numpy", **options)(function)
            except _UNCACHED as error:
                if isinstance(error, NumbaError):
                    raise
        with _told():
            return numba.njit(signature, error_model="numpy", **options)(function)

    return compiled


class _Teller(Listener):
    """Says, the first time in a process, that something is compiled: what was kept from an earlier run is no event."""

    told = False

    def on_start(self, event: Event) -> None:
        if not self.told:
            self.told = True
            _log.warning("compiling loops for this processor, once: about 5 s for a first picture, 20 s for all")

    def on_end(self, event: Event) -> None:
        pass


_teller = _Teller()


@contextmanager
def _told() -> Iterator[None]:
    """Let the user know why they wait."""
    register("numba:compile", _teller)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        unregister("numba:compile", _teller)  # type: ignore[no-untyped-call]


@contextmanager
def _cache_folder(place: Callable[[], Path] | None) -> Iterator[None]:
    """Let numba keep its files in a folder; without one, where it always does."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if place is not None:
        numba.config.CACHE_DIR = str(place())  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def _own_folder() -> Path:
    """Return a folder that nobody else can write to: numba runs what it finds there.

    Raises
    ------
    OSError
        There is none.
    """
    folder = Path(tempfile.gettempdir()) / f"cpm_port-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is another user's, or others may write to it")
    return folder
