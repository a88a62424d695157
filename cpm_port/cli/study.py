"""`cpm-port study NAME`: one of the paper's training studies, small, on drawn people; a picture and a JSON file.

    cpm-port study schemes --seeds 3 --out studies

Without sizes a study runs for minutes on two cores, for each seed. Progress goes to standard error, the main numbers
(mean, and range over the seeds) and the results' paths to standard output. `--record` keeps the JSON in the checkout's
`reference_results/studies`; `cpm-port study report` draws the pictures of the page of the paper from there, and writes
its tables.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path

from cpm_port.errors import UsageError
from cpm_port.files.atomic import require_writable_folder

__all__ = ["configure", "run"]

_REPORT = "report"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from cpm_port.studies import STUDIES, StudySize

    listed = "; ".join(f"{name}: {text}" for name, text in STUDIES.items())
    parser.add_argument(
        "name", choices=(*STUDIES, _REPORT), help=f"{listed}; {_REPORT}: write the page of the paper, its pictures"
    )
    parser.add_argument("--out", type=Path, default=Path("studies"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs, each with the next seed (default 1)")
    parser.add_argument(
        "--record", action="store_true", help="keep the numbers in the checkout's reference_results/studies, too"
    )
    for field in fields(StudySize):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=int, metavar="N", help="default: the study's own")


def run(args: argparse.Namespace) -> int:
    """Run the study, or write the report; print where the results are."""
    from cpm_port.studies import StudySize, default_scale, file_stem, run_study, study_module

    asked = {f.name: getattr(args, f.name) for f in fields(StudySize) if getattr(args, f.name) is not None}
    if args.name == _REPORT:
        if asked or args.record or args.seeds != 1:
            raise UsageError(f"study {_REPORT}: it draws what is recorded; it takes no size, --seeds or --record")
        return _report()
    from cpm_port.studies.report import spread

    require_writable_folder(args.out)
    sizes = [text for name, value in asked.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = shlex.join(["cpm-port", "study", args.name, "--seeds", str(args.seeds), *sizes])
    record = run_study(
        args.name,
        replace(default_scale(args.name), **asked),
        args.out,
        lambda line: print(line, file=sys.stderr, flush=True),
        seeds=args.seeds,
        command=command,
        keep=args.record,
    )
    module = study_module(args.name)
    print(f"{module.NUMBER}:")
    for name, values in module.numbers(record["runs"]).items():
        mean, low, high = spread(values)
        print(f"{name}: {mean}" + (f" ({low} to {high})" if args.seeds > 1 else ""))
    stem = file_stem(args.name)
    print(f"written: {args.out / f'{stem}.json'}, {args.out / f'{stem}.svg'}")
    return 0


def _report() -> int:
    from cpm_port.studies.report import write_paper_page

    for path in write_paper_page():
        print(f"written: {path}")
    return 0
