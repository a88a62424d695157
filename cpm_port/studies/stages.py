"""Accuracy over the number of stages: the paper's Figure 6c.

Nets of 1, 2, ... stages, each trained jointly from scratch with a loss at every stage for the same number of
iterations; measured at their last stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpm_port.studies.common import Say, design, draw_people, pck_curves, plot_curves, train, train_spec
from cpm_port.studies.size import StudySize

__all__ = ["DEFAULT", "NUMBER", "numbers", "plot", "run"]

NUMBER = "PCK@0.2, %"
DEFAULT = StudySize(stages=6, width=16, box=96, batch=8, iterations=250, people=1000, held_out=200)


def run(scale: StudySize, say: Say) -> dict[str, Any]:
    """Train a net per number of stages; return the PCK of each one's last stage over the thresholds."""
    people = draw_people(scale)
    curves = {}
    for stages in range(1, scale.stages + 1):
        net = design(scale, stages)
        model = train(train_spec(net, scale), people, scale, say, name=_title(stages), iterations=scale.iterations)
        last = net.outputs[-1]
        curves[str(stages)] = pck_curves(model, people, [last])[last]
    return {"pck": curves}


def numbers(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return PCK at 0.2 of every run by number of stages."""
    return {_title(int(stages)): [run["pck"][stages][-1] for run in runs] for stages in runs[0]["pck"]}


def plot(record: dict[str, Any], path: Path) -> None:
    """Draw PCK over the normalized distance, a line per number of stages."""
    titles = {stages: _title(int(stages)) for stages in record["runs"][0]["pck"]}
    plot_curves(record, titles, "accuracy over the number of stages", path)


def _title(stages: int) -> str:
    return f"{stages} stage{'s' if stages > 1 else ''}"
