"""The page of the paper: every figure has its row and its section, and every number is the recorded one.

Oracles: the figures' numbers in the paper; the records in `reference_results`; the digests that the pictures carry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpm_port.cli import main
from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.reference import load_all
from cpm_port.studies import STUDIES, default_scale, file_stem, report
from cpm_port.studies.records import fingerprint, read_record
from cpm_port.studies.report import with_studies
from tests.support import ROOT

PAGE = (ROOT / report.PAGE).read_text(encoding="utf-8")
FIGURES = [str(number) for number in range(1, 13) if number != 6] + ["6a", "6b", "6c"]
ANSWERS = {"yes", "in part", "no", "cannot be had"}
COLUMNS = ("Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank", "total")


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    folder = ROOT / "reference_results" / "studies"
    return {name: read_record(folder / f"{file_stem(name)}.json") for name in STUDIES}


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Rows and facts of the reference results, by id."""
    references = load_all()
    return {one.id: one for reference in references for one in (*reference.rows, *reference.facts)}


def test_every_figure_has_its_row_and_its_section() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(#figure-(\w+?)-[\w-]+\) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", PAGE, flags=re.MULTILINE
    )
    assert sorted(number for number, _, _ in rows) == sorted(FIGURES)
    assert all(number == aim and answer in ANSWERS for number, aim, answer in rows)
    assert re.findall(r"^## Figure (\w+): ", PAGE, flags=re.MULTILINE) == [number for number, _, _ in rows]


def test_page_and_pictures_are_those_of_the_records(records: dict[str, dict[str, Any]]) -> None:
    assert with_studies(PAGE, records) == PAGE, "run `cpm-port study report`"
    for name, record in records.items():
        picture = f"study_{file_stem(name)}.svg"
        assert f"(pictures/{picture})" in PAGE
        text = (ROOT / "docs" / "pictures" / picture).read_text(encoding="utf-8")
        assert fingerprint(record) in text, f"{picture} is of another record: run `cpm-port study report`"


def test_a_record_is_of_three_seeds_at_the_default_size(records: dict[str, dict[str, Any]]) -> None:
    for name, record in records.items():
        assert record["study"] == name
        assert [run["seed"] for run in record["runs"]] == [0, 1, 2]
        assert record["size"] == vars(default_scale(name))
        assert record["command"].startswith(f"cpm-port study {name} --seeds 3")
        assert {"python", "numpy", "torch", "cpm_port"} <= set(record["machine"]["versions"])
        assert not re.search(r"\"/|\\\\|/home|/tmp", json.dumps(record))


def test_published_and_recomputed_scores_are_the_recorded_ones(published: dict[str, Any]) -> None:
    rows = []
    for model in ("LSP_6s", "MPII_LSP_6s"):
        for at in ("0.2", "0.1", "0.05"):
            row = published[f"lsp-pc/{model}@{at}"]
            values = " | ".join(f"{row.measured['values'][column]:.2f}" for column in COLUMNS)
            rows.append(f"| `{model}` | {at} | {values} | {row.published.get('total', '-')} |")
    for at in ("0.2", "0.1", "0.05"):
        row = published[f"flic-gt-torso/FLIC_4s@{at}"]
        told = ", ".join(str(row.published[column]) for column in ("Elb", "Wri")) if row.published else "-"
        rows.append(f"| {at} | {row.measured['values']['Elb']:.2f} | {row.measured['values']['Wri']:.2f} | {told} |")
    for title, name in (("MPII", "CPM"), ("MPII and LSP", "CPM+LSP")):
        values = published[f"mpii-test/{name}"].published
        rows.append(f"| {title} | {values['Ank']} | {values['total']} |")
    assert [row for row in rows if row not in PAGE] == []


def test_what_pose_machines_can_have_scored_follows_from_the_published_lead(published: dict[str, Any]) -> None:
    lead = published["paper/pose-machines"].values
    ours = [published[f"lsp-pc/LSP_6s@{at}"].measured["values"]["total"] for at in ("0.1", "0.2")]
    gains = [lead["gain@0.1"], lead["gain@0.2"]]
    assert f"| {gains[0]} | {gains[1]} | published |" in PAGE
    assert f"| {ours[0]:.2f} | {ours[1]:.2f} | recomputed |" in PAGE
    most = [f"at most {value - gain:.1f}" for value, gain in zip(ours, gains, strict=True)]
    assert f"| {most[0]} | {most[1]} | from the first two |" in PAGE


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a checkout with the records and a page of this text."""

    def make(page: str) -> Path:
        (tmp_path / "docs" / "pictures").mkdir(parents=True)
        (tmp_path / report.PAGE).write_text(page, encoding="utf-8")
        folder = tmp_path / "reference_results" / "studies"
        folder.mkdir(parents=True)
        for path in (ROOT / "reference_results" / "studies").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (tmp_path / "pyproject.toml").touch()
        monkeypatch.setattr("cpm_port.files.checkout.resource_dir", lambda name: tmp_path / name)
        return tmp_path

    return make


def test_the_report_writes_page_and_pictures(checkout: Callable[[str], Path]) -> None:
    empty = re.sub(rf"(<!-- [\w-]+: written by [^\n]*).*?({report.END})", r"\1\n\2", PAGE, flags=re.DOTALL)
    assert empty != PAGE
    root = checkout(empty)
    written = report.write_paper_page()
    assert (root / report.PAGE).read_text(encoding="utf-8") == PAGE
    assert [path.name for path in written] == [*(f"study_{file_stem(name)}.svg" for name in STUDIES), "paper.md"]
    assert all(path.stat().st_size > 1000 for path in written)


def test_the_report_takes_no_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "report", "--seeds", "3"]) == 2
    assert "it draws what is recorded" in capsys.readouterr().err


def test_a_page_without_a_place_and_a_file_that_is_no_record_are_named(checkout: Callable[[str], Path]) -> None:
    root = checkout("# A page\n")
    with pytest.raises(UsageError, match=r"docs/paper\.md: no place for gradients; expected a line '<!-- gradients"):
        report.write_paper_page()
    (root / "reference_results" / "studies" / "stages.json").write_text('{"study": "stages"}')
    with pytest.raises(DataError, match=r"stages\.json: not what `cpm-port study` writes"):
        report.write_paper_page()
    assert (root / report.PAGE).read_text() == "# A page\n"
