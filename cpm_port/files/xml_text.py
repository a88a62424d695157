"""XML in: the one door. Documents that declare entities or a DTD are refused: a small file could unfold to any size."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from cpm_port.errors import DataError, MissingFileError

__all__ = ["read_xml"]

_DECLARES = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_MAX_DEPTH = 100


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root element of an XML file, UTF-8.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It cannot be read, is no XML or not UTF-8, declares a DTD, or has elements within each other too deep to walk.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable XML ({error})") from error
    if _DECLARES.search(content):
        raise DataError(f"{path}: not readable XML (it declares a document type or entities)")
    try:
        root = ElementTree.fromstring(content.decode("utf-8-sig"))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: not readable XML ({error})") from error
    if _depth(root) > _MAX_DEPTH:
        raise DataError(f"{path}: not readable XML (elements within each other, too deep)")
    return root


def _depth(root: ElementTree.Element) -> int:
    level, depth = [root], 0
    while level and depth <= _MAX_DEPTH:
        level, depth = [child for element in level for child in element], depth + 1
    return depth
