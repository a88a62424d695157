"""Synthetic predictions with known scores: what `cpm-port regress` recomputes without any data set.

    python -m cpm_port.evaluation.embedded reference_results

writes `embedded/{lsp,flic,mpii}.json` and `synthetic.json`, the reference rows that go with them. Everything is drawn
from one seed, in whole pixels.

The scores are known by construction, not by running the code under test: a joint's distance is a whole-number vector,
every normalizer of the ground truth is the hypotenuse of a whole right triangle, and a hit is decided by comparing
integers (10^4 |d|^2 <= k^2 |n|^2 for the threshold k/100; `_hit`). Distances are drawn to fall on thresholds often, so
that `<` and `<=` give different scores, and the three MPII protocols different totals.

Conventions: 0-based coordinates; an annotation that is missing is null.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.errors import DataError
from cpm_port.evaluation.protocols import PROTOCOLS, Protocol
from cpm_port.evaluation.truth import Truth
from cpm_port.files.atomic import atomic_path
from cpm_port.files.json_text import read_json
from cpm_port.parts import CENTRICITIES, FLIC9, LSP14, MPII16, ORDERS, Centricity, Convention, Joints, PartOrder
from cpm_port.predictions.values import Predictions

__all__ = ["main", "read_embedded", "synthetic_files"]

_SEED = 20160627
_PEOPLE = 60
_COMMAND = "python -m cpm_port.evaluation.embedded reference_results"
_POSE = {  # one person facing the camera, in units of a torso whose diagonal is 100 (60 across, 80 down)
    "head_top": (30, -40), "head": (30, -25), "neck": (30, -10), "thorax": (30, 0), "pelvis": (30, 80),
    "right_shoulder": (0, 0), "left_shoulder": (60, 0), "right_hip": (0, 80), "left_hip": (60, 80),
    "right_elbow": (-15, 40), "left_elbow": (75, 40), "right_wrist": (-20, 78), "left_wrist": (80, 78),
    "right_knee": (-2, 140), "left_knee": (62, 140), "right_ankle": (-4, 200), "left_ankle": (64, 200),
}  # fmt: skip
_TRIPLES = ((3, 4, 5), (4, 3, 5), (5, 12, 13), (8, 15, 17), (12, 16, 20), (0, 1, 1), (1, 0, 1))


def read_embedded(path: Path) -> tuple[Predictions, Truth]:
    """Read one of the synthetic sets.

    Raises
    ------
    DataError
        The file is not what this module writes.
    """
    try:
        content = read_json(path)
        order, centric = ORDERS[content["order"]], content["centric"]
        if centric not in CENTRICITIES:
            raise ValueError(f"centric {centric!r}")
        convention = Convention(order, 0, centric)
        truth = np.array(
            [[[np.nan, np.nan] if p is None else p for p in person] for person in content["truth"]], dtype=np.float64
        )
        predicted = np.array(content["predicted"], dtype=np.float64)
        heads, torsos = content.get("head_size"), content.get("torso_diagonal")
        return (
            Predictions(Joints(predicted, convention), None, None, str(path)),
            Truth(
                Joints(truth, convention),
                None if heads is None else np.array(heads, dtype=np.float64),
                None if torsos is None else np.array(torsos, dtype=np.float64),
                tuple(f"synthetic{i + 1:03d}" for i in range(len(truth))),
                (None,) * len(truth),
                str(path),
            ),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a synthetic set of this package ({type(error).__name__}: {error})") from error


def synthetic_files() -> dict[str, dict[str, Any]]:
    """Return the files' contents by name: three sets and their reference rows."""
    draw = np.random.default_rng(_SEED)
    sets = {
        "lsp": _set(draw, LSP14, "person", spread=24),
        "flic": _set(draw, FLIC9, "observer", spread=22),
        "mpii": _set(draw, MPII16, "person", spread=40, heads=True),
    }
    rows = []
    for name, protocols in (
        ("lsp", ("lsp-pc",)),
        ("flic", ("flic-gt-torso", "flic-predicted-torso", "flic-torso-box")),
        ("mpii", ("mpii-official", "mpii-pytorch-pose", "mpii-msra")),
    ):
        for protocol in protocols:
            rows.append(_reference_row(name, PROTOCOLS[protocol], sets[name]))
    reference = {"schema": 1, "title": "Synthetic predictions, scores known by construction", "dataset": "synthetic"}
    return {**{f"embedded/{name}": content for name, content in sets.items()}, "synthetic": {**reference, "rows": rows}}


def _set(
    draw: np.random.Generator, order: PartOrder, centric: Centricity, *, spread: int, heads: bool = False
) -> dict[str, Any]:
    """Draw one set: a grown and moved pose per person, and predictions beside it by whole-number vectors."""
    truth: list[list[list[int] | None]] = []
    predicted: list[list[list[int]]] = []
    sizes = []
    for _ in range(_PEOPLE):
        grow = int(draw.integers(1, 4))
        origin = draw.integers(100, 200, size=2)
        joints = [[int(v) for v in origin + grow * np.array(_POSE[part])] for part in order.parts]
        truth.append([list(joint) for joint in joints])
        predicted.append([[int(v) for v in np.array(joint) + grow * _offset(draw, spread)] for joint in joints])
        sizes.append(grow)
    if heads:  # a tenth of MPII's joints is not annotated
        for person in truth:
            for j in range(len(order)):
                if draw.random() < 0.1:
                    person[j] = None
    content: dict[str, Any] = {
        "made by": _COMMAND, "order": order.name, "centric": centric, "truth": truth, "predicted": predicted,
    }  # fmt: skip
    if heads:
        content["head_size"] = [60.0 * size for size in sizes]  # 0.6 times a box whose diagonal is 100
    if order == FLIC9:
        content["torso_diagonal"] = [90.0 * size for size in sizes]
    return content


def _offset(draw: np.random.Generator, spread: int) -> Any:
    """Draw a whole-number vector of whole length, of all sizes up to about `spread` and sometimes far beyond."""
    x, y, length = _TRIPLES[int(draw.integers(len(_TRIPLES)))]
    times = int(draw.integers(0, max(spread // length, 1) + 1))
    if draw.random() < 0.05:
        times = 6 * spread // length
    return np.array([x, y]) * times * draw.choice([-1, 1], size=2)


def _hit(distance_squared: int, length_squared: Fraction, hundredths: int, strict: bool) -> bool:
    left, right = Fraction(10_000 * distance_squared), hundredths**2 * length_squared
    return left < right if strict else left <= right


def _length_squared(protocol: str, content: Mapping[str, Any], person: int) -> Fraction:
    """Return the square of a protocol's normalizer, exactly."""
    order = ORDERS[content["order"]]
    if protocol.startswith("mpii"):
        return Fraction(content["head_size"][person]) ** 2
    if protocol == "flic-torso-box":
        return Fraction(content["torso_diagonal"][person]) ** 2
    joints = content["predicted" if protocol == "flic-predicted-torso" else "truth"][person]
    shoulder, hip = joints[order.index("left_shoulder")], joints[order.index("right_hip")]
    return Fraction((shoulder[0] - hip[0]) ** 2 + (shoulder[1] - hip[1]) ** 2)


def _count(protocol: Protocol, content: Mapping[str, Any], hundredths: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return hits and counts per joint by integer comparison alone."""
    order = ORDERS[content["order"]]
    hits, counts = dict.fromkeys(protocol.units, 0), dict.fromkeys(protocol.units, 0)
    for person, joints in enumerate(content["truth"]):
        length = _length_squared(protocol.name, content, person)
        for unit in protocol.units:
            place, guess = joints[order.index(unit)], content["predicted"][person][order.index(unit)]
            if place is None:
                continue
            counts[unit] += 1
            squared = (place[0] - guess[0]) ** 2 + (place[1] - guess[1]) ** 2
            hits[unit] += _hit(squared, length, hundredths, protocol.strict)
    return hits, counts


def _percent(units: Sequence[str], hits: Mapping[str, int], counts: Mapping[str, int]) -> Fraction:
    """Return the mean of the units' percentages."""
    return sum((Fraction(100 * hits[u], counts[u]) for u in units), Fraction(0)) / len(units)


def _total(protocol: Protocol, hits: Mapping[str, int], counts: Mapping[str, int]) -> Fraction:
    if protocol.total == "unweighted":
        return _percent(protocol.units, hits, counts)
    return Fraction(100 * sum(hits.values()), sum(counts.values()))


def _reference_row(name: str, protocol: Protocol, content: Mapping[str, Any]) -> dict[str, Any]:
    hits, counts = _count(protocol, content, round(100 * protocol.threshold))
    target: dict[str, float] = {}
    for column, units in protocol.columns.items():
        target[column] = round(float(_percent(units, hits, counts)), 6)
        target[f"{column} hits"] = sum(hits[u] for u in units)
    target["total"] = round(float(_total(protocol, hits, counts)), 6)
    target["total hits"] = sum(hits.values())
    steps = round(100 * (protocol.limit or 0))
    curve = [_total(protocol, *_count(protocol, content, k)) for k in range(steps + 1)]
    area = sum(((a + b) / 2 for a, b in itertools.pairwise(curve)), Fraction(0)) / steps
    target["auc"] = round(float(area), 6)
    return {
        "id": f"synthetic/{protocol.name}",
        "model": f"synthetic {name}",
        "split": f"{_PEOPLE} drawn people",
        "protocol": protocol.name,
        "threshold": protocol.threshold,
        "status": "measured here",
        "source": f"this package: {_COMMAND}",
        "target": target,
        "tolerance": 1e-5,
        "inputs": {"predictions": f"embedded/{name}.json", "truth": f"embedded/{name}.json"},
        "explanation": "Scores known by construction, counted with whole numbers.",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sets and their reference rows into a folder."""
    parser = argparse.ArgumentParser(description="Write the synthetic predictions and their reference rows.")
    parser.add_argument("folder", type=Path, help="the checkout's reference_results")
    folder = parser.parse_args(argv).folder
    for name, content in synthetic_files().items():
        lines = json.dumps(content, indent=2) if name == "synthetic" else _compact(content)
        with atomic_path(folder / f"{name}.json") as temporary:
            temporary.write_text(lines + "\n", encoding="utf-8")
    return 0


def _compact(content: Mapping[str, Any]) -> str:
    """Return JSON with one person per line."""
    parts = []
    for key, value in content.items():
        if key in ("truth", "predicted"):
            text = "[\n" + ",\n".join("  " + json.dumps(person, separators=(",", ":")) for person in value) + "\n ]"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


if __name__ == "__main__":
    raise SystemExit(main())
