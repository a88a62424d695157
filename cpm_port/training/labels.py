"""Label maps and center maps, as the authors' data layer draws them.

RECORDS -> AUGMENTATION -> LABELS -> LOSS. Conventions: joints are `(x, y, code)` in crop px, 0-based, float32; maps
are float32. Map cell g stands at crop px `g * stride + stride / 2 - 0.5` (0 for stride 1, 3.5 for stride 8), and
sigma is in crop px, not in cells.

The channels of a label, for P parts: 0 to P - 1 the person to find (for stages 2 and later), P its background, P + 1
to 2 P everybody in the image (for stage 1), 2 P + 1 that set's background. A training net cuts them apart at P + 1;
the order in the blob is the opposite of the order of the stages.

Quirks of the original, all kept:

- peaks of several people are added and the sum is held at 1 after each; their maximum is not taken;
- a peak ends abruptly where its exponent exceeds 4.6052 (value 0.01): 21.24 px from the middle for sigma 7;
- code 0 (hidden) and code 1 (seen) both make a peak; only code 2 (outside the original image, or not annotated) makes
  none, even where padding would bring the joint inside;
- a joint that augmentation moved out of the crop still adds the part of its peak that reaches inside;
- the background is 1 minus the largest of its set's part maps;
- the center map holds the person to find alone, at full resolution.

*Source*: shihenw/caffe@d154e89 `data_transformer.cpp` (putGaussianMaps, generateLabelMap).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, ShapeError
from cpm_port.release import PEAK_CUTOFF
from cpm_port.training._label_kernels import add_gaussian, label_maps

__all__ = ["blank_unlabelled", "center_map_at", "labels"]


def labels(
    people: NDArray[np.float32], num_parts: int, stride: int, sigma: float, crop_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Draw the label maps of one crop.

    Parameters
    ----------
    people : ndarray, shape (N, J, 3), float32
        x, y (crop px) and code of J >= `num_parts` joints; the person to find comes first.
    num_parts : int
    stride : int
        Crop px per map cell.
    sigma : float
        Crop px.
    crop_size : (int, int)
        Width and height; what is left over by the stride is dropped.

    Returns
    -------
    ndarray, shape (2 * (num_parts + 1), crop_height // stride, crop_width // stride), float32

    Raises
    ------
    ShapeError
        Fewer joints than parts, or no person.
    DataError
        A joint's coordinate is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.training.labels import labels
    >>> people = np.array([[[8, 8, 1], [24, 16, 1]]], np.float32)
    >>> maps = labels(people, num_parts=2, stride=8, sigma=7.0, crop_size=(32, 32))
    >>> maps.shape, [int(i) for i in np.unravel_index(maps[1].argmax(), (4, 4))]
    ((6, 4, 4), [2, 3])
    """
    if people.ndim != 3 or people.shape[0] < 1 or people.shape[1] < num_parts or people.shape[2] != 3:
        raise ShapeError(f"people of shape {people.shape}; expected (N, {num_parts} or more, 3) with N > 0")
    if not np.isfinite(people[:, :num_parts]).all():
        raise DataError("a joint's coordinate is not finite")
    width, height = crop_size
    out = np.empty((2 * (num_parts + 1), height // stride, width // stride), np.float32)
    label_maps(np.ascontiguousarray(people, np.float32), num_parts, stride, sigma, out)
    return out


def blank_unlabelled(label: NDArray[np.float32], codes: NDArray[np.float32]) -> None:
    """Overwrite with NaN, in both sets, the maps of the parts that the person to find has no label for (code 2).

    Not in the original, which trains such parts towards empty maps. The backgrounds stay.

    Parameters
    ----------
    label : ndarray, shape (2 * (num_parts + 1), h, w), float32
        Written.
    codes : ndarray, shape (num_parts,)

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.training.labels import blank_unlabelled
    >>> maps = np.zeros((6, 4, 4), np.float32)
    >>> blank_unlabelled(maps, np.array([1, 2], np.float32))
    >>> np.isnan(maps).all(axis=(1, 2)).tolist()
    [False, True, False, False, True, False]
    """
    label.reshape(2, len(codes) + 1, *label.shape[1:])[:, np.flatnonzero(codes == 2)] = np.nan


def center_map_at(center: NDArray[np.float32], sigma: float, crop_size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw the center map of one crop: one peak at `center` (x, y), crop px, shape (height, width).

    Raises
    ------
    DataError
        The center is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.training.labels import center_map_at
    >>> peak = center_map_at(np.array([5, 9], np.float32), 3.0, (16, 12))
    >>> peak.shape, float(peak[9, 5])
    ((12, 16), 1.0)
    """
    if not np.isfinite(center).all():
        raise DataError(f"center ({center[0]}, {center[1]}): a coordinate is not finite")
    out = np.zeros(crop_size[::-1], np.float32)
    add_gaussian(out, center[0], center[1], 1, sigma)
    return out


def _labels_reference(
    people: NDArray[np.float32], num_parts: int, stride: int, sigma: float, crop_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Do what `labels` does, written for reading: every cell of every map is visited."""
    width, height = crop_size
    sets = []
    for group in (people[:1], people):
        maps = np.zeros((num_parts, height // stride, width // stride), np.float32)
        for person in group:
            for part in range(num_parts):
                x, y, code = person[part]
                if code < 2:
                    maps[part] = np.minimum(maps[part] + _peak_reference(maps.shape[1:], x, y, stride, sigma), 1)
        background = np.maximum(1 - maps.max(axis=0), 0)
        sets += [maps, background[None]]
    return np.concatenate(sets)


def _peak_reference(shape: tuple[int, ...], x: float, y: float, stride: int, sigma: float) -> NDArray[np.float32]:
    start = stride / 2 - 0.5
    dy = (start + stride * np.arange(shape[0])).astype(np.float32) - np.float32(y)
    dx = (start + stride * np.arange(shape[1])).astype(np.float32) - np.float32(x)
    squared = (dx * dx)[None] + (dy * dy)[:, None]
    exponent = (squared.astype(np.float64) / 2 / sigma / sigma).astype(np.float32)
    return np.where(exponent > PEAK_CUTOFF, np.float32(0), np.exp(-exponent))
