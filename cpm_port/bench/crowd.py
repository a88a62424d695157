"""Several people: how many of the people in drawn scenes the default finder finds, and how well.

Scenes of `DrawnCrowds`, 1 to 5 people each, that no net was trained on. A person counts as found where somebody's
joints have an object keypoint similarity of at least 0.5 with theirs; each is found once, the surest first.

- `recall`, `precision`: of all people, percent; `recall_visible`: of those with at least half of their joints in sight;
- `pck_found`: of the people found, joints within 0.2 of the distance from left shoulder to right hip, percent;
- `by_people`: scenes' people -> scenes, people, found, false;
- `first`: scenes in which the person who is told first is somebody, percent;
- `best_person_belief`: the finder's belief from which on the people listed would be right most often (highest F1 of
  recall and precision), to be compared with `cpm_port.inference.sureness.PERSON`, with which all the rest is counted;
- `worst_scenes`: numbers of the scenes with the largest share of people missed and wrongly seen;
- `cpu_seconds_a_scene`: of all threads together, the predictions of people who are not sure enough left in.

There is no peer here: other packages' finders bring trained weights. `--pictures DIR` draws the worst scenes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.annotations.samples import Person
from cpm_port.drawn.source import DrawnCrowds
from cpm_port.evaluation.oks import match_poses
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.imaging.writing import write_png
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.finding import people_of
from cpm_port.inference.model import Engine, ready_net
from cpm_port.inference.results import PersonResult
from cpm_port.inference.sureness import PERSON
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.parts import CPM14
from cpm_port.report.drawing import draw_poses

__all__ = ["configure", "run"]

SIMILAR = 0.5
THRESHOLD = 0.2
WORST = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--count", type=int, default=50, metavar="N", help="scenes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=2016, help="of the scenes (default %(default)s)")
    parser.add_argument("--difficulty", type=int, default=50, help="of the scenes, 0 to 100 (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the worst scenes")


@dataclass(frozen=True)
class _Scene:
    """What was found in one scene.

    Attributes
    ----------
    number : int
    people : int
        In the scene; `visible` of them have at least half of their joints in sight.
    visible : int
    poses : list of ndarray, (14, 2)
        Of the people listed, the surest first.
    found : int
        People listed who are somebody; `visible_found` of those in sight.
    visible_found : int
    first : bool
        Whether the person who is told first is somebody.
    joints : int
        Of the people found; `right` of them are where they should be.
    right : int
    beliefs : list of (float, bool)
        Of everybody found, listed or not: the finder's belief, and whether they are somebody.
    """

    number: int
    people: int
    visible: int
    poses: list[NDArray[np.float64]]
    found: int
    visible_found: int
    first: bool
    joints: int
    right: int
    beliefs: list[tuple[float, bool]]

    @property
    def false(self) -> int:
        return len(self.poses) - self.found

    @property
    def wrong(self) -> float:
        """People missed and wrongly seen, of all there and listed."""
        return (self.people - self.found + self.false) / (self.people + len(self.poses))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look at the scenes and count."""
    scenes = DrawnCrowds(args.count, seed=args.seed, difficulty=args.difficulty)
    model = ready_net(engine=Engine(args.device))
    finder = CrowdFinder(model.net, part_order=model.interface.part_order, sigma=model.sigma, least=PERSON / 2)
    start = time.process_time()
    seen = []
    for number in tqdm(range(len(scenes)), unit="scene", file=sys.stderr):
        people, image = scenes[number]
        seen.append(_compare(number, people, people_of(image, model, Whereabouts(), finder)))
    seconds = (time.process_time() - start) / len(scenes)
    worst = sorted(seen, key=lambda scene: -scene.wrong)[:WORST]
    if args.pictures is not None:
        for scene in worst:
            _, image = scenes[scene.number]
            write_png(args.pictures / f"scene_{scene.number:04d}.png", draw_poses(image, scene.poses, CPM14))
    return {
        "scenes": len(scenes),
        "scenes_are": f"DrawnCrowds(count={args.count}, seed={args.seed}, difficulty={args.difficulty})",
        **_totals(seen),
        "worst_scenes": [scene.number for scene in worst],
        "cpu_seconds_a_scene": seconds,
        "weights": model.record.weights.sha256,
    }


def _compare(number: int, people: Sequence[Person], found: Sequence[PersonResult]) -> _Scene:
    """Count who of the people in scene `number` was found."""
    truths = [person.joints for person in people]
    visible = {i for i, person in enumerate(people) if person.visible.mean() >= 0.5}
    matched = match_poses([person.joints for person in found], truths, CPM14, SIMILAR)
    scores = [np.inf, *(person.finder_score or 0.0 for person in found[1:])]  # the first one is always listed
    poses = [person.joints for person, score in zip(found, scores, strict=True) if score >= PERSON]
    pairs = {i: truth for i, truth in matched.items() if i < len(poses)}  # the surest come first
    reach = THRESHOLD * torso_diameter(np.array(truths), CPM14)
    near = [np.linalg.norm(poses[i] - truths[truth], axis=1) <= reach[truth] for i, truth in pairs.items()]
    return _Scene(
        number=number,
        people=len(people),
        visible=len(visible),
        poses=poses,
        found=len(pairs),
        visible_found=len(visible & set(pairs.values())),
        first=0 in pairs,
        joints=sum(len(one) for one in near),
        right=sum(int(one.sum()) for one in near),
        beliefs=[(score, i in matched) for i, score in enumerate(scores)],
    )


def _totals(seen: list[_Scene]) -> dict[str, Any]:
    """Return the percentages over all scenes, by the names that the module's text explains."""
    people, found = sum(scene.people for scene in seen), sum(scene.found for scene in seen)
    by_people = {}
    for number in sorted({scene.people for scene in seen}):
        alike = [scene for scene in seen if scene.people == number]
        by_people[str(number)] = {
            "scenes": len(alike),
            "people": sum(scene.people for scene in alike),
            "found": sum(scene.found for scene in alike),
            "false": sum(scene.false for scene in alike),
        }
    return {
        "people": people,
        "recall": _percent(found, people),
        "recall_visible": _percent(sum(scene.visible_found for scene in seen), sum(scene.visible for scene in seen)),
        "precision": _percent(found, sum(len(scene.poses) for scene in seen)),
        "pck_found": _percent(sum(scene.right for scene in seen), sum(scene.joints for scene in seen)),
        "first": _percent(sum(scene.first for scene in seen), len(seen)),
        "by_people": by_people,
        "best_person_belief": _best_belief([one for scene in seen for one in scene.beliefs], people),
    }


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / max(whole, 1)


def _best_belief(beliefs: list[tuple[float, bool]], people: int) -> float:
    """Return the belief of the least sure person of whom it is best to list everybody down to them.

    Parameters
    ----------
    beliefs : list of (float, bool)
        Of everybody found: the finder's belief, infinite for whom it lists anyway, and whether they are somebody.
    people : int
        How many people there are.
    """
    ordered = sorted(beliefs, key=lambda one: -one[0])
    scores, right = np.array([score for score, _ in ordered]), np.cumsum([hit for _, hit in ordered])
    quality = 2 * right / (np.arange(1, len(ordered) + 1) + people)
    last = int(np.isinf(scores).sum()) - 1
    return float(scores[last + int(np.argmax(quality[last:]))])
