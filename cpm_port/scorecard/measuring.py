"""What the default model scores: by joint, stage, scale and pose, on held-out people, LSP's test images, drawn people.

NET, SAMPLES -> SECTIONS OF THE RECORD, as JSON values. The steps are those of `cpm-port evaluate` (a data set's rule
for center and scale, pyramid, net, peaks, protocol); here every stage's maps are kept, and the middle scale's alone.

Conventions: percentages have two decimals; hits and counts are exact. "Pyramid" is the release's seven scales about a
person's center, "single scale" the middle one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.annotations.samples import Sample
from cpm_port.drawn.source import DrawnPeople
from cpm_port.errors import DataError
from cpm_port.evaluation.measure import Measurement, measure
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.scores import Score
from cpm_port.evaluation.truth import Truth
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid
from cpm_port.imaging.reading import read_image
from cpm_port.inference.interface import BeliefNet, read_interface
from cpm_port.inference.predict import Beliefs, gather, predict_person, run_net
from cpm_port.inference.whereabouts import search_of
from cpm_port.inference.whole_picture import find_person
from cpm_port.parts import CPM14, Convention, Joints
from cpm_port.predictions.values import Predictions
from cpm_port.report.plots import Case

__all__ = [
    "DRAWN",
    "FIRST",
    "HELD_OUT",
    "LSP",
    "Found",
    "by_pose",
    "drawn_people",
    "find_everywhere",
    "first_people",
    "left_and_right",
    "lsp_samples",
    "measured",
    "per_image",
    "score_section",
    "stage_section",
    "whole_pictures",
]

HELD_OUT, LSP = "lspet-held-out", "lsp-pc"
BOOTSTRAP_SEED = 1
FIRST = 20  # held-out people who are also scored by themselves, for a quick check
DRAWN = DrawnPeople(count=100, seed=1001, difficulty=50)
"""Drawn people of a seed that no training command uses."""

Floats = NDArray[np.float64]


class Found(NamedTuple):
    """Joints of N people by the belief maps of every stage, first to last.

    Attributes
    ----------
    pyramid, single_scale : dict of str to ndarray, shape (N, 14, 2)
        Stage's blob -> joints in CPM14's order, 0-based image px.
    """

    pyramid: dict[str, Floats]
    single_scale: dict[str, Floats]

    @property
    def joints(self) -> Floats:
        """What the net as a whole finds: the last stage, with the pyramid."""
        return list(self.pyramid.values())[-1]


def find_everywhere(net: BeliefNet, samples: Sequence[Sample], sigma: float | None) -> Found:
    """Find people's joints by every stage, at seven scales and at one."""
    interface = read_interface(net, sigma=sigma)
    blobs, shape = interface.stages.values(), (len(samples), len(CPM14), 2)
    found = Found({blob: np.empty(shape) for blob in blobs}, {blob: np.empty(shape) for blob in blobs})
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


def first_people(measurement: Measurement) -> dict[str, Any]:
    """Return the score of the first people, whom `cpm-port evaluate --limit` scores in seconds."""
    return {"people": FIRST, **_share(measurement, slice(FIRST))}


def per_image(measurement: Measurement, samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Return every person's score, by the samples' names."""
    return {sample.name: _share(measurement, slice(i, i + 1)) for i, sample in enumerate(samples)}


def stage_section(found: Found, samples: Sequence[Sample], protocol: str) -> dict[str, Any]:
    """Return the total after every stage (the paper's figure 6c), with the pyramid and at a single scale."""
    return {
        "what": f"{protocol} by the belief maps of every stage, first to last",
        **{
            way: {stage: _rounded(measured(xy, samples, protocol).result().total) for stage, xy in stages.items()}
            for way, stages in found._asdict().items()
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


def lsp_samples(samples: Iterable[Sample], folders: Sequence[Path]) -> list[Sample]:
    """Return LSP's test people whose image lies in one of the folders, with its path.

    Raises
    ------
    DataError
        There is none.
    """
    images = {path.stem: path for folder in folders for path in sorted(folder.glob("*.jpg"))}
    found = [replace(s, image=images[s.name]) for s in samples if s.split == "test" and s.name in images]
    if not found:
        raise DataError(f"{', '.join(map(str, folders))}: no test image of LSP (im1001.jpg to im2000.jpg)")
    return found


def _joints(net: BeliefNet, image: NDArray[np.uint8], search: ScaleSearch, sigma: float | None) -> Floats:
    return predict_person(net, image, search.center_xy, search.base_scale, search.multipliers, sigma=sigma).joints_image


def _exchanged(measurement: Measurement, xy: Floats, samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return which joints (N, U) are missed, and hit by the prediction for the other side."""
    protocol = measurement.protocol
    swapped = measured(np.ascontiguousarray(xy[:, list(CPM14.mirrored())]), samples, protocol.name)
    return (measurement.errors > protocol.threshold) & (swapped.errors <= protocol.threshold)


def _share(measurement: Measurement, rows: slice | NDArray[np.bool_]) -> dict[str, Any]:
    """Return what is found of some people; percent is None where nothing of them is annotated."""
    errors = measurement.errors[rows]
    hits, count = int((errors <= measurement.protocol.threshold).sum()), int(np.isfinite(errors).sum())
    return {"hits": hits, "count": count, "percent": round(100 * hits / count, 2) if count else None}


def _rounded(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {"hits": score.hits, "count": score.count, "percent": round(score.percent, 2)}
    if score.interval is not None:
        result["interval_95"] = [round(score.interval.low, 2), round(score.interval.high, 2)]
    return result


def _progress(items: Any, title: str) -> Any:
    return tqdm(items, desc=title, unit="person", file=sys.stderr)
