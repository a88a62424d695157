"""Part names, each source's order, left and right: the only home of part indices.

Coordinates inside the package are `(x, y)` in 0-based pixels. MATLAB's 1-based values shift when a file is read or
written (`from_matlab`, `to_matlab`), nowhere else. Left and right are the person's own (person-centric) unless a name
says observer-centric.

Source: `cpm_port` notes on the release's `run_benchmark.m` and `config.m`, and the transformer of the authors' Caffe fork.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CPM14",
    "FLIC9",
    "LSP14",
    "MPII16",
    "ORDERS",
    "PartOrder",
    "from_matlab",
    "reorder",
    "to_matlab",
]


@dataclass(frozen=True)
class PartOrder:
    """The order in which one source lists its parts.

    Attributes
    ----------
    name : str
        Name of the order, as used on the command line.
    parts : tuple of str
        Part names, in order.
    limbs : tuple of (str, str)
        Pairs of parts that a drawing joins.
    """

    name: str
    parts: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.parts)

    def index(self, part: str) -> int:
        """Return the position of `part`; KeyError lists the known names."""
        try:
            return self.parts.index(part)
        except ValueError:
            raise KeyError(f"part {part!r} is not in order {self.name!r}: {', '.join(self.parts)}") from None

    def mirrored(self) -> tuple[int, ...]:
        """Return, for each part, the index of its left-right counterpart (itself where there is none)."""
        swap = {"left": "right", "right": "left"}
        result = []
        for i, part in enumerate(self.parts):
            side, _, rest = part.partition("_")
            other = f"{swap[side]}_{rest}" if side in swap else part
            result.append(self.parts.index(other) if other in self.parts else i)
        return tuple(result)


_LIMBS = (
    ("head_top", "neck"),
    ("neck", "right_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("neck", "left_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "left_hip"),
)

CPM14 = PartOrder(
    "cpm14",
    (
        "head_top", "neck",
        "right_shoulder", "right_elbow", "right_wrist",
        "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle",
        "left_hip", "left_knee", "left_ankle",
    ),
    _LIMBS,
)  # fmt: skip

LSP14 = PartOrder(
    "lsp14",
    (
        "right_ankle", "right_knee", "right_hip",
        "left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist",
        "neck", "head_top",
    ),
    _LIMBS,
)  # fmt: skip

MPII16 = PartOrder(
    "mpii16",
    (
        "right_ankle", "right_knee", "right_hip",
        "left_hip", "left_knee", "left_ankle",
        "pelvis", "thorax", "neck", "head_top",
        "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist",
    ),
    (*_LIMBS, ("neck", "thorax"), ("thorax", "pelvis")),
)  # fmt: skip

FLIC9 = PartOrder(
    "flic9",
    (
        "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist",
        "left_hip", "right_hip", "head",
    ),
    (
        ("left_shoulder", "left_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_shoulder", "right_elbow"),
        ("right_elbow", "right_wrist"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
    ),
)  # fmt: skip

ORDERS = {order.name: order for order in (CPM14, LSP14, MPII16, FLIC9)}


def reorder(joints: NDArray[np.float64], source: PartOrder, target: PartOrder) -> NDArray[np.float64]:
    """Move joints from one order to another, by name; parts that `source` lacks become NaN.

    Parameters
    ----------
    joints : ndarray, shape (..., len(source), K)
        Any trailing K values per joint.
    source, target : PartOrder
        The order of `joints` and the wanted one.
    """
    result = np.full((*joints.shape[:-2], len(target), joints.shape[-1]), np.nan)
    for i, part in enumerate(target.parts):
        if part in source.parts:
            result[..., i, :] = joints[..., source.index(part), :]
    return result


def from_matlab(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """1-based MATLAB pixel coordinates to the package's 0-based ones."""
    return np.asarray(xy, dtype=np.float64) - 1.0


def to_matlab(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """0-based pixel coordinates to MATLAB's 1-based ones."""
    return np.asarray(xy, dtype=np.float64) + 1.0
