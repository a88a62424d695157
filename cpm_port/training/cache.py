"""Records kept in memory once they have been read or drawn: for sets that fit there and are slow to make."""

from __future__ import annotations

from cpm_port.records.record import Record, RecordStore, order_of

__all__ = ["CachedRecords"]


class CachedRecords:
    """A store that makes each record once; safe from several threads, as the store behind it is.

    Attributes
    ----------
    order : PartOrder or None
        The store's own (`order_of`).
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self.order = order_of(store)
        self._made: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Record:
        """Return record `index`; two threads that ask at once may both make it, the same."""
        record = self._made.get(index)
        if record is None:
            record = self._made[index] = self._store[index]
        return record
