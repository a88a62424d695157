"""Part names, each source's order, left and right: the only home of part indices, and of what coordinates mean.

Coordinates inside the package are `(x, y)` in 0-based pixels. MATLAB's 1-based values shift when a file is read or
written, nowhere else. Left and right are the person's own (person-centric) unless a name says observer-centric.

`Joints` carries coordinates together with their `Convention` (part order, index base, centricity); `Joints.to` is the
one place that turns a convention into another. It refuses what cannot be known: parts that the source lacks become NaN,
and observer-centric labels do not become person-centric again, because they no longer say who was seen from behind.

Source: `config.m` and `run_benchmark.m` of the authors' release (orders, 1-based integers), the LSP and FLIC label
files (which limbs the observer-centric ones exchange), and the transformer of the authors' Caffe fork.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, ShapeError

__all__ = [
    "BACKGROUND",
    "BODY25",
    "CENTRICITIES",
    "COCO17",
    "COCO18",
    "CPM14",
    "FLIC9",
    "FLIC11",
    "LSP14",
    "MPI15",
    "MPII16",
    "ORDERS",
    "Centricity",
    "Convention",
    "Joints",
    "PartOrder",
    "from_matlab",
    "release_order",
    "reorder",
    "side_of",
    "to_matlab",
    "to_observer_centric",
]

BACKGROUND = "background"
"""What the map that belongs to no part is called."""

Centricity = Literal["person", "observer"]
CENTRICITIES: tuple[Centricity, ...] = ("person", "observer")

_ARMS_AND_LEGS = (("shoulder", ("shoulder", "elbow", "wrist")), ("hip", ("hip", "knee", "ankle")))
_WHOLE_BODY = (("shoulder", ("shoulder", "elbow", "wrist", "hip")),)


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
    observer_groups : tuple of (str, tuple of str)
        How the source makes its observer-centric labels: where a person's right `decider` lies to the right of the
        left one in the image, the sides of the listed parts are exchanged. LSP exchanges arms and
        legs separately, FLIC the whole body.
    pairs : tuple of (str, str)
        Left and right counterparts whose names do not tell; those whose names do need not be here (`mirrored`).

    Examples
    --------
    >>> from cpm_port.parts import CPM14
    >>> len(CPM14), CPM14.index("neck"), CPM14.limbs[0]
    (14, 1, ('head_top', 'neck'))
    >>> CPM14.mirrored()[:5]
    (0, 1, 5, 6, 7)
    """

    name: str
    parts: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    observer_groups: tuple[tuple[str, tuple[str, ...]], ...] = _ARMS_AND_LEGS
    pairs: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.parts)

    def index(self, part: str) -> int:
        """Return the position of `part`; KeyError lists the known names."""
        try:
            return self.parts.index(part)
        except ValueError:
            raise KeyError(f"part {part!r} is not in order {self.name!r}: {', '.join(self.parts)}") from None

    def mirrored(self) -> tuple[int, ...]:
        """Return, for each part, the index of its left-right counterpart (itself where there is none).

        Counterparts are `pairs`, and names that differ in one side: `left_ear` and `right_ear`, `EarLeft` and
        `EarRight`, `L_Ear` and `R_Ear`.
        """
        result = list(range(len(self.parts)))
        for pair in self.pairs:
            a, b = map(self.index, pair)
            result[a], result[b] = b, a
        for i, part in enumerate(self.parts):
            for name in _on_the_other_side(part):
                j = self.parts.index(name) if name in self.parts else i
                if result[i] == i and result[j] == j:
                    result[i], result[j] = j, i
        return tuple(result)


_SIDE = re.compile(r"left|right|Left|Right|LEFT|RIGHT|(?<![A-Za-z])[LlRr](?![A-Za-z])|(?<=[a-z])[LR](?![A-Za-z])")
_OTHER = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_OTHER |= {right: left for left, right in _OTHER.items()}


def side_of(part: str) -> Literal["left", "right"] | None:
    """Return the side that a part's name tells, None where it tells none.

    Examples
    --------
    >>> from cpm_port.parts import side_of
    >>> [side_of(part) for part in ("left_knee", "RightAnkle", "neck")]
    ['left', 'right', None]
    """
    found = _SIDE.search(part)
    if found is None:
        return None
    return "left" if found[0].lower()[0] == "l" else "right"


def _on_the_other_side(part: str) -> list[str]:
    """Return what a part's counterpart may be called: its name with one of the sides in it exchanged."""
    return [part[: found.start()] + _OTHER[found[0]] + part[found.end() :] for found in _SIDE.finditer(part)]


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
    _WHOLE_BODY,
)  # fmt: skip

FLIC11 = PartOrder("flic11", (*FLIC9.parts[:-1], "left_eye", "right_eye", "head"), FLIC9.limbs, _WHOLE_BODY)
"""The eleven joints that FLIC labels; its nose stands for the head. The release drops the eyes."""

COCO17 = PartOrder(
    "coco17",
    (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    (
        *(limb for limb in _LIMBS if "neck" not in limb),
        ("left_shoulder", "right_shoulder"),
        ("left_hip", "right_hip"),
    ),
)  # fmt: skip

MPI15 = PartOrder("mpi15", (*CPM14.parts, "chest"), (*_LIMBS, ("neck", "chest")))
"""OpenPose's MPI model."""

_OPENPOSE_ARMS = (
    "nose", "shoulder_middle",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_OPENPOSE_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_OPENPOSE_HEAD = ("right_eye", "left_eye", "right_ear", "left_ear")

COCO18 = PartOrder("coco18", (*_OPENPOSE_ARMS, *_OPENPOSE_LEGS, *_OPENPOSE_HEAD), COCO17.limbs)
"""OpenPose's COCO model: what it calls the neck is the middle of the shoulders, no neck of LSP's or MPII's."""

BODY25 = PartOrder(
    "body25",
    (
        *_OPENPOSE_ARMS, "hip_middle", *_OPENPOSE_LEGS, *_OPENPOSE_HEAD,
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    ),
    COCO17.limbs,
)  # fmt: skip
"""OpenPose's BODY_25 model, its neck as in `COCO18`."""

ORDERS = {order.name: order for order in (CPM14, LSP14, MPII16, FLIC9, COCO17, MPI15, COCO18, BODY25)}


def release_order(num_parts: int) -> PartOrder | None:
    """Return the order of the release's nets of 14 or 9 parts; None for any other number.

    Examples
    --------
    >>> from cpm_port.parts import release_order
    >>> [order and order.name for order in map(release_order, (14, 9, 5))]
    ['cpm14', 'flic9', None]
    """
    return {len(CPM14): CPM14, len(FLIC9): FLIC9}.get(num_parts)


def reorder(joints: NDArray[np.float64], source: PartOrder, target: PartOrder) -> NDArray[np.float64]:
    """Move joints from one order to another, by name; parts that `source` lacks become NaN.

    Parameters
    ----------
    joints : ndarray, shape (..., len(source), K)
        Any trailing K values per joint.
    source, target : PartOrder
        The order of `joints` and the wanted one.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import CPM14, MPII16, reorder
    >>> both = reorder(np.zeros((14, 2)), CPM14, MPII16)
    >>> [part for part, known in zip(MPII16.parts, np.isfinite(both[:, 0])) if not known]
    ['pelvis', 'thorax']
    """
    result = np.full((*joints.shape[:-2], len(target), joints.shape[-1]), np.nan)
    for i, part in enumerate(target.parts):
        if part in source.parts:
            result[..., i, :] = joints[..., source.index(part), :]
    return result


def to_observer_centric(xy: NDArray[np.float64], order: PartOrder) -> NDArray[np.float64]:
    """Exchange left and right where the person's right side appears on the image's right.

    Parameters
    ----------
    xy : ndarray, shape (..., P, 2)
        Person-centric coordinates, in any index base; NaN compares as not crossed.
    order : PartOrder
        Their order; it says which parts are exchanged together (`PartOrder.observer_groups`).

    Returns
    -------
    ndarray, shape (..., P, 2)
        A copy. Applying it twice changes nothing more.

    Notes
    -----
    The files' labels were made by people, and this rule only comes close to them: after it no shoulders cross, while 70
    of LSP's 1000 observer-centric test images have crossed ones.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import CPM14, to_observer_centric
    >>> joints = np.zeros((14, 2))
    >>> joints[CPM14.index("right_shoulder")] = 90, 10  # right of the left one: seen from behind
    >>> to_observer_centric(joints, CPM14)[CPM14.index("left_shoulder")]
    array([90., 10.])
    """
    result = np.array(xy, dtype=np.float64)
    for decider, members in order.observer_groups:
        if f"right_{decider}" not in order.parts:
            continue
        crossed = xy[..., order.index(f"right_{decider}"), 0] > xy[..., order.index(f"left_{decider}"), 0]
        for member in members:
            if f"left_{member}" in order.parts:
                pair = [order.index(f"left_{member}"), order.index(f"right_{member}")]
                result[..., pair, :] = np.where(crossed[..., None, None], xy[..., pair[::-1], :], xy[..., pair, :])
    return result


@dataclass(frozen=True)
class Convention:
    """What a set of coordinates means.

    Attributes
    ----------
    order : PartOrder
        Which part each row is.
    base : {0, 1}
        Coordinate of the first pixel's centre: 0 here, 1 in MATLAB.
    centric : {"person", "observer"}
        Whose left and right the names mean.

    Examples
    --------
    >>> from cpm_port.parts import LSP14, Convention
    >>> str(Convention(LSP14, base=1, centric="observer"))
    'lsp14, 1-based, observer-centric'
    """

    order: PartOrder
    base: Literal[0, 1] = 0
    centric: Centricity = "person"

    def __str__(self) -> str:
        return f"{self.order.name}, {self.base}-based, {self.centric}-centric"


@dataclass(frozen=True, eq=False)
class Joints:
    """Coordinates of N people's joints, and what they mean.

    Attributes
    ----------
    xy : ndarray, shape (N, P, 2), float64
        `(x, y)` in image pixels; NaN where a joint is not given.
    convention : Convention
        Order, index base and centricity of `xy`.

    Raises
    ------
    ShapeError
        `xy` has another shape than (N, len(convention.order), 2).

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import CPM14, LSP14, Convention, Joints
    >>> lsp = Joints(np.ones((3, 14, 2)), Convention(LSP14, base=1))
    >>> lsp.to(Convention(CPM14)).xy[0, 0]
    array([0., 0.])
    """

    xy: NDArray[np.float64]
    convention: Convention

    def __post_init__(self) -> None:
        expected = len(self.convention.order)
        if self.xy.ndim != 3 or self.xy.shape[1:] != (expected, 2):
            raise ShapeError(
                f"joints have shape {self.xy.shape}, expected (N, {expected}, 2), order {self.convention.order.name!r}"
            )

    def __len__(self) -> int:
        return len(self.xy)

    def to(self, target: Convention) -> Joints:
        """Return the same joints under another convention.

        Raises
        ------
        DataError
            Observer-centric joints cannot become person-centric ones.
        """
        source = self.convention
        if source == target:
            return self
        if source.centric == "observer" and target.centric == "person":
            raise DataError(
                "observer-centric joints cannot become person-centric: they do not say who was seen from behind"
            )
        xy = np.asarray(self.xy, dtype=np.float64)
        if source.centric != target.centric:
            xy = to_observer_centric(xy, source.order)
        if source.base != target.base:
            xy = from_matlab(xy) if source.base == 1 else to_matlab(xy)
        if source.order != target.order:
            xy = reorder(xy, source.order, target.order)
        return Joints(xy, target)


def from_matlab(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn MATLAB's 1-based pixel coordinates into the package's 0-based ones; any shape, float64.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import from_matlab
    >>> from_matlab(np.array([1.0, 184.0]))
    array([  0., 183.])
    """
    return np.asarray(xy, dtype=np.float64) - 1.0


def to_matlab(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the package's 0-based pixel coordinates into MATLAB's 1-based ones; any shape, float64.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.parts import to_matlab
    >>> to_matlab(np.array([0.0, 183.0]))
    array([  1., 184.])
    """
    return np.asarray(xy, dtype=np.float64) + 1.0
