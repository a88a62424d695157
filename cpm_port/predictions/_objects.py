"""A JSON object that is not trusted before its keys and values are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cpm_port.errors import DataError

__all__ = ["JsonObject", "is_number"]


class JsonObject:
    """A JSON object whose keys are checked at once, and whose values are as they are taken."""

    def __init__(self, content: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        if not isinstance(content, dict):
            raise DataError(f"{where}: expected an object, got {type(content).__name__}")
        missing = [key for key in required if key not in content]
        unknown = [key for key in content if key not in required and key not in optional]
        if missing or unknown:
            raise DataError(
                f"{where}: not what `cpm-port predict` writes: missing {', '.join(missing) or 'nothing'}, unknown "
                f"{', '.join(unknown) or 'nothing'}"
            )
        self._content, self._where = content, where

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def text(self, key: str) -> str:
        """Return a string."""
        return str(self._checked(key, isinstance(self[key], str), "a string"))

    def number(self, key: str) -> float:
        """Return a number."""
        return float(self._checked(key, is_number(self[key]), "a number"))

    def whole(self, key: str) -> int:
        """Return a whole number."""
        return int(self._checked(key, is_number(self[key]) and self[key] == int(self[key]), "a whole number"))

    def rows(self, key: str) -> list[Any]:
        """Return a list."""
        return list(self._checked(key, isinstance(self[key], list), "a list"))

    def _checked(self, key: str, fits: bool, expected: str) -> Any:
        if not fits:
            raise DataError(f"{self._where}: {key} is {self[key]!r:.80}, expected {expected}")
        return self[key]


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
