"""Augmentation that the release does not have: colours, grey, full turns, and patches that hide.

RECORDS -> **colours** -> the release's augmentation (its turn replaced where a full turn is drawn) -> **patches** ->
LABELS. All of it is off by default and in parity mode. Labels stay: a joint behind a patch still has its peak, as a
hidden joint has in the release.

Random numbers are a function of (seed, epoch, index), and not those of `augment.draw`: switching one of these on
changes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import UsageError
from cpm_port.release import PAD_VALUE
from cpm_port.training.augment import Augmentation

__all__ = ["ExtraDraws", "Extras"]

_GREY_WEIGHTS = np.array([0.114, 0.587, 0.299])  # of blue, green, red in the luma of ITU-R BT.601
_PATCH_SHARES = (0.1, 0.3)  # of the crop's side


@dataclass(frozen=True)
class Extras:
    """How much of what is not the release's.

    Attributes
    ----------
    color : float
        0 to 1. Contrast, saturation and each channel's gain vary by up to this share (gains by a quarter of it),
        brightness by up to this share of half the range.
    grey : float
        Probability that an image turns grey.
    full_turns : float
        Probability that the rotation is drawn from the whole circle instead of `max_rotate_degree`.
    cutout : float
        Probability that a grey square hides a part of the crop; its side is 0.1 to 0.3 of the crop's.

    Raises
    ------
    UsageError
        A number outside 0 to 1.
    """

    color: float = 0.0
    grey: float = 0.0
    full_turns: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name}: expected a number from 0 to 1, got {value}")

    def draw(self, seed: int, epoch: int, index: int) -> ExtraDraws:
        """Draw what happens to one example; a function of the arguments alone."""
        raw = np.random.Philox(key=seed, counter=[0, index, epoch, 2]).random_raw(16)
        dice = (raw >> np.uint64(40)) * 2.0**-24
        return ExtraDraws(
            color_map=self._color_map(dice[:7]),
            degree=float((dice[8] - 0.5) * 360) if dice[7] < self.full_turns else None,
            patch=tuple(dice[10:13].tolist()) if dice[9] < self.cutout else None,
        )

    def _color_map(self, dice: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the affine map of (blue, green, red, 1), shape (3, 4); None where colours stay."""
        turns_grey = dice[0] < self.grey
        if not (self.color or turns_grey):
            return None
        spread = (2 * dice[1:] - 1) * self.color
        contrast, saturation, brightness = 1 + spread[0], 1 + spread[1], spread[2] * 64
        saturation = 0.0 if turns_grey else saturation
        gains = 1 + spread[3:6] / 4
        mixed = saturation * np.eye(3) + (1 - saturation) * _GREY_WEIGHTS
        if not turns_grey:
            mixed = gains[:, None] * mixed
        shift = np.full((3, 1), PAD_VALUE * (1 - contrast) + brightness)
        return np.concatenate([contrast * mixed, shift], axis=1)


@dataclass(frozen=True, eq=False)
class ExtraDraws:
    """What happens to one example beyond the release's augmentation.

    Attributes
    ----------
    color_map : ndarray, shape (3, 4), or None
        Affine, of (blue, green, red, 1) in 0..255.
    degree : float or None
        The turn, instead of the one that the release's augmentation draws.
    patch : (float, float, float) or None
        Middle x and y as shares of the crop, and where in the range of sizes its side lies, all 0 to 1.
    """

    color_map: NDArray[np.float64] | None
    degree: float | None
    patch: tuple[float, ...] | None

    def recolored(self, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an image, planes (3, H, W) uint8, in other colours."""
        if self.color_map is None:
            return planes
        from cpm_port.imaging.opencv import cv2

        image = np.ascontiguousarray(planes.transpose(1, 2, 0))
        return np.ascontiguousarray(cv2.transform(image, self.color_map).transpose(2, 0, 1))

    def turned(self, augmentation: Augmentation) -> Augmentation:
        """Return the augmentation with this turn, where there is one."""
        return augmentation if self.degree is None else replace(augmentation, degree=self.degree)

    def hide(self, planes: NDArray[np.uint8]) -> None:
        """Lay the patch over a crop, planes (3, h, w) uint8, in place."""
        if self.patch is None:
            return
        x, y, size = self.patch
        height, width = planes.shape[1:]
        low, high = _PATCH_SHARES
        half = max(1, round((low + (high - low) * size) * width / 2))
        top, left = max(0, round(y * height) - half), max(0, round(x * width) - half)
        planes[:, top : round(y * height) + half, left : round(x * width) + half] = PAD_VALUE
