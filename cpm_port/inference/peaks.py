"""The peaks of the summed belief maps on the image, by whatever is fastest where the maps lie.

Where in the flow: the net's belief maps come in, joints go out. On a CPU the compiled search (`_kernels.py`) never
makes the maps; elsewhere bands of them go by (`beliefs.bands`, `joints.PeakSearch`), which is also the search written
for reading. Sums differ in their last bits between the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.engine._threads import share
from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging.boxing import BoxGeometry
from cpm_port.inference.beliefs import back_matrices, bands
from cpm_port.inference.joints import PeakSearch, TieRule

__all__ = ["image_peaks"]

_LANES = 16  # parts that the kernel takes at a time

Peaks = tuple[NDArray[np.float64], NDArray[np.float64]]


def image_peaks(beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule) -> Peaks:
    """Return every part's peak in the sum of all levels' maps on the image.

    Parameters
    ----------
    beliefs : Tensor, shape (M, P, h, w), float
        Belief maps without the background; finite values.
    geometries : sequence of BoxGeometry, M of them
    ties : {"benchmark", "demo"}
        Which of several equal peaks wins (`joints.py`).

    Returns
    -------
    joints : ndarray, shape (P, 2), float64
        `(x, y)`, 0-based image px.
    peaks : ndarray, shape (P,), float64

    Raises
    ------
    ShapeError
        Not one geometry per level, or geometries of different images.
    UsageError
        An unknown tie rule.
    """
    if beliefs.device.type != "cpu" or numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return _by_bands(beliefs, geometries, ties)
    if ties not in ("benchmark", "demo"):
        raise UsageError(f"tie rule {ties!r}: expected 'benchmark' or 'demo'")
    if (
        beliefs.dim() != 4
        or len({geometry.image_size for geometry in geometries}) != 1
        or len(geometries) != len(beliefs)
    ):
        raise ShapeError(
            f"belief maps are {tuple(beliefs.shape)}, expected ({len(geometries)}, channels, height, width), "
            "and geometries of one image"
        )
    found = [_compiled(group, geometries, ties) for group in torch.split(beliefs, _LANES, dim=1)]
    return np.concatenate([joints for joints, _ in found]), np.concatenate([peaks for _, peaks in found])


def _by_bands(beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule) -> Peaks:
    search = PeakSearch(ties)
    for first_row, band in bands(beliefs, geometries):
        search.update(first_row, band)
    return search.result()


def _compiled(beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule) -> Peaks:
    """Search the maps of at most 16 parts; every worker looks at columns of its own."""
    from cpm_port.inference import _kernels

    levels, parts, cell_rows, cell_columns = beliefs.shape
    width = geometries[0].image_size[1]
    blocks = -(-width // _kernels.BLOCK)
    matrices = [back_matrices(geometry, (cell_rows, cell_columns)) for geometry in geometries]
    row_first, row_weights = _taps([rows for rows, _ in matrices], 0)
    column_first, column_weights = _taps([columns for _, columns in matrices], blocks * _kernels.BLOCK - width)
    cells = np.zeros((levels, cell_rows, cell_columns, _LANES), np.float32)
    cells[..., :parts] = beliefs.detach().permute(0, 2, 3, 1).numpy()
    spreads = np.empty((levels, cell_rows, blocks * _kernels.BLOCK, _LANES), np.float32)
    share(lambda _, start, stop: _kernels.spread(cells, column_first, column_weights, spreads, start, stop),
          levels * cell_rows)  # fmt: skip

    workers = torch.get_num_threads()
    best = np.full((workers, _LANES), -np.inf, np.float32)
    place = np.zeros((workers, _LANES, 2), np.int64)
    buffers = np.empty((workers, (_kernels.BLOCK + 1) * _LANES), np.float32)
    by_column = int(ties == "benchmark")

    def search(worker: int, start: int, stop: int) -> None:
        _kernels.search(spreads, row_first, row_weights, width, parts, by_column, best[worker], place[worker],
                        buffers[worker], start, stop)  # fmt: skip

    share(search, blocks)
    x, y = place[..., 0], place[..., 1]
    order = np.lexsort((y, x, -best) if by_column else (x, y, -best), axis=0)[0]
    chosen = order[:parts], np.arange(parts)
    return place[chosen].astype(np.float64), best[chosen].astype(np.float64)


def _taps(matrices: list[NDArray[np.float64]], extra: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return, per matrix and row, where its nonzero columns begin and their values; `extra` rows without any follow.

    The matrices are banded: a row's nonzeros lie next to each other.
    """
    stack = np.stack(matrices)
    there = stack != 0.0
    first = there.argmax(axis=2)
    last = np.where(there.any(axis=2), stack.shape[2] - 1 - there[..., ::-1].argmax(axis=2), first)
    count = int((last - first).max()) + 1
    first = np.minimum(first, stack.shape[2] - count)
    weights = np.take_along_axis(stack, first[..., None] + np.arange(count), axis=2)
    return np.pad(first, ((0, 0), (0, extra))), np.pad(weights, ((0, 0), (0, extra), (0, 0))).astype(np.float32)
