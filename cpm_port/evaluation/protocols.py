"""Named protocols: each fixes every choice that a printed number depends on.

JOINTS -> METRICS. The same predictions score 81.46 or 82.34 on MPII's validation split, so a number goes with the name
of its protocol. What separates them:

| protocol | normalizer | hit | head column | total |
| --- | --- | --- | --- | --- |
| lsp-pc, lsp-oc | ground truth's |left shoulder - right hip| | <= | head top and neck | pooled over 14 joints |
| lspet-held-out | same; people whose labels lack it do not count | <= | head top and neck | pooled, labelled joints |
| lsp-pcp | length of the true stick | <=, both ends | the stick | mean of ten sticks |
| flic-gt-torso | ground truth's |left shoulder - right hip| | <= | none | pooled over elbows and wrists |
| flic-predicted-torso | the prediction's | <= | none | same |
| flic-torso-box | diagonal of the torso box | <= | none | same |
| flic-raw-torso-box | same; labels and predictions person-centric | <= | none | same |
| mpii-official | 0.6 x head box diagonal | <= | upper neck and head top | pooled over 14 joints |
| mpii-pytorch-pose | same | < | head top | unweighted mean of 14 joints |
| mpii-msra | same | <= | head top | weighted by joint count, so pooled |

Effect on the release's and others' predictions: FLIC elbows 97.59 / 97.54 / 97.20 under the three; hourglass s2 b1 on
MPII 87.30 / 86.76 / 87.30; Tompson et al. 82.34 / 81.46 / 82.34.

A column's percentage is the mean of its joints' percentages (left and right, as every one of these evaluators prints
it); its hits and count are sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pcp import STICKS, stick_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import FLIC9, LSP14, MPII16, Centricity, Convention, PartOrder

__all__ = ["PROTOCOLS", "Protocol", "protocol_named"]

Floats = NDArray[np.float64]
Measure = Callable[[Floats, Truth], Floats]
Columns = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes
    ----------
    name : str
        As on the command line.
    dataset : {"LSP", "LSPET", "FLIC", "MPI", "OWN"}
        Whose ground truth it takes.
    convention : Convention
        What predictions and ground truth are brought to before they are compared.
    units : tuple of str
        What is counted: joints, or sticks.
    columns : dict of str to tuple of str
        The printed columns and the units that each averages.
    measure : callable
        (predicted (N, P, 2), truth) -> normalized errors (N, U).
    threshold : float
        The one whose numbers are quoted.
    limit : float or None
        Last threshold of the curve and its area; None: the protocol has none.
    strict : bool
        A hit is `<` rather than `<=`.
    total : {"pooled", "unweighted"}
        Whether the total weighs units by their counts.
    extras : dict of str to float
        Further thresholds that its own code prints, under the name it prints.
    rules : str
        Its rules in words.
    needed : tuple of str
        The parts that must be there, where the units do not tell.

    Examples
    --------
    >>> from cpm_port.evaluation.protocols import PROTOCOLS
    >>> PROTOCOLS["lsp-pc"].threshold, PROTOCOLS["lsp-pc"].strict
    (0.2, False)
    """

    name: str
    dataset: str
    convention: Convention
    units: tuple[str, ...]
    columns: Columns
    measure: Measure
    threshold: float
    limit: float | None
    strict: bool
    total: Literal["pooled", "unweighted"]
    extras: dict[str, float]
    rules: str
    needed: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that must be there: the units themselves, or the ends of the sticks."""
        if self.needed:
            return self.needed
        if set(self.units) <= set(self.convention.order.parts):
            return self.units
        return tuple(dict.fromkeys(part for unit in self.units for end in STICKS[unit] for part in end))

    def of_limbs(self) -> Protocol:
        """Return the protocol of joints without what is not a limb's: head top and neck.

        For part orders that have none (COCO's, and OpenPose's but for MPI). It has a name of its own, for its total is
        no other's.
        """
        kept = [u for u, unit in enumerate(self.units) if unit in _LIMB_JOINTS]
        left_out = [unit for unit in self.units if unit not in _LIMB_JOINTS]
        columns = {name: units for name, units in self.columns.items() if set(units) <= set(_LIMB_JOINTS)}
        return replace(
            self,
            name=f"{self.name} without {' and '.join(left_out)}",
            units=tuple(self.units[u] for u in kept),
            columns=columns,
            measure=lambda predicted, truth: self.measure(predicted, truth)[:, kept],
            extras={},
        )

    def column_indices(self) -> dict[str, list[int]]:
        """Return each column's positions among the units."""
        return {name: [self.units.index(unit) for unit in units] for name, units in self.columns.items()}

    def percentages(self, hits: NDArray[Any], counts: NDArray[Any]) -> tuple[Floats, dict[str, Floats]]:
        """Turn counts into the percentages that the protocol prints.

        Parameters
        ----------
        hits, counts : ndarray, shape (..., U)
            Per unit.

        Returns
        -------
        total : ndarray, shape (...)
        columns : dict of str to ndarray, shape (...)
            NaN where nothing was counted.
        """
        with np.errstate(invalid="ignore"):
            single = 100 * hits / counts
            pooled = 100 * hits.sum(axis=-1) / counts.sum(axis=-1)
        total = pooled if self.total == "pooled" else single.mean(axis=-1)
        return total, {name: single[..., index].mean(axis=-1) for name, index in self.column_indices().items()}


PROTOCOLS: dict[str, Protocol] = {}


def protocol_named(name: str) -> Protocol:
    """Return the protocol `name`.

    Raises
    ------
    UsageError
        There is none; the message lists them.

    Examples
    --------
    >>> from cpm_port.evaluation.protocols import protocol_named
    >>> protocol_named("lsp-pc").name
    'lsp-pc'
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _protocol(
    name: str,
    dataset: str,
    order: PartOrder,
    columns: Columns,
    *,
    threshold: float,
    limit: float | None,
    centric: Centricity = "person",
    strict: bool = False,
    total: Literal["pooled", "unweighted"] = "pooled",
    units: tuple[str, ...] | None = None,
    extras: dict[str, float] | None = None,
) -> Callable[[Measure], Measure]:
    """Register a function (predicted, truth) -> errors, with its docstring as the rules, under a name."""
    counted = units or tuple(dict.fromkeys(unit for group in columns.values() for unit in group))

    def register(measure: Measure) -> Measure:
        assert name not in PROTOCOLS
        assert measure.__doc__
        PROTOCOLS[name] = Protocol(
            name, dataset, Convention(order, 0, centric), counted, columns, measure, threshold, limit, strict, total,
            extras or {}, measure.__doc__,
        )  # fmt: skip
        return measure

    return register


_LIMBS = {
    "Sho": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Kne": ("right_knee", "left_knee"),
    "Ank": ("right_ankle", "left_ankle"),
}
_LIMB_JOINTS = frozenset(part for group in _LIMBS.values() for part in group)
_HEAD_AND_NECK = {"Head": ("head_top", "neck"), **_LIMBS}
_HEAD_TOP = {"Head": ("head_top",), **_LIMBS}
_FOURTEEN = tuple(part for group in _HEAD_AND_NECK.values() for part in group)
_ARMS = {"Elb": ("left_elbow", "right_elbow"), "Wri": ("left_wrist", "right_wrist")}
_STICK_COLUMNS = {
    "Torso": ("torso",),
    "Upper leg": ("right_upper_leg", "left_upper_leg"),
    "Lower leg": ("right_lower_leg", "left_lower_leg"),
    "Upper arm": ("right_upper_arm", "left_upper_arm"),
    "Forearm": ("right_forearm", "left_forearm"),
    "Head": ("head",),
}


def _joint_errors(predicted: Floats, truth: Truth, normalizer: Floats, units: tuple[str, ...]) -> Floats:
    order = truth.joints.convention.order
    index = [order.index(unit) for unit in units]
    return normalized_errors(predicted[:, index], truth.joints.xy[:, index], normalizer)


@_protocol("lsp-pc", "LSP", LSP14, _HEAD_AND_NECK, threshold=0.2, limit=0.2)
def lsp_pc(predicted: Floats, truth: Truth) -> Floats:
    """Person-centric PCK on LSP's 1000 test images: the paper's, and `run_benchmark.m`'s.

    All 14 joints count, hidden or not. Error <= threshold x |left shoulder - right hip| of the ground truth, 0.2 by
    custom; area under the curve over 0:0.01:0.2. Head averages head top and neck, the others left and right.

    Differs from `lsp-oc` in the labels (left and right are the person's own), from `lsp-pcp` in counting joints.
    """
    return _joint_errors(predicted, truth, torso_diameter(truth.joints.xy, LSP14), _FOURTEEN)


@_protocol("lsp-oc", "LSP", LSP14, _HEAD_AND_NECK, threshold=0.2, limit=0.2, centric="observer")
def lsp_oc(predicted: Floats, truth: Truth) -> Floats:
    """Observer-centric PCK on LSP's test images: the rules of `lsp-pc` with the observer's left and right.

    Predictions must be observer-centric too. Person-centric ones (every released model's) scored as they stand get
    72.64 and 69.46 where `lsp-pc` gives 90.50 and 84.32; stated as person-centric they are converted first
    (`cpm_port.parts.to_observer_centric`) and get 89.05 and 84.56.
    """
    return _joint_errors(predicted, truth, torso_diameter(truth.joints.xy, LSP14), _FOURTEEN)


@_protocol("lspet-held-out", "LSPET", LSP14, _HEAD_AND_NECK, threshold=0.2, limit=0.2)
def lspet_held_out(predicted: Floats, truth: Truth) -> Floats:
    """Person-centric PCK on the held-out people of the extended Leeds set, images 8501 to 9000: our own protocol.

    The rules of `lsp-pc` with what those labels lack taken into account: joints that are absent or lie outside the
    image do not count, nor do people whose left shoulder or right hip is absent, since nothing normalizes them. The
    test pyramid takes center and scale from the labels' box (`annotations/lspet.py`), where LSP's takes the image's.
    The labels are noisier than LSP's and the poses wilder: the numbers of the two do not compare.
    """
    torso = torso_diameter(truth.joints.xy, LSP14)
    counted = np.isfinite(torso) & (torso > 0)
    known = np.where(counted[:, None, None], truth.joints.xy, np.nan)
    index = [LSP14.index(part) for part in _FOURTEEN]
    return normalized_errors(predicted[:, index], known[:, index], np.where(counted, torso, 1.0))


@_protocol("lsp-pcp", "LSP", LSP14, _STICK_COLUMNS, threshold=0.5, limit=None, total="unweighted", units=tuple(STICKS))
def lsp_pcp(predicted: Floats, truth: Truth) -> Floats:
    """Strict PCP on LSP's test images, person-centric: ten sticks, both ends within half the true stick's length.

    As MPII's LSP toolkit: the torso runs from mid-shoulders to mid-hips, the mean is over the ten sticks. Differs from
    `lsp-pc` in its unit (a stick needs both of its ends) and its normalizer (each stick's own length).
    """
    return stick_errors(predicted, truth.joints.xy, LSP14)


@_protocol("flic-gt-torso", "FLIC", FLIC9, _ARMS, threshold=0.2, limit=0.2, centric="observer")
def flic_gt_torso(predicted: Floats, truth: Truth) -> Floats:
    """PCK of elbows and wrists on FLIC's 1016 test images, by the ground truth's torso: the paper's printed numbers.

    Observer-centric labels. Error <= threshold x |left shoulder - right hip| of the *ground truth*. Differs from
    `flic-predicted-torso`, the release's script, in whose torso it is; the paper's 97.59 / 95.03 come from this one.
    """
    return _joint_errors(predicted, truth, torso_diameter(truth.joints.xy, FLIC9), _flat(_ARMS))


@_protocol("flic-predicted-torso", "FLIC", FLIC9, _ARMS, threshold=0.2, limit=0.2, centric="observer")
def flic_predicted_torso(predicted: Floats, truth: Truth) -> Floats:
    """PCK of elbows and wrists on FLIC as the release's script is written: by the *prediction's* torso.

    Error <= threshold x |left shoulder - right hip| of the prediction: a net that draws people larger scores better.
    Otherwise `flic-gt-torso`. Gives 97.54 / 94.98 where the paper prints 97.59 / 95.03. All joints of a person whose
    torso is not predicted are misses.
    """
    torso = torso_diameter(predicted, FLIC9)
    known = ~np.isnan(torso)
    if not known.any():
        raise DataError("no prediction has both left shoulder and right hip, which flic-predicted-torso normalizes by")
    with_torso = np.where(known[:, None, None], predicted, np.nan)
    return _joint_errors(with_torso, truth, np.where(known, torso, 1.0), _flat(_ARMS))


@_protocol("flic-torso-box", "FLIC", FLIC9, _ARMS, threshold=0.2, limit=0.2, centric="observer")
def flic_torso_box(predicted: Floats, truth: Truth) -> Floats:
    """PCK of elbows and wrists on FLIC by the diagonal of the annotated torso box.

    Otherwise `flic-gt-torso`; gives 97.20 / 94.49 where that gives 97.59 / 95.03.
    """
    if truth.torso_diagonal is None:
        raise DataError(f"{truth.source}: no torso boxes, which flic-torso-box normalizes by")
    return _joint_errors(predicted, truth, truth.torso_diagonal, _flat(_ARMS))


@_protocol("flic-raw-torso-box", "FLIC", FLIC9, _ARMS, threshold=0.2, limit=0.2)
def flic_raw_torso_box(predicted: Floats, truth: Truth) -> Floats:
    """PCK of elbows and wrists on FLIC as MPII's benchmark prints it: raw labels, diagonal of the torso box.

    Labels and predictions are person-centric, as FLIC's authors labelled; otherwise `flic-torso-box`. The ground truth
    is `FLIC-joints-raw-test.mat`, whose twelfth column is the torso box's width and height, or `examples.mat`.
    """
    if truth.torso_diagonal is None:
        raise DataError(f"{truth.source}: no torso boxes, which flic-raw-torso-box normalizes by")
    return _joint_errors(predicted, truth, truth.torso_diagonal, _flat(_ARMS))


@_protocol("mpii-official", "MPI", MPII16, _HEAD_AND_NECK, threshold=0.5, limit=0.5)
def mpii_official(predicted: Floats, truth: Truth) -> Floats:
    """PCKh as MPII's own toolkit prints it.

    Error <= threshold x 0.6 x diagonal of the head box, 0.5 by custom; 14 joints (pelvis and thorax left out), those
    annotated. Head averages upper neck and head top; the total pools all joints; area over 0:0.01:0.5.

    Differs from `mpii-pytorch-pose` in the hit, the head column and the mean; from `mpii-msra` in the head column.
    """
    return _joint_errors(predicted, truth, _head_size(truth), _FOURTEEN)


@_protocol(
    "mpii-pytorch-pose", "MPI", MPII16, _HEAD_TOP, threshold=0.5, limit=0.5, strict=True, total="unweighted",
    units=_FOURTEEN,
)  # fmt: skip
def mpii_pytorch_pose(predicted: Floats, truth: Truth) -> Floats:
    """PCKh as pytorch-pose and the hourglass follow-ups print it.

    Error *<* 0.5 x 0.6 x diagonal of the head box; the Head column is head top alone; the total is the unweighted mean
    of the 14 joints' percentages (pelvis and thorax left out). Ankles, annotated less often, weigh as much as the
    rest here, so it lies half a point to a point below `mpii-official`.
    """
    return _joint_errors(predicted, truth, _head_size(truth), _FOURTEEN)


@_protocol(
    "mpii-msra", "MPI", MPII16, _HEAD_TOP, threshold=0.5, limit=0.5, units=_FOURTEEN,
    extras={"Mean@0.1 as printed (threshold 0.11)": 0.11},
)  # fmt: skip
def mpii_msra(predicted: Floats, truth: Truth) -> Floats:
    """PCKh as MSRA's Simple Baselines and HRNet print it.

    Error <= 0.5 x 0.6 x diagonal of the head box; the Head column is head top alone; the total weighs the 14 joints by
    their counts, which makes it `mpii-official`'s. The "Mean@0.1" that their code prints is taken at threshold 0.11 (it
    reads its table one row too far); it is given under that name.
    """
    return _joint_errors(predicted, truth, _head_size(truth), _FOURTEEN)


def _head_size(truth: Truth) -> Floats:
    if truth.head_size is None:
        raise DataError(f"{truth.source}: no head boxes, which PCKh normalizes by")
    return truth.head_size


def _flat(columns: Columns) -> tuple[str, ...]:
    return tuple(unit for group in columns.values() for unit in group)
