"""What annotation tools write, as one type: people (or hands, horses, chairs) with named parts, image by image.

FILES -> LABELS -> samples (`imported.py`). Each tool's reader (`coco.py`, `cvat.py`, `labelme.py`, `label_studio.py`,
`keypoint_table.py`) gives `Labels`; none of them opens an image.

Conventions: coordinates are `(x, y)` in image pixels, the first pixel's middle at 0. COCO and tables count pixels so;
CVAT, labelme and Label Studio measure from the picture's corner, where the first pixel's middle is at 0.5, and boxes
are measured from there everywhere: their readers take half a pixel off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cpm_port.annotations.samples import Box
from cpm_port.errors import DataError

__all__ = ["HALF_PIXEL", "NOBODY", "Labelled", "Labels", "finite", "parts_seen"]

HALF_PIXEL = 0.5
NOBODY = "nobody is labelled in the image"
"""Why an image without labels is left out: a `Labelled` without joints stands for it, so that it is counted."""


@dataclass(frozen=True)
class Labelled:
    """One person as a tool labelled them.

    Attributes
    ----------
    image : str
        Name of the image, as the file has it.
    where : str
        Which entry of the file this is, for messages.
    joints : mapping of str to (float, float, bool)
        Part -> x, y, and whether it is seen rather than hidden; parts without a label are absent.
    size : (int, int) or None
        Width and height that the tool saw, px.
    box : (x1, y1, x2, y2) or None
        Drawn around the whole person.
    left_out : str
        Why nobody can be trained on this entry; "" where nothing speaks against it.
    """

    image: str
    where: str
    joints: Mapping[str, tuple[float, float, bool]]
    size: tuple[int, int] | None = None
    box: Box | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Labels:
    """What a file holds.

    Attributes
    ----------
    people : list of Labelled
    parts : tuple of str
        In the tool's order; where it has none, in the order of their appearance.
    skeleton : tuple of (str, str)
        Parts that a drawing joins, where the tool says so.
    """

    people: list[Labelled]
    parts: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...] = field(default=())


def parts_seen(people: Iterable[Labelled]) -> tuple[str, ...]:
    """Return the parts of all people, in the order of their appearance."""
    return tuple(dict.fromkeys(part for person in people for part in person.joints))


def finite(values: Sequence[Any], where: str) -> list[float]:
    """Return values as floats.

    Raises
    ------
    DataError
        One of them is no finite number.
    """
    found = []
    for value in values:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"{where}: {value!r:.40}, expected a number")
        found.append(number)
    return found
