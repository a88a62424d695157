"""The search for a person whom nobody has pointed out: how many it finds, and what it costs.

Scenes of `DrawnCrowds` with one person of 0.3 to 0.85 of the picture's height, anywhere, whom no net was trained on.

- `found`: scenes in which the pose predicted where the search says has an object keypoint similarity of at least 0.5
  with the person, percent; and beside it where LSP's rule says, which is what there was without a search;
- `pck`: joints within 0.2 of the distance from left shoulder to right hip, percent, likewise;
- `cpu_seconds_a_picture`: of the search alone, all threads together, the median; promised are `AT_MOST`.

There is no peer here: what others do for this is a detector, with weights of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cpm_port.drawn.source import DrawnCrowds
from cpm_port.evaluation.oks import match_poses
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.imaging.pyramid import ScaleSearch, lsp_search
from cpm_port.inference.model import Engine, ReadyNet, ready_net
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whole_picture import find_person
from cpm_port.parts import CPM14

__all__ = ["configure", "run"]

AT_MOST = 2.0  # CPU seconds a picture
SIMILAR = 0.5
THRESHOLD = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--count", type=int, default=30, metavar="N", help="scenes (default %(default)s)")
    parser.add_argument("--size", type=int, default=500, help="side of the scenes' area, px (default %(default)s)")
    parser.add_argument("--seed", type=int, default=2016, help="of the scenes (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search the scenes and count."""
    torch.set_num_threads(args.threads)
    scenes = DrawnCrowds(args.count, size=args.size, seed=args.seed, most=1)
    model = ready_net(engine=Engine())
    found: dict[str, list[bool]] = {"searched": [], "by LSP's rule": []}
    errors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in found}
    seconds = []
    find_person(model.net, scenes[0][1], sigma=model.sigma)  # compiles
    for index in tqdm(range(len(scenes)), unit="scene", file=sys.stderr):
        (person, *_), image = scenes[index]
        start = time.process_time()
        searched = find_person(model.net, image, sigma=model.sigma)
        seconds.append(time.process_time() - start)
        rule = lsp_search((image.shape[0], image.shape[1]), model.interface.box_size)
        for name, at in zip(found, (searched, rule), strict=True):
            joints = _joints(model, image, at)
            found[name].append(bool(match_poses([joints], [person.joints], CPM14, SIMILAR)))
            torso = torso_diameter(person.joints[None], CPM14)
            errors[name].append(normalized_errors(joints[None], person.joints[None], torso))
    cost = statistics.median(seconds)
    return {
        "scenes": len(scenes),
        "scenes_are": f"DrawnCrowds(count={args.count}, size={args.size}, seed={args.seed}, most=1)",
        "found": {name: 100.0 * float(np.mean(values)) for name, values in found.items()},
        "pck": {name: 100.0 * float((np.concatenate(v) <= THRESHOLD).mean()) for name, v in errors.items()},
        "cpu_seconds_a_picture": cost,
        "missed": [f"{cost:.2f} CPU seconds a picture, expected at most {AT_MOST:g}"] if cost > AT_MOST else [],
        "weights": model.record.weights.sha256,
    }


def _joints(model: ReadyNet, image: NDArray[np.uint8], at: ScaleSearch) -> NDArray[np.float64]:
    return predict_person(model.net, image, at.center_xy, at.base_scale, at.multipliers, sigma=model.sigma).joints_image
