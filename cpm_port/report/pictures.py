"""The pictures of one score: its curve, its bars, and the people who went best and worst.

METRICS -> PICTURES. What `cpm-port evaluate --plots` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cpm_port.evaluation.measure import Measurement
from cpm_port.evaluation.run import Subject
from cpm_port.evaluation.scores import ProtocolResult
from cpm_port.files.atomic import atomic_path
from cpm_port.report.plots import bars, cases, curves
from cpm_port.report.ranking import extreme_cases, pictured_cases

__all__ = ["write_pictures"]


def write_pictures(
    folder: Path,
    measurement: Measurement,
    subject: Subject,
    bootstrap_seed: int | None = None,
    views: Mapping[str, ProtocolResult] | None = None,
) -> Iterator[Path]:
    """Write `curves.svg`, `bars.svg`, with viewpoints `views.svg`, and, where there are people to show, `cases.png`.

    Parameters
    ----------
    folder : Path
    measurement : Measurement
    subject : Subject
        What was measured.
    bootstrap_seed : int, optional
        The bars get 95 % intervals.
    views : mapping of str to ProtocolResult, optional
        Viewpoint -> score.

    Yields
    ------
    Path
        Each picture, when it is written.
    """
    name = measurement.protocol.name
    result = measurement.result(bootstrap_seed=bootstrap_seed)
    pictures = {
        "curves.svg": curves(
            f"{name}: detection rate over distance", "error / normalizer", {"measured": measurement.curve()}
        ),
        "bars.svg": bars(f"{name} @{result.threshold:g}", {"measured": result.joints}),
    }
    if views:
        totals = {view: score.total for view, score in views.items()}
        pictures["views.svg"] = bars(f"{name} @{result.threshold:g}, by where people face", {"measured": totals})
    people = pictured_cases(measurement, subject.predictions, subject.truth)
    title = f"{name}: people whose image is here, best to worst"
    if not people:
        people = extreme_cases(measurement, subject.predictions, subject.truth)
        title = f"{name}: the best people, then the worst"
    if people:
        pictures["cases.png"] = cases(title, people)
    for file, content in pictures.items():
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(content)
        yield folder / file
