"""A video: how many frames a second, and what it costs to look at one scale where the last frame's pose says.

The film is drawn: a window of 640 x 360 px moves over a scene of `DrawnCrowds` with one person, and nears and leaves
it, so the joints of every frame are known. It is written as a video file and goes through what `cpm-port predict` does
of a video: decoded, everybody followed, drawn, encoded.

- `frames_a_second`: by the clock, on `--threads` threads; promised are `AT_LEAST` with one scale;
- `cpu_seconds_a_frame`: of all threads together;
- `pck`: joints within 0.2 of the distance from left shoulder to right hip of the pose that is nearest to the person,
  percent: with one scale, as videos are followed, and with the benchmark's seven;
- `frames_without`: in which nobody was followed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.drawn.source import DrawnCrowds
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.imaging.resize import imresize
from cpm_port.imaging.video import VideoWriter, written_encoder
from cpm_port.inference.model import Engine, ReadyNet, ready_net
from cpm_port.inference.targets import name_results
from cpm_port.inference.videos import follow_video
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.parts import CPM14
from cpm_port.predictions.results import read_result
from cpm_port.predictions.video_results import VideoResult
from cpm_port.release import BENCHMARK_MULTIPLIERS

__all__ = ["configure", "drawn_film", "run"]

AT_LEAST = 8.0  # frames a second
THRESHOLD = 0.2
_RATE = 25.0

Frames = list[NDArray[np.uint8]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--frames", type=int, default=75, metavar="N", help="default %(default)s")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), metavar=("W", "H"), help="default 640 360")
    parser.add_argument("--seed", type=int, default=2016, help="of the scene (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Draw the film, follow it with one scale and with seven, and compare."""
    torch.set_num_threads(args.threads)
    frames, truth = drawn_film(args.frames, (args.size[0], args.size[1]), args.seed)
    model = ready_net(engine=Engine())
    sides = {"one scale": Whereabouts(), "seven scales": Whereabouts(multipliers=BENCHMARK_MULTIPLIERS)}
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / f"film{written_encoder().suffix}"
        with VideoWriter(film, _RATE, (args.size[1], args.size[0])) as video:
            for frame in frames:
                video.write(frame)
        _followed(film, model, Whereabouts(), truth, Path(folder) / "once")  # compiles
        results = {name: _followed(film, model, where, truth, Path(folder) / name) for name, where in sides.items()}
    pace = results["one scale"]["frames_a_second"]
    return {
        "frames": len(frames),
        "size": f"{args.size[0]} x {args.size[1]}",
        "sides": results,
        "pck_lost": results["seven scales"]["pck"] - results["one scale"]["pck"],
        "missed": [f"{pace:.2f} frames a second, expected at least {AT_LEAST:g}"] if pace < AT_LEAST else [],
        "weights": model.record.weights.sha256,
    }


def drawn_film(count: int, size: tuple[int, int], seed: int) -> tuple[Frames, NDArray[np.float64]]:
    """Draw the frames of a film, and the joints in each.

    Parameters
    ----------
    count : int
    size : (int, int)
        Width and height, px.
    seed : int
        Of the scene.

    Returns
    -------
    frames : list of ndarray, shape (height, width, 3), uint8, BGR
    joints : ndarray, shape (count, 14, 2)
        In CPM14's order, frame px.
    """
    width, height = size
    (person, *_), scene = DrawnCrowds(count=1, size=min(2 * max(size), 2048), seed=seed, difficulty=30, most=1)[0]
    low, high = person.joints.min(axis=0), person.joints.max(axis=0)
    closest = 0.8 * height / float((high - low).max())
    frames, joints = [], []
    for turn in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
        factor = closest * (0.85 + 0.15 * np.cos(turn))
        picture = imresize(scene, factor=factor)
        padded = np.full((picture.shape[0] + 2 * height, picture.shape[1] + 2 * width, 3), 128, np.uint8)
        padded[height:-height, width:-width] = picture
        middle = ((low + high) / 2 + 0.5) * factor - 0.5 + (width, height)
        aside = np.array([0.25 * width * np.sin(2 * turn), 0.06 * height * np.sin(turn)])
        left, top = np.floor(middle + aside - np.array([width, height]) / 2).astype(int)
        frames.append(np.ascontiguousarray(padded[top : top + height, left : left + width]))
        joints.append((person.joints + 0.5) * factor - 0.5 + (width - left, height - top))
    return frames, np.stack(joints)


def _followed(
    film: Path, model: ReadyNet, where: Whereabouts, truth: NDArray[np.float64], out: Path
) -> dict[str, float]:
    """Follow a film as `cpm-port predict` does, and measure."""
    out.mkdir()
    (target,) = name_results([film], out)
    clock, cpu = time.perf_counter(), time.process_time()
    follow_video(target, model, where)
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    result = read_result(target.json)
    assert isinstance(result, VideoResult)
    found = np.full(truth.shape, np.nan)
    for frame in result.frames:
        poses = [np.array([(j.x, j.y) for j in person.joints]) for person in frame.people or ()]
        away = [float(np.abs(pose - truth[frame.index]).mean()) for pose in poses]
        if poses:
            found[frame.index] = poses[int(np.argmin(away))]
    missing = np.isnan(found).any(axis=(1, 2))
    errors = normalized_errors(np.where(np.isnan(found), -1e6, found), truth, torso_diameter(truth, CPM14))
    return {
        "frames_a_second": len(truth) / seconds,
        "cpu_seconds_a_frame": cpu / len(truth),
        "pck": 100.0 * float((errors <= THRESHOLD).mean()),
        "frames_without": int(missing.sum()),
    }
