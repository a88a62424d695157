"""The peaks of the summed belief maps on the image, by whatever is fastest where the maps lie.

Where in the flow: the net's belief maps come in, joints go out. On a CPU the compiled search (`_kernels.py`) never
makes the maps; elsewhere bands of them go by (`beliefs.bands`, `joints.PeakSearch`), which is also the search written
for reading. Sums differ in their last bits between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.compute.memory import aligned
from cpm_port.compute.threads import share
from cpm_port.errors import ShapeError, UsageError
from cpm_port.imaging.boxing import BoxGeometry
from cpm_port.inference.beliefs import WayBack, back_matrices, bands
from cpm_port.inference.joints import PeakSearch, TieRule

__all__ = ["Peaks", "image_peaks", "queue_peaks"]

_LANES = 16  # parts that the kernel takes at a time

Peaks = tuple[NDArray[np.float64], NDArray[np.float64]]
Firsts = NDArray[np.int64]
Weights = NDArray[np.float32]


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
    return queue_peaks(beliefs, geometries, ties)()


def queue_peaks(
    beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule, way: WayBack | None = None
) -> Callable[[], Peaks]:
    """Begin `image_peaks`; what is returned gives them, and on a GPU only that waits. A CPU has them at once.

    `way` is what `way_back` gives for the geometries, where it was made beforehand; the compiled search needs none.
    """
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
    if beliefs.device.type != "cpu" or numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return _by_bands(beliefs, geometries, ties, way)
    found = [_compiled(group, geometries, ties) for group in torch.split(beliefs, _LANES, dim=1)]
    peaks = np.concatenate([joints for joints, _ in found]), np.concatenate([peaks for _, peaks in found])
    return lambda: peaks


def _by_bands(
    beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule, way: WayBack | None = None
) -> Callable[[], Peaks]:
    search = PeakSearch(ties)
    for first_row, band in bands(beliefs, geometries, way=way):
        search.update(first_row, band)
    return search.queue_result()


def _compiled(beliefs: Tensor, geometries: Sequence[BoxGeometry], ties: TieRule) -> Peaks:
    """Search the maps of at most 16 parts; every worker looks at columns of its own."""
    from cpm_port.inference import _kernels

    levels, parts, cell_rows, cell_columns = beliefs.shape
    height, width = geometries[0].image_size
    column_first, column_weights, row_first, row_weights = _taps(tuple(geometries), (cell_rows, cell_columns))
    cells = np.zeros((levels, cell_rows, cell_columns, _LANES), np.float32)
    cells[..., :parts] = beliefs.detach().permute(0, 2, 3, 1).numpy()
    workers = torch.get_num_threads()
    best = np.full((workers, _LANES), -np.inf, np.float32)
    place = np.zeros((workers, _LANES, 2), np.int64)
    needed = _kernels.buffer_floats(cell_rows, row_weights.shape[2], levels)
    buffers = [aligned(needed) for _ in range(workers)]
    by_column = int(ties == "benchmark")

    def search(worker: int, start: int, stop: int) -> None:
        _kernels.search(cells, column_first, column_weights, row_first, row_weights, height, width, parts, by_column,
                        best[worker], place[worker], buffers[worker], start, stop)  # fmt: skip

    share(search, -(-width // _kernels.BLOCK))
    x, y = place[..., 0], place[..., 1]
    order = np.lexsort((y, x, -best) if by_column else (x, y, -best), axis=0)[0]
    chosen = order[:parts], np.arange(parts)
    return place[chosen].astype(np.float64), best[chosen].astype(np.float64)


@lru_cache(maxsize=4)
def _taps(geometries: tuple[BoxGeometry, ...], cells: tuple[int, int]) -> tuple[Firsts, Weights, Firsts, Weights]:
    """Return what the kernel is told of columns and rows (`_kernels.py`); a video's frames share it."""
    from cpm_port.inference._kernels import BLOCK, ROWS

    pairs = [back_matrices(geometry, cells) for geometry in geometries]
    height, width = geometries[0].image_size
    column_first, column_weights = _bands([columns for _, columns in pairs], 1, -(-width // BLOCK) * BLOCK)
    groups = -(-height // ROWS)
    row_first, row_weights = _bands([rows for rows, _ in pairs], ROWS, groups * ROWS)
    by_group = row_weights.reshape(len(pairs), groups, ROWS, -1).transpose(1, 2, 0, 3)
    stacked = np.ascontiguousarray(by_group.reshape(groups, ROWS, -1))
    return column_first, column_weights, np.ascontiguousarray(row_first.T), stacked


def _bands(matrices: list[NDArray[np.float64]], together: int, count: int) -> tuple[Firsts, Weights]:
    """Take the nonzero values out of banded matrices, one of each level.

    Parameters
    ----------
    matrices : list of ndarray, shape (N, cells)
        A row's nonzeros lie next to each other.
    together : int
        So many rows in succession get the same first cell.
    count : int
        A multiple of `together`; rows beyond N are zeros.

    Returns
    -------
    first : ndarray, shape (levels, count / together), int64
    weights : ndarray, shape (levels, count, K), float32
        From the first cell on.
    """
    stack = np.stack(matrices)
    levels, rows, cells = stack.shape
    there = stack != 0.0
    seen = there.any(axis=2)
    first = np.where(seen, there.argmax(axis=2), cells)
    last = np.where(seen, cells - 1 - there[..., ::-1].argmax(axis=2), -1)
    beyond = ((0, 0), (0, count - rows))
    shape = (levels, count // together, together)
    first = np.pad(first, beyond, constant_values=cells).reshape(shape).min(axis=2)
    last = np.pad(last, beyond, constant_values=-1).reshape(shape).max(axis=2)
    length = max(int((last - first).max()) + 1, 1)
    first = np.minimum(first, cells - length)
    chosen = np.repeat(first, together, axis=1)[:, :rows, None] + np.arange(length)
    weights = np.zeros((levels, count, length), np.float32)
    weights[:, :rows] = np.take_along_axis(stack, chosen, axis=2)
    return first, weights
