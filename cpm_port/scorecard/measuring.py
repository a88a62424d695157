"""What the default model scores: by joint, stage, scale and pose, on LSP's test people, held-out people, drawn people.

NET, SAMPLES -> SECTIONS OF THE RECORD, as JSON values. The steps are those of `cpm-port evaluate` (a data set's rule
for center and scale, pyramid, net, peaks, protocol); here every stage's maps are kept, and the middle scale's alone.

Conventions: percentages have two decimals; hits and counts are exact. "Pyramid" is the release's seven scales about a
person's center, "single scale" the middle one, "flip" the pyramid of the image and of its mirror image, averaged.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.annotations.samples import Sample
from cpm_port.drawn.source import DrawnPeople
from cpm_port.evaluation.measure import Measurement, measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.recorded import MIRRORED, PYRAMID
from cpm_port.evaluation.scores import Score
from cpm_port.evaluation.truth import Truth
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid
from cpm_port.imaging.reading import read_image
from cpm_port.inference.interface import BeliefNet, read_interface
from cpm_port.inference.mirrored import MirroredNet
from cpm_port.inference.predict import Beliefs, gather, predict_person, run_net
from cpm_port.inference.whereabouts import search_of
from cpm_port.inference.whole_picture import find_person
from cpm_port.parts import CPM14, Convention, Joints
from cpm_port.predictions.values import Predictions
from cpm_port.report.plots import Case

__all__ = [
    "DRAWN",
    "HELD_OUT",
    "LSP",
    "Found",
    "by_pose",
    "drawn_people",
    "exchanged_people",
    "find_everywhere",
    "hits_by_person",
    "left_and_right",
    "measured",
    "score_section",
    "stage_section",
    "total_section",
    "ways_section",
    "whole_pictures",
]

HELD_OUT, LSP = "lspet-held-out", "lsp-pc"
BOOTSTRAP_SEED = 1
THRESHOLDS = (0.05, 0.1, 0.2)
DRAWN = DrawnPeople(count=100, seed=1001, difficulty=50)
"""Drawn people of a seed that no training command uses."""

Floats = NDArray[np.float64]


class Found(NamedTuple):
    """Joints of N people by the belief maps of every stage, first to last.

    Attributes
    ----------
    pyramid, single_scale : dict of str to ndarray, shape (N, 14, 2)
        Stage's blob -> joints in CPM14's order, 0-based image px.
    flip : ndarray, shape (N, 14, 2), or None
        By the last stage, with the mirror image's beliefs; None: not looked for.
    """

    pyramid: dict[str, Floats]
    single_scale: dict[str, Floats]
    flip: Floats | None = None

    @property
    def joints(self) -> Floats:
        """What the net as a whole finds: the last stage, with the pyramid."""
        return list(self.pyramid.values())[-1]


def find_everywhere(net: BeliefNet, samples: Sequence[Sample], sigma: float | None, *, flip: bool = False) -> Found:
    """Find people's joints by every stage, at seven scales and at one; on request with the mirror image too."""
    interface = read_interface(net, sigma=sigma)
    blobs, shape = interface.stages.values(), (len(samples), len(CPM14), 2)
    found = Found(
        {blob: np.empty(shape) for blob in blobs},
        {blob: np.empty(shape) for blob in blobs},
        np.empty(shape) if flip else None,
    )
    mirrored = MirroredNet(net, interface)
    for row, sample in enumerate(_progress(samples, samples[0].dataset)):
        image = read_image(sample.require_image())
        search = search_of(sample, (image.shape[0], image.shape[1]), interface.box_size)
        pyramid = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
        beliefs = run_net(net, interface, pyramid, stages=True)
        at = search.multipliers.index(1.0)
        middle = ScaleSearch(search.center_xy, search.base_scale, (1.0,))
        for stage, blob in interface.stages.items():
            maps = beliefs.stages[stage]
            merged = gather(Beliefs(maps), pyramid.geometries, interface, search)
            alone = gather(Beliefs(maps[at : at + 1]), pyramid.geometries[at : at + 1], interface, middle)
            found.pyramid[blob][row] = merged.joints_image
            found.single_scale[blob][row] = alone.joints_image
        if found.flip is not None:
            both = run_net(mirrored, interface, pyramid)
            found.flip[row] = gather(both, pyramid.geometries, interface, search).joints_image
    return found


def measured(xy: Floats, samples: Sequence[Sample], protocol: str) -> Measurement:
    """Score joints (N, 14, 2) in CPM14's order, person-centric."""
    found = Predictions(Joints(xy, Convention(CPM14, 0, "person")))
    return measure(protocol_named(protocol), found, Truth.of(samples, samples[0].dataset))


def score_section(measurement: Measurement, dataset: str, split: str, notes: str, source: str) -> dict[str, Any]:
    """Return a protocol's result with intervals and curve, as an entry of the record's `scores`."""
    result = measurement.result(bootstrap_seed=BOOTSTRAP_SEED)
    curve = measurement.curve()
    assert result.auc is not None
    assert result.total.interval is not None
    return {
        "dataset": dataset,
        "split": split,
        "protocol": result.protocol,
        "threshold": result.threshold,
        "status": "measured here",
        "values": {
            **{name: round(score.percent, 2) for name, score in result.parts.items()},
            "total": round(result.total.percent, 2),
        },
        "hits": result.total.hits,
        "count": result.total.count,
        "auc": round(result.auc, 2),
        "interval_95": [round(result.total.interval.low, 2), round(result.total.interval.high, 2)],
        "joints": {name: _rounded(score) for name, score in result.joints.items()},
        "curve": {
            "thresholds": [round(float(value), 2) for value in curve.thresholds],
            "total": [round(float(value), 2) for value in curve.total],
        },
        "protocol_notes": notes,
        "source": source,
    }


def total_section(measurement: Measurement) -> dict[str, Any]:
    """Return the total alone: hits, count and percent."""
    return _rounded(measurement.result().total)


def hits_by_person(measurement: Measurement) -> list[int]:
    """Return how many joints of each person are hit at the protocol's threshold."""
    return [int(hits) for hits in _hit(measurement).sum(axis=1)]


def ways_section(found: Found, samples: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """Return the last stage's totals, area under the curve and exchanged people, by every way of looking."""
    ways = {"single scale": list(found.single_scale.values())[-1], PYRAMID: found.joints}
    if found.flip is not None:
        ways[MIRRORED] = found.flip
    rows = {}
    for way, xy in ways.items():
        measurement = measured(xy, samples, protocol)
        rows[way] = {
            **{f"{threshold:g}": round(measurement.percent(threshold), 2) for threshold in THRESHOLDS},
            "auc": round(measurement.auc(), 2),
            "hits": measurement.result().total.hits,
            "exchanged": exchanged_people(xy, samples, protocol)["people"],
        }
    return {
        "what": f"{protocol}: percent at fractions of the torso, the area under the curve, hits, and people of whom "
        "more joints are hit with left and right exchanged as a whole",
        "protocol": protocol,
        **rows,
    }


def stage_section(found: Found, samples: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """Return the total after every stage (the paper's figure 6c), with the pyramid and at a single scale."""
    return {
        "what": f"{protocol} by the belief maps of every stage, first to last",
        **{
            way: {stage: _rounded(measured(xy, samples, protocol).result().total) for stage, xy in stages.items()}
            for way, stages in (("pyramid", found.pyramid), ("single_scale", found.single_scale))
        },
    }


def by_pose(measurement: Measurement, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return scores of people who are upright, lie or bend, and are upside down, by the torso's direction.

    The torso points from the middle of the hips to the neck; upright is less than 45 degrees off the vertical, upside
    down more than 135. People who lack one of those labels are in none of the groups.
    """
    order = samples[0].order
    joints = np.stack([sample.person.joints for sample in samples])
    hips = (joints[:, order.index("right_hip")] + joints[:, order.index("left_hip")]) / 2
    torso = joints[:, order.index("neck")] - hips
    angle = np.degrees(np.arctan2(np.abs(torso[:, 0]), -torso[:, 1]))
    groups = {"upright": angle < 45, "sideways": (angle >= 45) & (angle <= 135), "upside down": angle > 135}
    return {
        "what": f"{measurement.protocol.name} by the direction of the torso, in steps of 90 degrees",
        **{name: {"people": int(rows.sum()), **_share(measurement, rows)} for name, rows in groups.items()},
    }


def left_and_right(xy: Floats, samples: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """Return how many of the missed joints of arms and legs are hit once left and right are exchanged.

    Parameters
    ----------
    xy : ndarray, shape (N, 14, 2)
        Predictions in CPM14's order.
    """
    measurement = measured(xy, samples, protocol)
    limbs = [i for i, unit in enumerate(measurement.protocol.units) if unit.startswith(("left_", "right_"))]
    return {
        "what": "joints of arms and legs that are missed, and of those, hit by the prediction for the other side",
        "missed": int((measurement.errors > measurement.protocol.threshold)[:, limbs].sum()),
        "other_side": int(_exchanged(measurement, xy, samples).sum()),
    }


def exchanged_people(xy: Floats, samples: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """Return how many people are found with left and right exchanged as a whole.

    They are those of whom more joints are hit once every left joint's prediction is taken for the right one's and the
    other way round; `put_right` is the total that would be hit if they were.
    """
    measurement = measured(xy, samples, protocol)
    swapped = _other_way_round(xy, samples, protocol)
    hits, other = _hit(measurement).sum(axis=1), _hit(swapped).sum(axis=1)
    count = int(np.isfinite(measurement.errors).sum())
    better = int(np.maximum(hits, other).sum())
    return {
        "what": f"{protocol}: people of whom more joints are hit with left and right exchanged as a whole",
        "people": int((other > hits).sum()),
        "of": len(samples),
        "percent": round(100 * float((other > hits).mean()), 2),
        "put_right": {"hits": better, "count": count, "percent": round(100 * better / count, 2)},
    }


def whole_pictures(net: BeliefNet, samples: Sequence[Sample], sigma: float | None) -> Floats:
    """Return the joints (N, 14, 2) that `cpm-port predict` finds without being told where the person is."""
    found = []
    for sample in _progress(samples, "whole pictures"):
        image = read_image(sample.require_image())
        found.append(_joints(net, image, find_person(net, image, sigma=sigma), sigma))
    return np.stack(found)


def drawn_people(net: BeliefNet, sigma: float | None, shown: int) -> tuple[dict[str, Any], list[Case]]:
    """Return the score on drawn people, and the cases that are worst: pictures that may be shown to anybody."""
    box = read_interface(net).box_size
    people = [DRAWN[index] for index in range(len(DRAWN))]
    found = []
    for sample, image in _progress(people, "drawn people"):
        found.append(_joints(net, image, search_of(sample, (image.shape[0], image.shape[1]), box), sigma))
    xy, samples = np.stack(found), [sample for sample, _ in people]
    measurement = measured(xy, samples, LSP)
    exchanged = _exchanged(measurement, xy, samples).sum(axis=1)
    cases = []
    for row in np.argsort(-measurement.per_person(), kind="stable")[:shown]:
        sample, image = people[row]
        score = _share(measurement, slice(row, row + 1))
        rgb = np.ascontiguousarray(image[..., ::-1])
        subtitle = f"{score['hits']} of {score['count']} joints, {exchanged[row]} exchanged"
        cases.append(Case(sample.name, subtitle, rgb, sample.person.joints, found[row], CPM14))
    section = {
        "what": f"people of cpm_port.drawn.source with their center and scale given, by the rules of {LSP}",
        "people": {"count": DRAWN.count, "size": DRAWN.size, "seed": DRAWN.seed, "difficulty": DRAWN.difficulty},
        **_rounded(measurement.result().total),
        "left_and_right": left_and_right(xy, samples, LSP),
    }
    return section, cases


def _joints(net: BeliefNet, image: NDArray[np.uint8], search: ScaleSearch, sigma: float | None) -> Floats:
    return predict_person(net, image, search.center_xy, search.base_scale, search.multipliers, sigma=sigma).joints_image


def _other_way_round(xy: Floats, samples: Sequence[Sample], protocol: str) -> Measurement:
    """Score every joint's prediction for the other side's."""
    return measured(np.ascontiguousarray(xy[:, list(CPM14.mirrored())]), samples, protocol)


def _exchanged(measurement: Measurement, xy: Floats, samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return which joints (N, U) are missed, and hit by the prediction for the other side."""
    protocol = measurement.protocol
    swapped = _other_way_round(xy, samples, protocol.name)
    return (measurement.errors > protocol.threshold) & _hit(swapped)


def _hit(measurement: Measurement) -> NDArray[np.bool_]:
    """Return which joints (N, U) are within the protocol's threshold; those that are not annotated are not."""
    hit: NDArray[np.bool_] = measurement.errors <= measurement.protocol.threshold
    return hit


def _share(measurement: Measurement, rows: slice | NDArray[np.bool_]) -> dict[str, Any]:
    """Return what is found of some people; percent is None where nothing of them is annotated."""
    hits, count = int(_hit(measurement)[rows].sum()), int(np.isfinite(measurement.errors[rows]).sum())
    return {"hits": hits, "count": count, "percent": round(100 * hits / count, 2) if count else None}


def _rounded(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {"hits": score.hits, "count": score.count, "percent": round(score.percent, 2)}
    if score.interval is not None:
        result["interval_95"] = [round(score.interval.low, 2), round(score.interval.high, 2)]
    return result


def _progress(items: Any, title: str) -> Any:
    return tqdm(items, desc=title, unit="person", file=sys.stderr)
