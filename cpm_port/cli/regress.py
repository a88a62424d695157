"""`cpm-port regress`: recompute every reference result whose inputs are there; exit code 1 where one has changed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cpm_port.errors import MissingFileError, UsageError

if TYPE_CHECKING:
    from cpm_port.evaluation.regress import RowOutcome

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="ROOT",
        help="folder with datasets/ and release/predictions/; without it, what ships with the package is recomputed",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N",
        help="run the default model, which is measured again on the photographs below ROOT, on the first N people of "
        "each data set only (without it: on everybody, which takes many minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="OUT", default=Path("out/regress.json"), help="all numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--html", type=Path, metavar="OUT", default=Path("out/regress.html"),
        help="the report, one file with its pictures inside (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--record",
        action="store_true",
        help="write counts, command, date and hashes of the inputs of what passed into reference_results/",
    )


def run(args: argparse.Namespace) -> int:
    """Print the table, write the numbers and the report; return 1 where a result failed."""
    from cpm_port.evaluation.reference import load_all
    from cpm_port.evaluation.regress import recompute, record, write_outcomes
    from cpm_port.inference.remeasured import remeasure_default
    from cpm_port.report.page import write_page
    from cpm_port.report.scores import regress_summary, regress_table

    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: expected at least 1")
    if args.data is not None and not args.data.is_dir():
        raise MissingFileError(f"--data {args.data}: no such folder")
    references = load_all()
    outcomes = _beside(recompute(references, args.data), remeasure_default(args.data, args.limit))
    shown = outcomes if args.data is not None else [o for o in outcomes if o.verdict in ("pass", "fail")]
    print(regress_table(shown))
    print(regress_summary(outcomes))
    write_outcomes(args.json, outcomes, args.data)
    write_page(args.html, references, outcomes)
    print(f"numbers: {args.json}\nreport: {args.html}")
    if args.record:
        for path in record(references, outcomes, args.data):
            print(f"recorded: {path.name}")
    if any(outcome.verdict == "inputs missing" for outcome in outcomes):
        print(
            "inputs missing: `cpm-port regress --data ROOT` recomputes them from a folder that holds the data sets'\n"
            "label files (datasets/lsp, datasets/flic, datasets/mpii_val) and the release's predictions "
            "(release/predictions)"
        )
    return int(any(outcome.verdict == "fail" for outcome in outcomes))


def _beside(recomputed: list[RowOutcome], measured: list[RowOutcome]) -> list[RowOutcome]:
    """Return all outcomes, each measured one after the published ones of its protocol, or at the end."""
    shown = list(recomputed)
    for outcome in measured:
        protocol = outcome.row.protocol
        places = [i for i, other in enumerate(shown) if other.row.published and other.row.protocol == protocol]
        shown.insert(places[-1] + 1 if places else len(shown), outcome)
    return shown
