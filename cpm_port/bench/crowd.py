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
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.drawn.source import DrawnCrowds
from cpm_port.evaluation.oks import match_poses
from cpm_port.files.atomic import atomic_path
from cpm_port.inference.crowd import CrowdFinder
from cpm_port.inference.finding import people_of
from cpm_port.inference.model import Engine, ready_net
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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look at the scenes and count."""
    scenes = DrawnCrowds(args.count, seed=args.seed, difficulty=args.difficulty)
    model = ready_net(engine=Engine(args.device))
    interface = model.interface
    finder = CrowdFinder(model.net, part_order=interface.part_order, sigma=model.sigma, least=PERSON / 2)
    beliefs: list[tuple[float, bool]] = []
    tally: dict[int, list[int]] = {}
    right = joints = visible = visible_found = first = 0
    worst: list[tuple[float, int, NDArray[np.uint8], list[NDArray[np.float64]]]] = []
    start = time.process_time()
    for index in tqdm(range(len(scenes)), unit="scene", file=sys.stderr):
        people, image = scenes[index]
        found = people_of(image, model, Whereabouts(), finder)
        poses, truths = [person.joints for person in found], [person.joints for person in people]
        pairs = match_poses(poses, truths, CPM14, SIMILAR)
        scores = [np.inf, *(person.finder_score or 0.0 for person in found[1:])]  # the first one is always listed
        beliefs += [(score, i in pairs) for i, score in enumerate(scores)]
        poses = [pose for pose, score in zip(poses, scores, strict=True) if score >= PERSON]
        pairs = {i: truth for i, truth in pairs.items() if i < len(poses)}  # the surest come first
        counts = tally.setdefault(len(people), [0, 0, 0, 0])
        for i, value in enumerate((1, len(people), len(pairs), len(poses) - len(pairs))):
            counts[i] += value
        matched = set(pairs.values())
        seen = [i for i, person in enumerate(people) if person.visible.mean() >= 0.5]
        visible, visible_found = visible + len(seen), visible_found + sum(i in matched for i in seen)
        first += 0 in pairs
        for pose, truth in pairs.items():
            distance = np.linalg.norm(poses[pose] - truths[truth], axis=1)
            right, joints = right + int((distance <= THRESHOLD * _torso(truths[truth])).sum()), joints + len(distance)
        missed = len(people) - len(pairs) + len(poses) - len(pairs)
        worst.append((missed / (len(people) + len(poses)), index, image, poses))
        worst = sorted(worst, key=lambda one: -one[0])[:WORST]
    if args.pictures is not None:
        for _, index, image, poses in worst:
            _write(args.pictures / f"scene_{index:04d}.png", draw_poses(image, poses, CPM14))
    _, everybody, hits, false = np.sum(list(tally.values()), axis=0).tolist()
    return {
        "scenes": len(scenes),
        "scenes_are": f"DrawnCrowds(count={args.count}, seed={args.seed}, difficulty={args.difficulty})",
        "people": everybody,
        "recall": 100.0 * hits / everybody,
        "recall_visible": 100.0 * visible_found / max(visible, 1),
        "precision": 100.0 * hits / max(hits + false, 1),
        "pck_found": 100.0 * right / max(joints, 1),
        "first": 100.0 * first / len(scenes),
        "by_people": {
            str(number): dict(zip(("scenes", "people", "found", "false"), counts, strict=True))
            for number, counts in sorted(tally.items())
        },
        "best_person_belief": _best_belief(beliefs, everybody),
        "worst_scenes": [index for _, index, *_ in worst],
        "cpu_seconds_a_scene": (time.process_time() - start) / len(scenes),
        "weights": model.record.weights.sha256,
    }


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


def _torso(joints: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(joints[CPM14.index("left_shoulder")] - joints[CPM14.index("right_hip")]))


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", picture)
    assert done
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
