"""Four ways of training the stages: the paper's Figure 6b.

(i) all stages jointly from scratch, with a loss at every stage; (ii) stage by stage, each trained while the ones
before it are frozen; (iii) as (ii), for two thirds of the time, then all jointly; (iv) jointly from scratch with the
last stage's loss alone. Every scheme gets the same number of iterations in all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpm_port.graph import CaffeNet
from cpm_port.studies.common import (
    THRESHOLDS,
    People,
    Say,
    design,
    draw_people,
    figure,
    pck_curves,
    save,
    train,
    train_spec,
    with_stages,
)
from cpm_port.studies.size import StudySize

__all__ = ["DEFAULT", "plot", "run"]

DEFAULT = StudySize(stages=3, width=16, box=96, batch=8, iterations=900, people=1500, held_out=200)

_TITLES = {
    "joint": "(i) joint, a loss at every stage",
    "stagewise": "(ii) stage by stage",
    "finetuned": "(iii) stage by stage, then joint",
    "unsupervised": "(iv) joint, the last loss alone",
}


def run(scale: StudySize, say: Say) -> dict[str, Any]:
    """Train with every scheme; return each one's PCK of the last stage over the thresholds."""
    people = draw_people(scale)
    net = design(scale)
    last = net.outputs[-1]
    trained = {
        "joint": _joint(scale, people, say, _TITLES["joint"], scale.iterations),
        "stagewise": _stagewise(scale, people, say, _TITLES["stagewise"], scale.iterations),
    }
    early = _stagewise(scale, people, say, _TITLES["finetuned"], scale.iterations * 2 // 3)
    rest = scale.iterations - scale.iterations * 2 // 3
    trained["finetuned"] = _joint(scale, people, say, _TITLES["finetuned"], rest, weights=early)
    trained["unsupervised"] = _joint(
        scale, people, say, _TITLES["unsupervised"], scale.iterations, losses=[scale.stages]
    )
    curves = {name: pck_curves(model, people, [last])[last] for name, model in trained.items()}
    return {"thresholds": THRESHOLDS, "pck": curves, "pck_at_0.2": {name: curve[-1] for name, curve in curves.items()}}


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw PCK over the normalized distance, one line per scheme."""
    picture, axes = figure(5.0, 3.6)
    for name, curve in result["pck"].items():
        axes[0, 0].plot(result["thresholds"], curve, linewidth=1.4, label=f"{_TITLES[name]}: {curve[-1]:.1f}")
    axes[0, 0].set(xlabel="distance / torso", ylabel="PCK, %", ylim=(0, 100), xlim=(0, 0.2))
    title = f"four ways of training {result['scale']['stages']} stages, {result['scale']['iterations']} iterations each"
    axes[0, 0].set_title(title, fontsize=9)
    axes[0, 0].grid(color="#dddddd", linewidth=0.5)
    axes[0, 0].legend(fontsize=7, frameon=False)
    save(picture, path)


def _joint(
    scale: StudySize,
    people: People,
    say: Say,
    name: str,
    iterations: int,
    *,
    losses: list[int] | None = None,
    weights: CaffeNet | None = None,
) -> CaffeNet:
    stages = range(1, scale.stages + 1)
    spec = with_stages(train_spec(design(scale), scale), losses or stages, stages)
    return train(spec, people, scale, say, name=name, iterations=iterations, weights=weights)


def _stagewise(scale: StudySize, people: People, say: Say, name: str, iterations: int) -> CaffeNet:
    """Train stage 1, then stage 2 on top of it, and so on, each for its share of the iterations."""
    net: CaffeNet | None = None
    for stage in range(1, scale.stages + 1):
        spec = with_stages(train_spec(design(scale), scale), [stage], [stage])
        share = iterations * stage // scale.stages - iterations * (stage - 1) // scale.stages
        net = train(spec, people, scale, say, name=f"{name}, stage {stage}", iterations=share, weights=net)
    assert net is not None
    return net
