"""Batches for people to look at: what a net's data layers give, as one file of arrays and as pictures.

NET -> data layers (`batches.py`) -> **files**. What `cpm-port batches` writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.imaging.writing import write_png
from cpm_port.report.batch_pictures import example_picture
from cpm_port.training.batches import DataSource

__all__ = ["write_batches"]


def write_batches(
    source: DataSource, count: int, out: str | os.PathLike[str], pictures: Path | None = None
) -> dict[str, NDArray[Any]]:
    """Take batches of a net's data layers and write them.

    Parameters
    ----------
    source : DataSource
        Of `open_data_layers`.
    count : int
        How many batches.
    out : path
        The `.npz`: the layers' tops, batch after batch along the first axis, and `names`, the samples row by row.
    pictures : Path, optional
        A folder: every example of tops `data` and `label`, its label maps laid over it, as `batchNNN_rowNN.png`.

    Returns
    -------
    dict of str to ndarray
        The tops.

    Raises
    ------
    UsageError
        Not one batch; or pictures of a net without these tops.
    """
    if count < 1:
        raise UsageError(f"--count {count}: expected 1 or more")
    if pictures is not None and {"data", "label"} - set(source.shapes):
        raise UsageError(f"--pictures: tops data and label expected, the net has {', '.join(source.shapes)}")
    batches, names = [], []
    for number in range(count):
        batches.append(source.next_batch())
        found = source.describe_last()
        names += found
        if pictures is not None:
            _draw(pictures, number, batches[-1]["data"], batches[-1]["label"], found)
    blobs = {top: np.concatenate([batch[top] for batch in batches]) for top in batches[0]}
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(names), **blobs)  # type: ignore[arg-type]
    return blobs


def _draw(folder: Path, number: int, data: NDArray[Any], label: NDArray[Any], names: Sequence[str]) -> None:
    for row, (crop, maps, name) in enumerate(zip(data, label, names, strict=True)):
        write_png(folder / f"batch{number:03d}_row{row:02d}.png", example_picture(crop, maps, Path(name).name))
