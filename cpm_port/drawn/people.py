"""What drawn people look like: their clothes, and the round cones that body and clothes are made of.

Conventions: as of `postures.py`; lengths are in statures, and px once a person is in the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpm_port.drawn.postures import SIDES, Skeleton
from cpm_port.parts import CPM14

__all__ = [
    "Outfit",
    "Palette",
    "body_cones",
    "joint_radii",
    "random_color",
    "random_material",
    "random_outfit",
]

Array = NDArray[np.float64]
Cone = tuple[Array, float, Array, float, int]
"""Two ends with their radii, and the number of a material."""

_FORWARD = np.array([0.0, 0.0, 1.0])
_RADII = {
    "head": 0.055, "neck": 0.035, "shoulder": 0.045, "elbow": 0.034, "wrist": 0.026, "hip": 0.07, "knee": 0.05,
    "ankle": 0.05,
}  # fmt: skip
_SKIN = (
    (208, 222, 244),
    (170, 195, 235),
    (140, 170, 220),
    (105, 140, 195),
    (75, 105, 160),
    (50, 72, 115),
    (38, 50, 80),
)
_HAIR = ((25, 25, 28), (35, 50, 75), (60, 85, 120), (110, 170, 205), (50, 60, 130), (150, 150, 150), (215, 215, 220))


def joint_radii() -> Array:
    """Return how far the surface lies in front of each joint of `CPM14`, in statures, shape (14,)."""
    return np.array([_RADII[part.removeprefix("left_").removeprefix("right_").split("_")[0]] for part in CPM14.parts])


@dataclass
class Palette:
    """The materials of a scene, each a row of `MATERIAL_FIELDS`."""

    rows: list[NDArray[np.float32]]

    def add(self, row: NDArray[np.float32]) -> int:
        """Add a material and return its number."""
        self.rows.append(row)
        return len(self.rows) - 1


@dataclass(frozen=True)
class Outfit:
    """What a person looks like: numbers of materials, lengths of sleeves and trousers (0 none, 1 upper, 2 whole)."""

    skin: int
    hair: int
    top: int
    bottom: int
    shoes: int
    dark: int
    white: int
    lips: int
    sleeves: float
    legs: float
    skirt: bool
    hair_style: int
    girth: float
    backpack: int
    prop: int


def random_material(
    rng: np.random.Generator, color: tuple[float, ...] | None = None, *, patterned: float = 0.55, grain: float = 0.12
) -> NDArray[np.float32]:
    """Draw a material; `patterned` is the chance of a pattern."""
    first = np.array(color, np.float64) if color is not None else random_color(rng)
    second = random_color(rng)
    pattern = int(rng.integers(1, 6)) if rng.random() < patterned else 0
    along, around = rng.uniform(12, 60), rng.uniform(12, 60)
    return np.array(
        [
            *first,
            *second,
            pattern,
            along,
            around,
            rng.uniform(0.2, 0.6),
            rng.uniform(0.3, 1) * grain,
            rng.uniform(0, 0.12),
        ],
        np.float32,
    )


def random_outfit(rng: np.random.Generator, palette: Palette) -> Outfit:
    """Draw clothes, skin and hair, and add their materials to the palette."""
    tone = rng.uniform(0, len(_SKIN) - 1.001)
    at = int(tone)
    skin = np.array(_SKIN[at]) + (tone - at) * (np.array(_SKIN[at + 1]) - np.array(_SKIN[at]))
    top = palette.add(random_material(rng, _unlike(rng, skin)))
    one_piece = rng.random() < 0.12
    return Outfit(
        skin=palette.add(random_material(rng, tuple(skin), patterned=0, grain=0.05)),
        hair=palette.add(random_material(rng, _HAIR[rng.integers(len(_HAIR))], patterned=0, grain=0.35)),
        top=top,
        bottom=top if one_piece else palette.add(random_material(rng, _unlike(rng, skin), patterned=0.3)),
        shoes=palette.add(random_material(rng, patterned=0.1)),
        dark=palette.add(np.array([30, 30, 35, 0, 0, 0, 0, 1, 1, 0, 0, 0.2], np.float32)),
        white=palette.add(np.array([235, 235, 235, 0, 0, 0, 0, 1, 1, 0, 0, 0], np.float32)),
        lips=palette.add(np.array([*(skin * (0.75, 0.6, 0.9)), 0, 0, 0, 0, 1, 1, 0, 0, 0.1], np.float32)),
        sleeves=float(rng.choice([0, 0.5, 0.9, 2], p=[0.15, 0.35, 0.1, 0.4])),
        legs=float(rng.choice([0.45, 0.9, 1.4, 2], p=[0.15, 0.2, 0.1, 0.55])),
        skirt=bool(rng.random() < 0.12),
        hair_style=int(rng.choice(6, p=[0.08, 0.4, 0.2, 0.12, 0.12, 0.08])),
        girth=float(np.clip(rng.normal(1.05, 0.12), 0.85, 1.4)),
        backpack=palette.add(random_material(rng, patterned=0.2)) if rng.random() < 0.06 else -1,
        prop=palette.add(random_material(rng, patterned=0.2)) if rng.random() < 0.2 else -1,
    )


def body_cones(rng: np.random.Generator, points: Skeleton, outfit: Outfit) -> list[Cone]:
    """Dress a skeleton: the cones of body and clothes, in statures."""
    girth = outfit.girth
    cones: list[Cone] = []

    def add(start: Array, r0: float, end: Array, r1: float, material: int) -> None:
        cones.append((start, r0, end, r1, material))

    chest, hips = points["chest"], points["hips"]
    throat, waist, neck = points["throat"], points["waist"], points["neck"]
    shoulders = [points[f"{name}_shoulder"] for name in SIDES]
    collar = throat + chest @ np.array([0, -0.005, 0])
    add(throat, 0.036, neck + points["head"] @ np.array([0, -0.03, 0]), 0.03, outfit.skin)
    add(shoulders[0], 0.04 * girth, shoulders[1], 0.04 * girth, outfit.top)
    add(collar, 0.033, waist, 0.058 * girth, outfit.top)
    add(waist, 0.058 * girth, hips @ np.array([0, -0.03, 0]), 0.053 * girth, outfit.top)
    add(points["right_hip"], 0.06 * girth, points["left_hip"], 0.06 * girth, outfit.bottom)
    for side in SIDES.values():
        upper = waist + chest @ np.array([-side * 0.07, -0.17, 0])
        middle = waist + chest @ np.array([-side * 0.042, 0, 0])
        lower = hips @ np.array([-side * 0.047, -0.015, 0])
        add(upper, 0.045 * girth, middle, 0.052 * girth, outfit.top)
        add(middle, 0.052 * girth, lower, 0.058 * girth, outfit.top)
        add(lower, 0.061 * girth, lower + hips @ np.array([0, 0.03, 0]), 0.062 * girth, outfit.bottom)
    for name in SIDES:
        _add_arm(cones, points, name, outfit)
        _add_leg(cones, points, name, outfit)
    _add_head(cones, points, outfit)
    if outfit.backpack >= 0:
        add(
            throat + chest @ np.array([0, 0.03, -0.085]),
            0.05,
            waist + chest @ np.array([0, 0.01, -0.085]),
            0.06,
            outfit.backpack,
        )
    if outfit.prop >= 0:
        hand, grip = points["right_hand"], points["right_grip"]
        if rng.random() < 0.5:
            add(hand + grip @ np.array([0, 0.045, 0]), 0.05, hand + grip @ np.array([0, 0.046, 0]), 0.05, outfit.prop)
        else:
            add(
                hand - grip @ _FORWARD * 0.05,
                0.009,
                hand + grip @ _FORWARD * rng.uniform(0.2, 0.45),
                0.012,
                outfit.prop,
            )
    return cones


def _add_arm(cones: list[Cone], points: Skeleton, name: str, outfit: Outfit) -> None:
    shoulder, elbow, wrist, hand = (points[f"{name}_{part}"] for part in ("shoulder", "elbow", "wrist", "hand"))
    girth = math.sqrt(outfit.girth)
    if outfit.sleeves < 1:
        cones.append((shoulder, 0.036 * girth, elbow, 0.027 * girth, outfit.skin))
    cones.append((elbow, 0.027 * girth, wrist, 0.019 * girth, outfit.skin))
    cones.append((wrist, 0.019, hand, 0.017, outfit.skin))
    cones.append((hand, 0.019, hand + (hand - wrist) * 0.3, 0.013, outfit.skin))
    _cover(cones, (shoulder, elbow, wrist), (0.043 * girth, 0.034 * girth, 0.028 * girth), outfit.sleeves, outfit.top)


def _add_leg(cones: list[Cone], points: Skeleton, name: str, outfit: Outfit) -> None:
    hip, knee, ankle, toe, heel = (points[f"{name}_{part}"] for part in ("hip", "knee", "ankle", "toe", "heel"))
    girth = math.sqrt(outfit.girth)
    calf = knee + 0.3 * (ankle - knee)
    if outfit.legs < 1:
        cones.append((hip, 0.055 * girth, knee, 0.038 * girth, outfit.skin))
    cones.append((knee, 0.038 * girth, calf, 0.039 * girth, outfit.skin))
    cones.append((calf, 0.039 * girth, ankle, 0.024 * girth, outfit.skin))
    cones.append((heel, 0.026, toe, 0.02, outfit.shoes))
    cones.append((ankle, 0.026, heel, 0.026, outfit.shoes))
    radii = (0.062 * girth, 0.047 * girth, 0.038 * girth)
    length = outfit.legs
    if outfit.skirt:
        radii, length = (0.066 * girth, 0.07 * girth, 0.072 * girth), min(outfit.legs, 1.2)
    _cover(cones, (hip, knee, ankle), radii, length, outfit.bottom)


def _cover(
    cones: list[Cone], line: tuple[Array, Array, Array], radii: tuple[float, float, float], length: float, material: int
) -> None:
    """Cover a limb of two bones with cloth: `length` 1 reaches its middle joint, 2 its end."""
    first, middle, last = line
    if length <= 0:
        return
    upper = min(length, 1.0)
    hem = first + upper * (middle - first)
    cones.append((first, radii[0], hem, radii[0] + upper * (radii[1] - radii[0]), material))
    if length > 1:
        lower = (length - 1) * 0.93
        end = middle + lower * (last - middle)
        cones.append((middle, radii[1], end, radii[1] + lower * (radii[2] - radii[1]), material))


def _add_head(cones: list[Cone], points: Skeleton, outfit: Outfit) -> None:
    neck, head = points["neck"], points["head"]

    def add(start: tuple[float, ...], r0: float, end: tuple[float, ...], r1: float, material: int) -> None:
        cones.append((neck + head @ np.array(start), r0, neck + head @ np.array(end), r1, material))

    add((0, -0.04, 0.018), 0.037, (0, -0.086, 0), 0.054, outfit.skin)
    add((0, -0.052, 0.056), 0.009, (0, -0.066, 0.05), 0.007, outfit.skin)
    add((-0.014, -0.031, 0.05), 0.005, (0.014, -0.031, 0.05), 0.005, outfit.lips)
    for side in (-1.0, 1.0):
        add((side * 0.021, -0.074, 0.046), 0.0085, (side * 0.021, -0.074, 0.046), 0.0085, outfit.white)
        add((side * 0.021, -0.074, 0.051), 0.005, (side * 0.021, -0.074, 0.051), 0.005, outfit.dark)
        add((side * 0.03, -0.089, 0.046), 0.004, (side * 0.012, -0.091, 0.05), 0.004, outfit.hair)
        add((side * 0.053, -0.075, -0.004), 0.012, (side * 0.053, -0.06, -0.002), 0.009, outfit.skin)
    style = outfit.hair_style
    if style > 0:
        add((0, -0.092, -0.01), 0.055, (0, -0.096, -0.006), 0.053, outfit.hair)
    if style == 2:  # long
        add((0, -0.08, -0.025), 0.052, (0, 0.03, -0.04), 0.045, outfit.hair)
    if style == 3:  # tail
        add((0, -0.1, -0.055), 0.018, (0, 0.0, -0.085), 0.012, outfit.hair)
    if style == 4:  # cap
        add((0, -0.099, 0), 0.055, (0, -0.1, 0.004), 0.054, outfit.shoes)
        add((-0.028, -0.1, 0.062), 0.009, (0.028, -0.1, 0.062), 0.009, outfit.shoes)
    if style == 5:  # curls
        for angle in np.linspace(0, math.pi, 5):
            add(
                (0.045 * math.cos(angle), -0.1 - 0.03 * math.sin(angle), -0.01),
                0.027,
                (0, -0.1, -0.03),
                0.04,
                outfit.hair,
            )


def _unlike(rng: np.random.Generator, skin: Array) -> tuple[float, ...]:
    """Draw a color that cannot be mistaken for bare skin."""
    while True:
        color = random_color(rng)
        if np.abs(color - skin).max() > 70:
            return tuple(color)


def random_color(rng: np.random.Generator) -> Array:
    """Draw a color (blue, green, red): most are muted, some bright, some near black or white."""
    hue, value, saturation = rng.random(3).tolist()
    value, saturation = 255 * (0.12 + 0.88 * value) ** 0.8, saturation**1.3
    # each channel falls from 1 to 0 between one and two sixths of the circle from its own hue
    pure = (min(max(2 - abs((6 * hue - own + 3) % 6 - 3), 0), 1) for own in (4, 2, 0))
    return np.array([value * (1 - saturation * (1 - share)) for share in pure])
