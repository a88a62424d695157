"""Four ways of training the stages: the paper's Figure 6b.

(i) all stages jointly from scratch, with a loss at every stage; (ii) stage by stage, each trained while the ones
before it are frozen; (iii) as (i), from the weights of (ii); (iv) as (i), with the last stage's loss alone. All get the
same number of iterations, (iii) as many again after those of (ii), as in the paper.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cpm_port.graph import CaffeNet
from cpm_port.studies.common import (
    People,
    Say,
    design,
    draw_people,
    pck_curves,
    plot_curves,
    train,
    train_spec,
    with_stages,
)
from cpm_port.studies.size import StudySize

__all__ = ["DEFAULT", "NUMBER", "numbers", "plot", "run"]

NUMBER = "PCK@0.2, %"
DEFAULT = StudySize(stages=3, width=16, box=96, batch=8, iterations=600, people=1000, held_out=200)

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
    stagewise = _stagewise(scale, people, say)
    trained = {
        "joint": _joint(scale, people, say, "joint"),
        "stagewise": stagewise,
        "finetuned": _joint(scale, people, say, "finetuned", weights=stagewise),
        "unsupervised": _joint(scale, people, say, "unsupervised", losses=[scale.stages]),
    }
    return {"pck": {name: pck_curves(model, people, [last])[last] for name, model in trained.items()}}


def numbers(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return PCK at 0.2 of every run by scheme."""
    return {title: [run["pck"][scheme][-1] for run in runs] for scheme, title in _TITLES.items()}


def plot(record: dict[str, Any], path: Path) -> None:
    """Draw PCK over the normalized distance, a line per scheme."""
    plot_curves(record, _TITLES, f"four ways of training {record['size']['stages']} stages", path)


def _joint(
    scale: StudySize,
    people: People,
    say: Say,
    scheme: str,
    *,
    losses: list[int] | None = None,
    weights: CaffeNet | None = None,
) -> CaffeNet:
    stages = range(1, scale.stages + 1)
    spec = with_stages(train_spec(design(scale), scale), losses or stages, stages)
    return train(spec, people, scale, say, name=_TITLES[scheme], iterations=scale.iterations, weights=weights)


def _stagewise(scale: StudySize, people: People, say: Say) -> CaffeNet:
    """Train stage 1, then stage 2 on top of it, and so on, each for its share of the iterations."""
    net: CaffeNet | None = None
    for stage in range(1, scale.stages + 1):
        spec = with_stages(train_spec(design(scale), scale), [stage], [stage])
        share = scale.iterations * stage // scale.stages - scale.iterations * (stage - 1) // scale.stages
        name = f"{_TITLES['stagewise']}, stage {stage}"
        net = train(spec, people, scale, say, name=name, iterations=share, weights=net)
    assert net is not None
    return net
