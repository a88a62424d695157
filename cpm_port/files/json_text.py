r"""JSON in: the one door, which gives a value that the rest can work with, or says what is wrong.

Refused, besides what is no JSON: values within each other deeper than Python can walk, whole numbers beyond what a
float holds, and half characters (`"\\ud800"` alone), which no file name and no terminal can take. A byte order mark, as
some editors write it, is passed over.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError, MissingFileError

__all__ = ["parse_json", "read_json"]

_MAX_DIGITS = 308  # so that every whole number is a finite float
_MAX_DEPTH = 100
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path) -> Any:
    """Read a JSON file, UTF-8.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It cannot be read, or `parse_json` refuses it.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON ({error})") from error
    return parse_json(content, str(path))


def parse_json(content: bytes, where: str) -> Any:
    """Return the value of a JSON text; `where` opens messages.

    Raises
    ------
    DataError
        It is not UTF-8, not JSON, or holds what the module refuses.
    """
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, parse_int=_whole_number)
        if text.count("[") + text.count("{") > _MAX_DEPTH:
            _check_depth(value)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise DataError(f"{where}: not readable JSON (values within each other, too deep)") from None
    except ValueError as error:
        raise DataError(f"{where}: not readable JSON ({error})") from error
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    """Refuse values within each other that recursive code could not walk."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise RecursionError
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [held for values in inside for held in values if isinstance(held, dict | list)]
