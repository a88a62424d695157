"""The release's numbers: box, stride, scales, Gaussians, normalisation. Their only home.

Every room that tests, trains or writes a net as the authors did takes these numbers from here. Most are stated for a
box of 368 px; `center_sigma` and `target_dist` say how they change with another box. What a data set's annotations
mean by `scale` and `head_size` stands here too, as the release builds on it. The defaults of Caffe's own fields are
not here: they belong to the schema (`caffe/_tables.py`, `training/transform_param.py`), even where they are equal.

Units: box px are pixels of the net's input; scaled px are those of the resized image, before the crop.

Source, for each number: a file of the release (`config.m`, `run_benchmark.m`, `applyModel.m`, its demo, `genJSON.m`,
`genProto.py`, the deploy prototxts), the CPM fork's data layer (`data_transformer.cpp`) or a data set's own page, as
the reference notes describe them (`release_testing.md`, `transformer.md`).
"""

from __future__ import annotations

__all__ = [
    "BENCHMARK_MULTIPLIERS",
    "BOX_SIZE",
    "CENTER_SIGMA",
    "DEMO_PERSON_HEIGHT",
    "DEMO_SCALES_PER_OCTAVE",
    "DEMO_SHARES",
    "FLIC_SCALE_PER_TORSO",
    "LSP_BOX_SHARE",
    "MPII_HEAD_SHARE",
    "MPII_PERSON_HEIGHT",
    "MPI_LIKE_HEAD_LENGTH",
    "MPI_LIKE_LARGEST_BOX",
    "MPI_LIKE_QUANTILE",
    "PAD_VALUE",
    "PEAK_CUTOFF",
    "PIXEL_DIVISOR",
    "PIXEL_OFFSET",
    "STRIDE",
    "TARGET_DIST",
    "TRAIN_ROTATION",
    "TRAIN_SCALES",
    "TRAIN_TARGET_DIST",
    "center_sigma",
    "flic_center",
    "target_dist",
]

# The nets

BOX_SIZE = 368
"""Side of the input of all released pose nets, box px (`config.m`, the deploy prototxts)."""

STRIDE = 8
"""Box px per cell of a belief map, in all released nets (their three poolings; `genProto.py`)."""

CENTER_SIGMA = 21.0
"""Standard deviation of the center map, box px of a box of 368 (`config.m`, `sigma`)."""

# The input

PAD_VALUE = 128
"""What fills the box beyond the image, in testing (`applyModel.m`) and in training (`data_transformer.cpp`)."""

PIXEL_DIVISOR = 256
"""A pixel value goes into the net as `value / 256 - 0.5` (`applyModel.m`, `data_transformer.cpp`) ..."""

PIXEL_OFFSET = PAD_VALUE / PIXEL_DIVISOR
"""... so the padding becomes 0."""

# Where and how large to look for a person

BENCHMARK_MULTIPLIERS = (0.7, 0.7999999999999999, 0.8999999999999999, 1.0, 1.1, 1.2, 1.3)
"""`0.7:0.1:1.3` (`config.m`), with the last bits that MATLAB's range has: they decide how a scaled size rounds up."""

MPII_PERSON_HEIGHT = 200.0
"""MPII's `scale` is the person's height over this many image px (the data set's page)."""

MPII_HEAD_SHARE = 0.6
"""PCKh's head size is this share of the diagonal of MPII's head box (MPII's evaluation toolkit)."""

TARGET_DIST = 41 / 35
"""A person of MPII scale `s` is resized by `TARGET_DIST / s`, so to 234 box px of a box of 368 (`config.m`)."""

LSP_BOX_SHARE = 0.8
"""LSP gives no scale: the image's height is brought to this share of the box (`run_benchmark.m`)."""

FLIC_SCALE_PER_TORSO = 0.0110
"""FLIC's people: MPII scale per image px of the torso box's height (`run_benchmark.m`)."""

DEMO_PERSON_HEIGHT = 1.2
"""The demo takes a person to be this many times as tall as the rectangle that the user drags."""

DEMO_SHARES = (3.0, 0.8)
"""The demo's scales go from the one at which the box is 3.0 such people tall to the one at which it is 0.8."""

DEMO_SCALES_PER_OCTAVE = 6
"""The demo's scales per factor of 2 (`config.m`, `octave`)."""

# Training

TRAIN_TARGET_DIST = 1.171
"""`TARGET_DIST` as `genProto.py` writes it into the train prototxt."""

TRAIN_SCALES = (0.7, 1.3)
"""Least and greatest random factor on a training person's scale (`genProto.py`)."""

TRAIN_ROTATION = 40.0
"""Training images are turned by up to this many degrees, either way (`genProto.py`)."""

PEAK_CUTOFF = 4.6052
"""A peak of a training map ends where `d^2 / (2 sigma^2)` exceeds this, at the value 0.01 (`data_transformer.cpp`)."""

# The scale that training gives to LSP's people (`genJSON.m`)

MPI_LIKE_HEAD_LENGTH = 35.0
"""Length of the head (neck to head top), image px, of a person of scale 1."""

MPI_LIKE_QUANTILE = 0.75
"""Of the head lengths that a person's limbs suggest, the one that counts."""

MPI_LIKE_LARGEST_BOX = 304.0
"""A person's joints span at most this many box px at `TARGET_DIST`: 32 px remain on either side of a box of 368."""


def center_sigma(box_size: int) -> float:
    """Return the center map's sigma for a box of another size: in proportion, so 21 at 368."""
    return CENTER_SIGMA * (box_size / BOX_SIZE)


def target_dist(box_size: int) -> float:
    """Return `TARGET_DIST` for a box of another size: in proportion, so a person fills the same share of any box."""
    return TARGET_DIST * (box_size / BOX_SIZE)


def flic_center(torso_box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return where the release looks for a person of FLIC (`run_benchmark.m`); `torso_box` is `(x1, y1, x2, y2)`."""
    x1, y1, x2, y2 = torso_box
    return (x1 + x2) / 2, 0.7 * y1 + 0.3 * y2
