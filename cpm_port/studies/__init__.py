"""The paper's training studies at a size that two cores finish in minutes: `cpm-port study NAME`.

Each study trains small CPMs on drawn people and answers one question of the paper; a module per study offers
`run(scale, say) -> dict` (JSON values: what one seed gave), `numbers(runs)` (the few that matter, by run, of the kind
`NUMBER`) and `plot(record, path)` (the picture, with the spread over the seeds):

- `gradients`: do gradients vanish on their way through the stages, with and without a loss at every stage? (Figure 5)
- `schemes`: four ways of training the stages (Figure 6b)
- `stages`: accuracy over the number of stages (Figure 6c)
- `receptive-field`: accuracy over how much of the image a belief sees (Figure 4)

They differ from the paper in data, size and length, so only the comparisons within one study mean anything. A seed
draws the people to train and to measure on, and the weights to begin with. The checkout keeps runs of three seeds in
`reference_results/studies`, and tells them in `docs/paper.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cpm_port.compute.machine import describe_machine
from cpm_port.errors import UsageError
from cpm_port.studies.records import studies_folder, write_record
from cpm_port.studies.size import StudySize

__all__ = ["STUDIES", "StudySize", "default_scale", "file_stem", "run_study", "study_module"]

STUDIES = {
    "gradients": "magnitudes of gradients by layer, with and without a loss at every stage (Figure 5)",
    "schemes": "four ways of training the stages (Figure 6b)",
    "stages": "accuracy over the number of stages (Figure 6c)",
    "receptive-field": "accuracy over how much of the image a belief sees (Figure 4)",
}


def default_scale(name: str) -> StudySize:
    """Return the size that a study has by default."""
    scale: StudySize = study_module(name).DEFAULT
    return scale


def run_study(
    name: str,
    scale: StudySize,
    out: Path,
    say: Callable[[str], None],
    *,
    seeds: int = 1,
    command: str = "",
    keep: bool = False,
) -> dict[str, Any]:
    """Run a study and write its record and picture, `<name>.json` and `<name>.svg`, into the folder `out`.

    The record is written after every seed, so that a run that is broken off keeps those that are done.

    Parameters
    ----------
    name : str
        One of `STUDIES`.
    scale : StudySize
        Its seed is that of the first run.
    out : Path
    say : callable
        Takes lines of progress.
    seeds : int
        How many runs, each with the next seed.
    command : str
        What the record gives as its command.
    keep : bool
        Write the record into the checkout's `reference_results/studies`, too.

    Returns
    -------
    dict
        The record (`cpm_port.studies.records`).

    Raises
    ------
    UsageError
        No such study, fewer than one seed, or no checkout to keep a record in.
    """
    module = study_module(name)
    if seeds < 1:
        raise UsageError(f"{seeds} seeds: expected at least 1")
    folders = [out, *([studies_folder()] if keep else [])]
    machine = {key: value for key, value in describe_machine().items() if key not in ("commit", "load before", "gpu")}
    started = time.process_time()
    runs: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for seed in range(scale.seed, scale.seed + seeds):
        heard = say if seeds == 1 else _with_seed(say, seed)
        runs.append({"seed": seed, **module.run(replace(scale, seed=seed), heard)})
        record = {
            "study": name,
            "command": command,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine,
            "cpu_minutes": round((time.process_time() - started) / 60, 1),
            "size": vars(scale),
            "runs": runs,
        }
        for folder in folders:
            write_record(folder / f"{file_stem(name)}.json", record)
    module.plot(record, out / f"{file_stem(name)}.svg")
    return record


def file_stem(name: str) -> str:
    """Return how the files of a study begin."""
    return name.replace("-", "_")


def study_module(name: str) -> Any:
    """Return the module of a study.

    Raises
    ------
    UsageError
        No such study.
    """
    if name not in STUDIES:
        raise UsageError(f"study {name!r}: expected one of {', '.join(STUDIES)}")
    from cpm_port.studies import gradients, receptive_field, schemes, stages

    modules = {"gradients": gradients, "schemes": schemes, "stages": stages, "receptive-field": receptive_field}
    return modules[name]


def _with_seed(say: Callable[[str], None], seed: int) -> Callable[[str], None]:
    return lambda line: say(f"seed {seed}: {line}")
