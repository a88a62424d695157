"""How long a newcomer waits: CPU seconds of the commands, with nothing compiled yet and with everything kept.

Every command runs in a process of its own, on one picture that is drawn here, with a folder of its own for compiled
loops (`NUMBA_CACHE_DIR`): first empty (`cold`), then with what the first run left (`warm`). CPU seconds are those of
the process and its threads, as the system counts them; other work on the machine changes them little.

- `help`: `cpm-port VERB --help` of every verb; promised is `HELP` at most;
- `commands`: `predict PICTURE` (promised: `COLD` and `WARM`), and beside it a net inspected and a model converted; of
  several warm runs the quickest;
- `parity`: both runs of `predict` gave the same joints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from cpm_port.drawn.source import DrawnPeople
from cpm_port.errors import ModelFileError, UsageError
from cpm_port.predictions.results import read_result
from cpm_port.zoo import resolve

__all__ = ["configure", "run"]

HELP, COLD, WARM = 0.5, 10.0, 4.0  # CPU seconds at most


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=3, help="of the warm runs (default %(default)s)")
    parser.add_argument("--size", type=int, default=400, help="side of the picture's area, px (default %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the commands and return what they cost."""
    helps = {verb: _cpu_seconds([verb, "--help"]) for verb in _verbs()}
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), resolve()
        picture = folder / "picture.png"
        cv2.imwrite(str(picture), DrawnPeople(seed=2, size=args.size, difficulty=0)[0][1])
        commands = {
            "predict": ["predict", picture, "--out", folder / "results"],
            "inspect": ["inspect", model.net],
            "convert": ["convert", model.weights, folder / "model.safetensors", "--net", model.net],
        }
        costs, joints = {}, []
        for word, line in commands.items():
            loops = folder / f"loops_{word}"
            cold = _cpu_seconds(line, loops)
            joints += [read_result(folder / "results/picture.json")] if word == "predict" else []
            costs[word] = {"cold": cold, "warm": min(_cpu_seconds(line, loops) for _ in range(args.repeats))}
        if read_result(folder / "results/picture.json") != joints[0]:
            raise ModelFileError("predict: the second run gave other results than the first")
    missed = [f"{verb} --help: {seconds:.2f} s, expected {HELP:g}" for verb, seconds in helps.items() if seconds > HELP]
    for state, most in (("cold", COLD), ("warm", WARM)):
        if costs["predict"][state] > most:
            missed.append(f"predict, {state}: {costs['predict'][state]:.2f} s, expected {most:g}")
    parity = "the first run of predict, which compiles, and the last one gave the same results"
    return {"parity": parity, "help": helps, "commands": costs, "missed": missed}


def _verbs() -> list[str]:
    """Return the command line's verbs: each is a file."""
    folder = Path(__file__).parents[1] / "cli"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def _cpu_seconds(line: Sequence[object], loops: Path | None = None) -> float:
    """Run a command of `cpm-port` in a process of its own, and return its CPU seconds."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(loops)} if loops is not None else {})
    command = [sys.executable, "-m", "cpm_port", *map(str, line)]
    with tempfile.TemporaryFile() as said:
        before = _children()
        code = subprocess.run(command, env=environment, stdout=said, stderr=said, check=False).returncode
        after = _children()
        if code:
            said.seek(0)
            text = said.read().decode(errors="replace")[-500:]
            raise UsageError(f"{' '.join(command)}: exit code {code}: {text}")
    return after - before


def _children() -> float:
    """Return the CPU seconds of all processes that this one started and waited for."""
    times = os.times()
    return times.children_user + times.children_system
