"""Who is who: three drawn people walk to and fro for a minute and cross, and should keep their numbers.

The film is `DrawnWalkers`; it is written as a video file and goes through what `cpm-port predict` does of a video. In
each frame a person is found where somebody's joints have an object keypoint similarity of at least 0.5 with theirs
(each once, the surest first). Their number is right where it is the one that belongs to them: of all ways to give each
person one number of their own, the way under which most are right.

- `right_id`: of the people found, counted in every frame, percent;
- `frames_right`: frames in which everybody found has the right number, percent of those in which anybody is found;
- `switches`: how often somebody is found with another number than when they were found last; `crossings`: how often two
  people pass each other; `ids`: how many numbers the people found had, together;
- `recall`: people found, percent of all, in every frame; `recall_visible`: of those with at least half of their joints
  in sight; `precision`: of the poses, percent that are somebody;
- `by_person`: the nearest person first: their number, in how many frames they were found, and in how many of these with
  their number;
- `cpu_seconds_a_frame`: of all threads together.

`--keep DIR` leaves the film there, with the limbs and numbers drawn, and its JSON.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cpm_port.annotations.samples import Person
from cpm_port.drawn.walkers import DrawnWalkers
from cpm_port.evaluation.oks import match_poses
from cpm_port.imaging.video import VideoWriter, written_encoder
from cpm_port.inference.model import Engine, ready_net
from cpm_port.inference.targets import name_results
from cpm_port.inference.videos import follow_video
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.parts import CPM14
from cpm_port.predictions.result_parts import PersonRecord
from cpm_port.predictions.results import read_result
from cpm_port.predictions.video_results import VideoResult

__all__ = ["configure", "run"]

SIMILAR = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="default %(default)s")
    parser.add_argument("--rate", type=float, default=10.0, metavar="R", help="frames a second (default %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), metavar=("W", "H"), help="default 640 360")
    parser.add_argument("--people", type=int, default=3, metavar="N", help="1 to 5 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=2016, help="of the film (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default cpu)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the film with limbs and numbers, and its JSON")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Draw the film, follow everybody, and count."""
    width, height = args.size
    count = max(round(args.seconds * args.rate), 1)
    film = DrawnWalkers(count, args.rate, args.people, (width, height), args.seed)
    model = ready_net(engine=Engine(args.device))
    truth: list[list[Person]] = []
    with tempfile.TemporaryDirectory() if args.keep is None else nullcontext(args.keep) as folder:
        drawn = Path(folder) / f"crossing{written_encoder().suffix}"
        drawn.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(drawn, args.rate, (height, width)) as video:
            for index in range(count):
                people, frame = film[index]
                truth.append(people)
                video.write(frame)
        (target,) = name_results([drawn], Path(folder) / "found")
        target.json.parent.mkdir(exist_ok=True)
        start = time.process_time()
        follow_video(target, model, Whereabouts())
        seconds = time.process_time() - start
        result = read_result(target.json)
    assert isinstance(result, VideoResult)
    found = [frame.people or () for frame in result.frames]
    matched = [_matched(poses, people) for poses, people in zip(found, truth, strict=True)]
    hits = sum(map(len, matched))
    seen = [[person.visible.mean() >= 0.5 for person in people] for people in truth]
    seen_hits = sum(sight[i] for sight, ids in zip(seen, matched, strict=True) for i in ids)
    return {
        "frames": count,
        "film": f"DrawnWalkers(count={count}, rate={args.rate:g}, people={args.people}, size=({width}, {height}), "
        f"seed={args.seed})",
        "crossings": _crossings(truth),
        **_who_is_who(matched, args.people),
        "recall": 100.0 * hits / (count * args.people),
        "recall_visible": 100.0 * seen_hits / max(int(np.sum(seen)), 1),
        "precision": 100.0 * hits / max(sum(map(len, found)), 1),
        "cpu_seconds_a_frame": seconds / count,
        "weights": model.record.weights.sha256,
    }


def _matched(found: Sequence[PersonRecord], people: Sequence[Person]) -> dict[int, int]:
    """Return who is found in a frame, and with which number: person -> number."""
    surest = sorted(found, key=lambda person: -float(np.mean([joint.score for joint in person.joints])))
    poses = [np.array([(joint.x, joint.y) for joint in person.joints]) for person in surest]
    pairs = match_poses(poses, [person.joints for person in people], CPM14, SIMILAR)
    return {truth: surest[pose].track or 0 for pose, truth in pairs.items()}


def _who_is_who(frames: Sequence[Mapping[int, int]], people: int) -> dict[str, Any]:
    """Count how often the people found have their number.

    Parameters
    ----------
    frames : sequence of mapping of int to int
        Of each frame: the people found, from 0, and their numbers.
    people : int
        How many there are.
    """
    numbers = sorted({number for ids in frames for number in ids.values()})
    together: NDArray[np.int64] = np.zeros((people, max(len(numbers), people)), np.int64)
    for ids in frames:
        for person, number in ids.items():
            together[person, numbers.index(number)] += 1
    owners = dict(zip(*(side.tolist() for side in linear_sum_assignment(together, maximize=True)), strict=True))
    own = {person: numbers[column] if column < len(numbers) else None for person, column in owners.items()}
    last: dict[int, int] = {}
    switches = 0
    for ids in frames:
        switches += sum(last.get(person, number) != number for person, number in ids.items())
        last.update(ids)
    anybody = [ids for ids in frames if ids]
    right = sum(int(together[person, column]) for person, column in owners.items())
    all_right = sum(all(own[person] == number for person, number in ids.items()) for ids in anybody)
    return {
        "right_id": 100.0 * right / max(int(together.sum()), 1),
        "frames_right": 100.0 * all_right / max(len(anybody), 1),
        "switches": switches,
        "ids": len(numbers),
        "by_person": [
            {"id": own[k], "found": int(together[k].sum()), "right": int(together[k, owners[k]])} for k in range(people)
        ],
    }


def _crossings(truth: Sequence[Sequence[Person]]) -> int:
    """Count how often two people pass each other, by the means of their joints."""
    x = np.array([[person.joints[:, 0].mean() for person in people] for people in truth])
    first, second = np.triu_indices(x.shape[1], 1)
    side = np.sign(x[:, first] - x[:, second])
    return int((side[1:] * side[:-1] < 0).sum())
