"""The CPM data layer's `transform_param`: its fields, and the order that stored joints are brought into.

Conventions: 16 stored joints are in MPII's order (`MPII16`). For 14 parts they are brought into `CPM14`'s order; for
28 these are followed by pelvis and thorax and by the middles of twelve limbs; any other number of parts is taken as
stored.

*Source*: shihenw/caffe@d154e89 `caffe.proto` (fields and defaults), `data_transformer.cpp` (orders, what a flip
exchanges).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, LayerError
from cpm_port.parts import CPM14, FLIC9, MPII16

__all__ = ["TransformParameters", "arrange_parts", "resized_box"]

_REORDERED_14 = tuple(MPII16.index(part) for part in CPM14.parts)
# 28 parts: the 14, pelvis and thorax, and the middles of twelve limbs, each the mean of two stored joints
_FIRST_28 = (*_REORDERED_14, 7, 6, 9, 8, 12, 11, 8, 13, 14, 2, 1, 3, 4, 6)
_SECOND_28 = (*_REORDERED_14, 7, 6, 8, 12, 11, 10, 13, 14, 15, 1, 0, 4, 5, 7)
_MIDDLES_SWAPPED = {17: 20, 18: 21, 19: 22, 23: 25, 24: 26}
_MIRROR_28 = tuple(
    {**dict(enumerate(CPM14.mirrored())), **_MIDDLES_SWAPPED, **{b: a for a, b in _MIDDLES_SWAPPED.items()}}.get(i, i)
    for i in range(28)
)
_MIRRORS = {9: FLIC9.mirrored(), 14: CPM14.mirrored(), 28: _MIRROR_28}


@dataclass(frozen=True)
class TransformParameters:
    """The fields of `transform_param` that the CPM data layer uses, with the fork's names and defaults.

    Attributes
    ----------
    mirror : tuple of int, optional
        Not a field: for each part the part that a flip exchanges it with. None follows the original: its tables for 9,
        14 and 28 parts if `transform_body_joint`, else no exchange.

    Raises
    ------
    LayerError
        Values that the original would crash on, or that contradict each other.
    """

    stride: int = 4
    flip_prob: float = 0.5
    max_rotate_degree: float = 5.0
    crop_size_x: int = 368
    crop_size_y: int = 368
    scale_prob: float = 0.5
    scale_min: float = 0.9
    scale_max: float = 1.1
    target_dist: float = 1.0
    center_perterb_max: float = 10.0
    sigma: float = 7.0
    sigma_center: float = 21.0
    clahe_tile_size: float = 8.0
    clahe_clip_limit: float = 4.0
    do_clahe: bool = False
    num_parts: int = 14
    num_total_augs: int = 82
    aug_way: str = "rand"
    gray: int = 0
    np_in_lmdb: int = 16
    transform_body_joint: bool = True
    put_gaussian: bool = True
    mirror: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.put_gaussian:
            raise LayerError("transform_param: put_gaussian false; the original then writes past the end of its blob")
        positive = ("stride", "crop_size_x", "crop_size_y", "target_dist", "sigma", "sigma_center", "num_parts")
        bad = [f"{name} {getattr(self, name)}" for name in positive if not getattr(self, name) > 0]
        if bad:
            raise LayerError(f"transform_param: {', '.join(bad)}; expected positive numbers")
        stored = 16 if self.reorders else self.num_parts
        if self.np_in_lmdb < stored:
            raise LayerError(f"transform_param: np_in_lmdb {self.np_in_lmdb}; {self.num_parts} parts need {stored}")
        if self.mirror is not None and sorted(self.mirror) != list(range(self.num_parts)):
            raise LayerError(f"mirror {self.mirror}: expected a permutation of {self.num_parts} parts")

    @classmethod
    def from_message(cls, view: Any) -> TransformParameters:
        """Read a layer's `transform_param` (`LayerSpec.params.transform_param`)."""
        names = [name for name in cls.__dataclass_fields__ if name != "mirror"]
        try:
            return cls(**{name: getattr(view, name) for name in names})
        except AttributeError as error:
            raise LayerError(f"transform_param is not the CPM fork's: {error}") from error

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of the crop."""
        return self.crop_size_x, self.crop_size_y

    @property
    def reorders(self) -> bool:
        """Whether stored joints are brought into another order."""
        return self.transform_body_joint and self.num_parts in (14, 28)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For each part, the part whose place it takes in a flipped image."""
        if self.mirror is not None:
            return self.mirror
        default = tuple(range(self.num_parts))
        return _MIRRORS.get(self.num_parts, default) if self.transform_body_joint else default


def resized_box(parameters: TransformParameters, box: int) -> TransformParameters:
    """Return the parameters for a square box of another side, the person and the center map in proportion to it.

    A joint's peak keeps its `sigma`, which the stride bounds from below.

    Raises
    ------
    LayerError
        The box is not a positive multiple of the stride.
    """
    if box < 1 or box % parameters.stride:
        raise LayerError(f"box: expected a positive multiple of the stride {parameters.stride}, got {box}")
    share = box / parameters.crop_size_x
    return replace(
        parameters,
        crop_size_x=box,
        crop_size_y=box,
        target_dist=parameters.target_dist * share,
        sigma_center=parameters.sigma_center * share,
        center_perterb_max=parameters.center_perterb_max * share,
    )


def arrange_parts(joints: NDArray[np.float32], parameters: TransformParameters) -> NDArray[np.float32]:
    """Bring one person's stored joints into the layer's order.

    Parameters
    ----------
    joints : ndarray, shape (J, 3), float32
        x, y and code; at least `np_in_lmdb` of them. Code 2 is a joint without a peak.

    Returns
    -------
    ndarray, shape (num_parts, 3), float32
        A middle of two joints has code 2 if either has, and is seen (1) if both are.

    Raises
    ------
    DataError
        Fewer joints than `np_in_lmdb`.
    """
    if len(joints) < parameters.np_in_lmdb:
        raise DataError(f"{len(joints)} joints stored, expected at least {parameters.np_in_lmdb} (np_in_lmdb)")
    if not parameters.reorders:
        return joints[: parameters.num_parts]
    if parameters.num_parts == 14:
        return joints[list(_REORDERED_14)]
    first, second = joints[list(_FIRST_28)], joints[list(_SECOND_28)]
    middles = (first + second) * np.float32(0.5)
    middles[:, 2] = np.where((first[:, 2] == 2) | (second[:, 2] == 2), 2, (first[:, 2] == 1) & (second[:, 2] == 1))
    return middles
