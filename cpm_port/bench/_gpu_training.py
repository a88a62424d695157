"""Training on a GPU: iterations beside a plain port's, samples a second with the real data layer, and resuming."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cpm_port.bench import _peers, train
from cpm_port.bench._gpu import Sizes
from cpm_port.compute.devices import World
from cpm_port.models import SolverSettings, TrainingData, write_files
from cpm_port.training.loop import Trainer
from cpm_port.training.run import RunOptions, open_run

__all__ = ["resume", "training"]

_WARM_UP = 5  # iterations
_RESUMED = 4  # iterations before the snapshot, and after it
_RESUME_TOLERANCE = 1e-4  # of the largest weight: a GPU's gradients are sums in no fixed order


def training(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Time iterations: as `cpm-port bench train` does, then with batches of the data layer, people drawn beforehand."""
    words = ["--device", str(device), "--stages", str(sizes.design.stages), "--box-size", str(sizes.design.box[0])]
    words += ["--batch-size", str(sizes.batch), "--repeats", str(sizes.repeats), "--channels-last"]
    words += ["--width", str(max(vars(sizes.design.widths).values()))]
    parser = argparse.ArgumentParser()
    train.configure(parser)
    plain = train.run(parser.parse_args(words))
    yield {"batches on the device": plain}
    yield {"missed": plain.get("missed", [])}
    with (
        tempfile.TemporaryDirectory() as name,
        _run(device, sizes, sizes.iterations + _WARM_UP, bf16=True, folder=Path(name)) as trainer,
    ):
        for _ in range(_WARM_UP):
            trainer.step()
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(sizes.iterations):
            trainer.step()
        torch.cuda.synchronize(device)
        seconds = (time.perf_counter() - began) / sizes.iterations
    yield {
        "with the data layer": {
            "samples a second": sizes.batch / seconds,
            "of those without, %": 100 * sizes.batch / seconds / plain["samples per second"],
        }
    }


def resume(device: torch.device, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Train without a stop, and again with one and a snapshot in the middle; compare the weights, in float32."""
    small = replace(sizes, batch=max(1, sizes.batch // 4))
    weights, began_at = [], []
    for stops in ((2 * _RESUMED,), (_RESUMED, 2 * _RESUMED)):
        with tempfile.TemporaryDirectory() as name:
            for iterations in stops:
                with _run(device, small, iterations, bf16=False, folder=Path(name)) as trainer:
                    began_at.append(trainer.iteration)
                    trainer.solve()
                    last = {key: value.detach().cpu() for key, value in trainer.net.state_dict().items()}
            weights.append(last)
    straight, resumed = weights
    off = max(float((straight[key] - resumed[key]).abs().max() / straight[key].abs().max()) for key in straight)
    yield {"weights after a resume, off by": off, "runs began at": began_at}
    if not off <= _RESUME_TOLERANCE:
        yield {"missed": [f"resumed weights are {off:.1e} of the largest off, at most {_RESUME_TOLERANCE} expected"]}


@contextmanager
def _run(device: torch.device, sizes: Sizes, iterations: int, *, bf16: bool, folder: Path) -> Iterator[Trainer]:
    """Open a run of the seeded net on drawn people, from its latest snapshot in the folder."""
    model = _peers.seeded_model(sizes.design, folder)
    data = TrainingData(f"drawn:count={2 * sizes.batch},size={sizes.side},seed=1", sizes.batch)
    settings = SolverSettings(max_iter=iterations, display=0, snapshot=0, clip_gradients=100)
    solver = write_files(sizes.design, folder, data, settings)[2]
    options = RunOptions(
        solver, weights=[model.caffemodel], snapshot="latest", bfloat16=bf16, channels_last=bf16, cached=True,
        metrics=folder / "metrics.jsonl", changes=f'snapshot_prefix: "{folder / "run"}"',
    )  # fmt: skip
    with open_run(options, World(0, 1, device)) as trainer:
        yield trainer
