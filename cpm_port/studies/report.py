"""The page of the paper, from the recorded studies: a table each, and a picture. `cpm-port study report` writes them.

No number of a table is typed: what stands between `begin_of(NAME)` and `END` in `PAGE` is `study_table(record)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.checkout import checkout
from cpm_port.studies import STUDIES, file_stem, study_module
from cpm_port.studies.records import read_record, studies_folder

__all__ = ["END", "PAGE", "begin_of", "spread", "study_table", "with_studies", "write_paper_page"]

PAGE = "docs/paper.md"
END = "<!-- end -->"


def write_paper_page() -> list[Path]:
    """Write page and pictures of the checkout from its records; return what was written.

    Raises
    ------
    UsageError
        No checkout, or no place for a study in the page.
    MissingFileError, DataError
        A study is not recorded, or its file is none.
    """
    root = checkout()
    records = {name: read_record(studies_folder() / f"{file_stem(name)}.json") for name in STUDIES}
    page = root / PAGE
    text = with_studies(page.read_text(encoding="utf-8"), records)
    written = []
    for name, record in records.items():
        picture = root / "docs" / "pictures" / f"study_{file_stem(name)}.svg"
        study_module(name).plot(record, picture)
        written.append(picture)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [*written, page]


def begin_of(name: str) -> str:
    """Return the line of the page behind which a study's table stands."""
    return f"<!-- {name}: written by `cpm-port study report` -->"


def with_studies(page: str, records: dict[str, dict[str, Any]]) -> str:
    """Return the page with `study_table` of every record in its place."""
    for name, record in records.items():
        before, begin, rest = page.partition(begin_of(name))
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise UsageError(f"{PAGE}: no place for {name}; expected a line {begin_of(name)!r} and a line {END!r}")
        page = f"{before}{begin}\n\n{study_table(record)}\n{END}{after}"
    return page


def study_table(record: dict[str, Any]) -> str:
    """Return a study's table, and what it was made with."""
    module = study_module(record["study"])
    runs, size = record["runs"], record["size"]
    lines = [f"| {len(runs)} seeds | {module.NUMBER} | range |", "| --- | --- | --- |"]
    for name, values in module.numbers(runs).items():
        mean, low, high = spread(values)
        lines.append(f"| {name} | {mean} | {low} to {high} |")
    seeds = ", ".join(str(run["seed"]) for run in runs)
    others = f" to train on and {size['held_out']} others to measure on" if size["held_out"] > 1 else ""
    lines += [
        "",
        f"`{record['command']}`, {record['date']}: {record['cpu_minutes']:.2g} min of a core; seeds {seeds}; "
        f"{size['iterations']} iterations of {size['batch']}, box {size['box']} px, {size['width']} channels, "
        f"{size['people']} drawn people{others}.",
    ]
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Return mean, lowest and highest as text: a decimal of percentages, three digits of what is smaller."""
    mean = sum(values) / len(values)
    style = ".1f" if mean >= 1 else ".2g"
    return format(mean, style), format(min(values), style), format(max(values), style)
