"""A center and a scale for data sets that give none: what the release's `insertMPILikeScale` does for LSP.

SAMPLES -> SAMPLES. MPII says how tall each person is (`scale`, 200 px); LSP does not. A person's size is estimated from
the lengths of the limbs. Limbs point in all directions, so they may look shorter than they are, but never longer:

1. each limb's usual length, in head lengths (neck to head top): the median of limb / head over all people;
2. each of a person's limbs, divided by its usual length, estimates the person's head length. Of these estimates the
   75 % quantile is taken, because few limbs lie in the plane of the picture;
3. scale = head length / 35: a head of 35 px belongs to a person of 200 px, and to scale 1;
4. where the box around the joints, resized as for training (by 41/35 over the scale), would be longer than 304 px, the
   scale is raised until it is 304 px long: 32 px remain on either side of a box of 368.

The center is the middle of the box around the joints.

*Source*: the description of `insertMPILikeScale` in the release's `genJSON.m` (median of limb ratios, 75 % quantile,
35, 304). The function itself was not available, so details may differ: which limbs there are, which of them is the
unit, how quantiles interpolate (here linearly).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cpm_port.annotations.samples import Sample
from cpm_port.errors import DataError
from cpm_port.release import MPI_LIKE_HEAD_LENGTH, MPI_LIKE_LARGEST_BOX, MPI_LIKE_QUANTILE, TARGET_DIST

__all__ = ["with_mpi_like_scale"]

_HEAD_LIMB = ("head_top", "neck")


def with_mpi_like_scale(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with an estimated center and scale for every person; others in the image stay as they are.

    Parameters
    ----------
    samples : sequence of Sample
        All of one part order that has a head top and a neck. The estimate looks at all of them at once, so give whole
        data sets.

    Raises
    ------
    DataError
        No samples, several part orders, one without head and neck, no person with a head, or a person without a
        single limb.
    """
    if len({sample.order.name for sample in samples}) != 1:
        raise DataError("MPI-like scale: expected samples of one part order")
    order = samples[0].order
    if not set(_HEAD_LIMB) <= set(order.parts):
        raise DataError(f"MPI-like scale: order {order.name!r} has no {' and '.join(_HEAD_LIMB)}")
    limbs = list(dict.fromkeys([_HEAD_LIMB, *order.limbs]))
    ends = np.array([[order.index(first), order.index(second)] for first, second in limbs])
    joints = np.stack([sample.person.joints for sample in samples])
    lengths = np.linalg.norm(joints[:, ends[:, 0]] - joints[:, ends[:, 1]], axis=2)
    heads = _head_lengths(lengths, samples)
    result = []
    for sample, head, xy in zip(samples, heads, joints, strict=True):
        low, high = np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)
        smallest = float((high - low).max()) * TARGET_DIST / MPI_LIKE_LARGEST_BOX
        x, y = (low + high) / 2
        scale = max(head / MPI_LIKE_HEAD_LENGTH, smallest)
        result.append(replace(sample, person=replace(sample.person, center=(float(x), float(y)), scale=scale)))
    return result


def _head_lengths(lengths: NDArray[np.float64], samples: Sequence[Sample]) -> list[float]:
    """Estimate everybody's head length from limb lengths, shape (N, L), the head's first, NaN where unknown."""
    has_head = lengths[:, 0] > 0
    if not has_head.any():
        raise DataError("MPI-like scale: no person has both head top and neck")
    ratios = lengths[has_head] / lengths[has_head, :1]
    known = np.isfinite(ratios).any(axis=0)
    usual = np.full(lengths.shape[1], np.nan)
    usual[known] = np.nanmedian(ratios[:, known], axis=0)
    estimates = lengths / usual
    lacking = [sample.name for sample, row in zip(samples, estimates, strict=True) if not (row > 0).any()]
    if lacking:
        raise DataError(f"MPI-like scale: {len(lacking)} people without a single limb, the first {lacking[0]!r}")
    return [float(np.quantile(row[np.isfinite(row)], MPI_LIKE_QUANTILE)) for row in estimates]
