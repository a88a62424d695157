"""The paper's training studies at a size that two cores finish in minutes: `cpm-port study NAME`.

Each study trains small CPMs on drawn people and answers one question of the paper; a module per study offers
`run(scale, say) -> dict` (JSON values: its numbers, and what it was run with) and `plot(result, path)` (the picture):

- `gradients`: do gradients vanish on their way through the stages, with and without a loss at every stage? (Figure 5)
- `schemes`: four ways of training the stages (Figure 6b)
- `stages`: accuracy over the number of stages (Figure 6c)
- `receptive-field`: accuracy over how much of the image a belief sees (Figure 4)

They differ from the paper in data, size and length, so only the comparisons within one study mean anything.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.studies.size import StudySize

__all__ = ["STUDIES", "StudySize", "default_scale", "run_study"]

STUDIES = {
    "gradients": "magnitudes of gradients by layer, with and without a loss at every stage (Figure 5)",
    "schemes": "four ways of training the stages (Figure 6b)",
    "stages": "accuracy over the number of stages (Figure 6c)",
    "receptive-field": "accuracy over how much of the image a belief sees (Figure 4)",
}


def default_scale(name: str) -> StudySize:
    """Return the size that a study has by default."""
    scale: StudySize = _module(name).DEFAULT
    return scale


def run_study(name: str, scale: StudySize, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a study and write `<name>.json` and `<name>.svg` into the folder `out`.

    Parameters
    ----------
    name : str
        One of `STUDIES`.
    scale : StudySize
    out : Path
    say : callable
        Takes lines of progress.

    Returns
    -------
    dict
        What the JSON file holds.

    Raises
    ------
    UsageError
        No such study.
    """
    module = _module(name)
    result = {"study": name, "scale": vars(scale), **module.run(scale, say)}
    stem = name.replace("-", "_")
    with atomic_path(out / f"{stem}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    module.plot(result, out / f"{stem}.svg")
    return result


def _module(name: str) -> Any:
    if name not in STUDIES:
        raise UsageError(f"study {name!r}: expected one of {', '.join(STUDIES)}")
    return importlib.import_module(f"cpm_port.studies.{name.replace('-', '_')}")
