"""The page's first picture: `python -m cpm_port.web.example` draws it anew. Two drawn people, owned by nobody else.

It ships as a file, so that the page has it at once, without compiling what draws.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpm_port.drawn.source import DrawnCrowds
from cpm_port.imaging.writing import write_png

__all__ = ["draw_example"]

SEED, SCENE, SIDE, DIFFICULTY = 74, 4, 560, 35


def draw_example() -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3) uint8, BGR.

    Examples
    --------
    >>> draw_example().shape
    (647, 485, 3)
    """
    return DrawnCrowds(seed=SEED, size=SIDE, difficulty=DIFFICULTY, most=3)[SCENE][1]


if __name__ == "__main__":
    write_png(Path(__file__).parent / "page" / "example.png", draw_example())
