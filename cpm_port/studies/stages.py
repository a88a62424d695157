"""Accuracy over the number of stages: the paper's Figure 6c.

Nets of 1, 2, ... stages, each trained jointly from scratch with a loss at every stage for the same number of
iterations; measured at their last stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpm_port.studies.common import (
    THRESHOLDS,
    Say,
    design,
    draw_people,
    figure,
    pck_curves,
    save,
    train,
    train_spec,
)
from cpm_port.studies.size import StudySize

__all__ = ["DEFAULT", "plot", "run"]

DEFAULT = StudySize(stages=4, width=16, box=96, batch=8, iterations=900, people=1500, held_out=200)


def run(scale: StudySize, say: Say) -> dict[str, Any]:
    """Train a net per number of stages; return the PCK of each one's last stage over the thresholds."""
    people = draw_people(scale)
    curves = {}
    for stages in range(1, scale.stages + 1):
        net = design(scale, stages)
        name = f"{stages} stage{'s' if stages > 1 else ''}"
        model = train(train_spec(net, scale), people, scale, say, name=name, iterations=scale.iterations)
        last = net.outputs[-1]
        curves[str(stages)] = pck_curves(model, people, [last])[last]
    return {"thresholds": THRESHOLDS, "pck": curves, "pck_at_0.2": {name: curve[-1] for name, curve in curves.items()}}


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw PCK over the normalized distance, one line per number of stages."""
    picture, axes = figure(5.0, 3.6)
    for name, curve in result["pck"].items():
        axes[0, 0].plot(
            result["thresholds"],
            curve,
            linewidth=1.4,
            label=f"{name} stage{'s' if name != '1' else ''}: {curve[-1]:.1f}",
        )
    axes[0, 0].set(xlabel="distance / torso", ylabel="PCK, %", ylim=(0, 100), xlim=(0, 0.2))
    title = f"accuracy over the number of stages, {result['scale']['iterations']} iterations each"
    axes[0, 0].set_title(title, fontsize=9)
    axes[0, 0].grid(color="#dddddd", linewidth=0.5)
    axes[0, 0].legend(fontsize=7, frameon=False)
    save(picture, path)
