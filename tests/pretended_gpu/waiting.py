"""How often the host waits for the GPU, real or pretended, inside a `with` block."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tests.pretended_gpu.runtime import RUNTIME

__all__ = ["waits"]


@contextmanager
def waits() -> Iterator[list[str]]:
    """Give a list that is filled, when the block ends, with the lines that waited."""
    found: list[str] = []
    if not torch.backends.cuda.is_built():
        before = len(RUNTIME.synchronisations)
        yield found
        found += [str(each) for each in RUNTIME.synchronisations[before:]]
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found += [f"{each.filename}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)]
