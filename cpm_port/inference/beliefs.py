"""Belief maps back to the image: undo stride, padding, cropping and scaling, and sum over the scales.

Where in the flow: the net gives (M, P + 1, h, w) belief maps for M boxes; here they become sums over the scales on the
image's own pixels, in full (`image_maps`) or as bands of rows where only their peaks are needed (`bands`).

Conventions: the last channel is the background. Maps are float32 on the beliefs' device, `(rows, P, W)` in bands and
`(H, W, P + 1)` from `image_maps`.

How: the release resizes each map by the stride to the box (bicubic), undoes the padding (where the box had cut the
image off: 0, and 1 in the background), resizes to the image (antialiased where that shrinks) and adds. All of this is
linear and acts on rows and columns separately, so level m adds `A_m B_m C_m^T`, with `A_m` of (H, h) and `C_m` of
(W, w); and the background gets `1 - (A_m 1)(C_m 1)^T` more, because every row of a resize matrix sums to 1. The sum
over levels is one matrix product, `[A_1 ... A_M]` times the stacked `B_m C_m^T`. A band of image rows sees only the
cells near it, so its product takes only their columns of `A`.

Source: the reference notes (`release_testing.md`) section 3 (the release's `applyModel.m`).

Knowingly different: the release rounds to single precision after each of its steps; here the products are taken in
float32 (on a GPU with TF32 switched off: its ten bits would move peaks). On its own maps the sums agree within 4e-6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.compute.devices import to_device
from cpm_port.engine.precision import arithmetic
from cpm_port.errors import ShapeError
from cpm_port.imaging import _kernels
from cpm_port.imaging.boxing import BoxGeometry, unbox
from cpm_port.imaging.resize import imresize, taps

__all__ = ["WayBack", "back_matrices", "bands", "image_maps", "way_back"]

BAND_VALUES = {"cpu": 1 << 20, "cuda": 1 << 24}
"""How many values a band holds at most: a few MB stay in a CPU's cache, a GPU likes it large."""


def back_matrices(geometry: BoxGeometry, cells: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrices that take one level's belief map to the image.

    Parameters
    ----------
    geometry : BoxGeometry
        How the level's box lies over the image.
    cells : (int, int)
        Height h and width w of the belief map.

    Returns
    -------
    rows : ndarray, shape (H, h), float64, read-only
    columns : ndarray, shape (W, w), float64, read-only
        `rows @ belief @ columns.T` is the map on the image; where the box had cut the image off they hold zeros.
    """
    up, left, _, _ = geometry.pad
    (height, width), (scaled_height, scaled_width) = geometry.image_size, geometry.scaled_size
    side = geometry.box_size
    return (
        _back_matrix(height, scaled_height, up, side, cells[0]),
        _back_matrix(width, scaled_width, left, side, cells[1]),
    )


@lru_cache(maxsize=64)
def _back_matrix(length: int, scaled: int, before: int, box_size: int, cells: int) -> NDArray[np.float64]:
    """Return box cells -> image pixels along one dimension, (length, cells)."""
    grow_index, grow_weight = taps(cells, box_size / cells, 0, box_size)
    to_box = np.zeros((box_size, cells))
    np.add.at(to_box, (np.arange(box_size)[:, None], grow_index), grow_weight)
    to_scaled = np.zeros((scaled, cells))
    start, stop = max(-before, 0), min(scaled, box_size - before)
    if start < stop:
        to_scaled[start:stop] = to_box[start + before : stop + before]
    result = np.empty((length, cells))
    _kernels.band_product(*taps(scaled, length / scaled, 0, length), to_scaled, result)
    result.setflags(write=False)
    return result


def bands(
    beliefs: Tensor,
    geometries: Sequence[BoxGeometry],
    *,
    rows: NDArray[np.int64] | None = None,
    columns: NDArray[np.int64] | None = None,
    way: WayBack | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the sums over the scales as bands of image rows, top to bottom; bounded memory for any image.

    Parameters
    ----------
    beliefs : Tensor, shape (M, K, h, w), float
        The net's maps of M levels; any K of its channels, without the background's correction (see `image_maps`).
    geometries : sequence of BoxGeometry, M of them
    rows, columns : ndarray, int64, optional
        Only these image rows (increasing) and columns; all of them by default.
    way : WayBack, optional
        What `way_back` gives for the geometries, where it was made beforehand.

    Yields
    ------
    first : int
        Index of the band's first row among the wanted rows.
    band : Tensor, shape (R, K, W), float32, on the beliefs' device

    Raises
    ------
    ShapeError
        Not one geometry per level, or geometries of different images.
    """
    levels, channels, cell_rows, cell_columns = _check(beliefs, geometries)
    cells = (cell_rows, cell_columns)
    if way is None:
        whole = rows is None and columns is None
        way = way_back(tuple(geometries), cells) if whole else _way_back(geometries, cells, rows, columns)
    device = beliefs.device
    count, width = len(way.left), way.right.shape[2]
    left, right, seen = (to_device(array, device) for array in (way.left, way.right, way.seen))
    by_row = beliefs.float().transpose(1, 2).reshape(levels, cell_rows * channels, cell_columns)
    with arithmetic("float32", device):
        spread = torch.bmm(by_row, right).view(levels * cell_rows, channels * width)
    spread = spread[seen]
    step = max(1, BAND_VALUES.get(device.type, BAND_VALUES["cpu"]) // max(1, channels * width))
    for start in range(0, count, step):
        stop = min(start + step, count)
        needed = np.flatnonzero((way.first_met < stop) & (way.last_met >= start))
        if len(needed):
            low, high = int(needed[0]), int(needed[-1]) + 1
            with arithmetic("float32", device):
                band = left[start:stop, low:high] @ spread[low:high]
        else:
            band = torch.zeros((stop - start, channels * width), device=device)
        yield start, band.view(stop - start, channels, width)


@dataclass(frozen=True, eq=False)
class WayBack:
    """The matrices of all levels, in the order in which a band of image rows needs them.

    Attributes
    ----------
    left : ndarray, shape (H, N), float32
        Of the N cell rows, of all levels, that some image row sees; those met first come first.
    right : ndarray, shape (M, w, W), float32
    seen : ndarray, shape (N,), int64
        Which of the M x h cell rows these are.
    first_met, last_met : ndarray, shape (N,), int64
        The image rows between which each is seen.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    seen: NDArray[np.int64]
    first_met: NDArray[np.int64]
    last_met: NDArray[np.int64]


@lru_cache(maxsize=8)
def way_back(geometries: tuple[BoxGeometry, ...], cells: tuple[int, int]) -> WayBack:
    """Return what takes belief maps of (h, w) cells to the whole image.

    It costs 5 to 16 ms of a CPU and no GPU, so it is for the threads that make pyramids; the thread that runs the net
    is then given it. A video's frames share it.
    """
    return _way_back(geometries, cells, None, None)


def _way_back(
    geometries: Sequence[BoxGeometry],
    cells: tuple[int, int],
    rows: NDArray[np.int64] | None,
    columns: NDArray[np.int64] | None,
) -> WayBack:
    pairs = [back_matrices(geometry, cells) for geometry in geometries]
    row_matrix = np.concatenate([pair[0] if rows is None else pair[0][rows] for pair in pairs], axis=1)
    column_stack = np.stack([pair[1].T if columns is None else pair[1][columns].T for pair in pairs])

    # Cells in the order in which the image's rows meet them: a band's cells then lie next to each other.
    met = row_matrix != 0.0
    seen = np.flatnonzero(met.any(axis=0))
    first_met = met[:, seen].argmax(axis=0)
    last_met = len(met) - 1 - met[::-1, seen].argmax(axis=0)
    order = np.argsort(first_met, kind="stable")
    seen, first_met, last_met = seen[order], first_met[order], last_met[order]
    left = np.ascontiguousarray(row_matrix[:, seen], np.float32)
    return WayBack(left, column_stack.astype(np.float32), seen, first_met, last_met)


def image_maps(
    beliefs: Tensor,
    geometries: Sequence[BoxGeometry],
    *,
    rows: NDArray[np.int64] | None = None,
    columns: NDArray[np.int64] | None = None,
) -> Tensor:
    """Return the belief maps summed over the scales, on the image's pixels, background included.

    Parameters
    ----------
    beliefs : Tensor, shape (M, P + 1, h, w), float
        All channels of the net's belief maps, the background last.
    geometries : sequence of BoxGeometry, M of them
    rows, columns : ndarray, int64, optional
        Only these image rows (increasing) and columns; all of them by default.

    Returns
    -------
    Tensor, shape (H, W, P + 1), float32, on the beliefs' device
        The sum over the M levels (the release's `final_score`).
    """
    parts = [band for _, band in bands(beliefs, geometries, rows=rows, columns=columns)]
    result = torch.cat(parts).transpose(1, 2).contiguous()
    cells = (beliefs.shape[2], beliefs.shape[3])
    beyond = np.zeros(tuple(result.shape[:2]))
    for geometry in geometries:
        inside_rows, inside_columns = (matrix.sum(axis=1) for matrix in back_matrices(geometry, cells))
        inside_rows = inside_rows if rows is None else inside_rows[rows]
        inside_columns = inside_columns if columns is None else inside_columns[columns]
        beyond += 1.0 - np.outer(inside_rows, inside_columns)
    result[..., -1] += torch.from_numpy(beyond.astype(np.float32)).to(result.device)
    return result


def _image_maps_reference(beliefs: NDArray[Any], geometries: Sequence[BoxGeometry]) -> NDArray[np.float64]:
    """`image_maps` in the release's own order of steps, in float64, for reading and for the tests."""
    height, width = geometries[0].image_size
    total = np.zeros((height, width, beliefs.shape[1]))
    for belief, geometry in zip(beliefs, geometries, strict=True):
        maps = np.ascontiguousarray(belief.transpose(1, 2, 0), dtype=np.float64)
        box = imresize(maps, (geometry.box_size, geometry.box_size))
        scaled = unbox(box, geometry, 0.0)
        scaled[..., -1] = unbox(box[..., -1], geometry, 1.0)
        total += imresize(scaled, (height, width))
    return total


def _check(beliefs: Tensor, geometries: Sequence[BoxGeometry]) -> tuple[int, int, int, int]:
    if beliefs.dim() != 4 or len(beliefs) != len(geometries) or not len(geometries):
        raise ShapeError(
            f"belief maps are {tuple(beliefs.shape)}, expected ({len(geometries)}, channels, height, width): "
            "one level per geometry"
        )
    sizes = {geometry.image_size for geometry in geometries}
    if len(sizes) > 1:
        raise ShapeError(f"the geometries belong to images of different sizes: {sorted(sizes)}")
    levels, channels, cell_rows, cell_columns = beliefs.shape
    return levels, channels, cell_rows, cell_columns
