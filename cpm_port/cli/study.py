"""`cpm-port study NAME`: one of the paper's training studies, small, on drawn people; a picture and a JSON file.

    cpm-port study gradients --out studies

Without sizes a study runs for minutes on two cores. Progress goes to standard error, the results' paths and the main
numbers to standard output.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from cpm_port.files.atomic import require_writable_folder

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from cpm_port.studies import STUDIES, StudySize

    parser.add_argument(
        "name", choices=tuple(STUDIES), help="; ".join(f"{name}: {text}" for name, text in STUDIES.items())
    )
    parser.add_argument("--out", type=Path, default=Path("studies"), metavar="DIR", help="default %(default)s")
    for field in fields(StudySize):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=int, metavar="N", help="default: the study's own")


def run(args: argparse.Namespace) -> int:
    """Run the study and print where its results are."""
    from cpm_port.studies import StudySize, default_scale, run_study

    require_writable_folder(args.out)
    asked = {f.name: getattr(args, f.name) for f in fields(StudySize) if getattr(args, f.name) is not None}
    scale = replace(default_scale(args.name), **asked)
    result = run_study(args.name, scale, args.out, lambda line: print(line, file=sys.stderr, flush=True))
    for key in ("vanishing", "pck_at_0.2"):
        if key in result:
            print(f"{key}: {_words(result[key])}")
    for point in result.get("points", ()):
        print(f"receptive field {point['receptive_field']}: PCK@0.2 {point['pck_at_0.2']:.2f} %")
    stem = args.name.replace("-", "_")
    print(f"written: {args.out / f'{stem}.json'}, {args.out / f'{stem}.svg'}")
    return 0


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.4g}" for name, number in value.items())
    return ", ".join(f"{number:.4g}" for number in value)
