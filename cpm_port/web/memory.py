"""What the server remembers: pictures and results, by random names, up to so many bytes, for so long.

Thread-safe: the worker puts, the server asks.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Kept"]

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by name; the least recently used go first where there are too many bytes, and those unused for too long.

    Parameters
    ----------
    most_bytes : int
        Of all values together; one that alone is larger is kept until the next comes.
    seconds : float
        How long a value stays after it was last asked for.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most_bytes, seconds, clock
        self._values: OrderedDict[str, tuple[Value, int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: Value, size: int) -> str:
        """Keep a value of so many bytes; return its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._values[name] = (value, size, self._clock())
            self._drop_old()
        return name

    def get(self, name: str) -> Value | None:
        """Return a value, which then is the youngest; None where it is not, or no longer, there."""
        with self._lock:
            self._drop_old()
            found = self._values.pop(name, None)
            if found is None:
                return None
            self._values[name] = (found[0], found[1], self._clock())
            return found[0]

    def drop(self, name: str) -> Value | None:
        """Forget a value, and return it; None where there is none."""
        with self._lock:
            found = self._values.pop(name, None)
        return None if found is None else found[0]

    def drop_where(self, condition: Callable[[Value], bool]) -> None:
        """Forget all values for which a condition holds."""
        with self._lock:
            for name in [name for name, (value, _, _) in self._values.items() if condition(value)]:
                del self._values[name]

    def drop_old(self) -> None:
        """Forget what was unused for too long."""
        with self._lock:
            self._drop_old()

    @property
    def bytes(self) -> int:
        """What all values take."""
        with self._lock:
            return sum(size for _, size, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def _drop_old(self) -> None:
        oldest = self._clock() - self._seconds
        total = sum(size for _, size, _ in self._values.values())
        for name, (_, size, used) in list(self._values.items()):
            if used >= oldest and (total <= self._most or len(self._values) == 1):
                break
            del self._values[name]
            total -= size
