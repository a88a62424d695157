"""One process's rows of every batch, so that several processes share the batches of one source.

Flow: data source -> **the rows of this process** -> the loop. Every process reads the same batches in the same order,
and position and randomness are the source's own, so a snapshot of one process is right for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cpm_port.errors import UsageError
from cpm_port.training.distributed import World
from cpm_port.training.loop import BatchSource

__all__ = ["Share"]


class Share:
    """A source seen by one of several processes; the methods are `BatchSource`'s."""

    def __init__(self, source: BatchSource, world: World) -> None:
        self._source = source
        self._world = world

    def next_batch(self) -> dict[str, np.ndarray]:
        """Return this process's rows of the next batch.

        Raises
        ------
        UsageError
            The number of processes does not divide the batch.
        """
        return {name: self._rows(array, name) for name, array in self._source.next_batch().items()}

    def _rows(self, rows: Any, name: str) -> Any:
        size, rest = divmod(len(rows), self._world.size)
        if rest:
            raise UsageError(f"{self._world.size} processes cannot share {name!r}, a batch of {len(rows)}, equally")
        return rows[self._world.rank * size : (self._world.rank + 1) * size]

    def state(self) -> dict[str, Any]:
        """Return the source's state."""
        return self._source.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the source's state."""
        self._source.restore(state)

    def skip(self, batches: int) -> None:
        """Skip batches of the source."""
        self._source.skip(batches)

    def describe_last(self) -> Sequence[str]:
        """Name the samples of this process's rows."""
        return list(self._rows(self._source.describe_last(), "samples"))
