"""What is recorded is what was measured, and the page of speed says what was recorded.

Oracles: results made up here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpm_port.bench import _records, _report
from cpm_port.bench._records import BenchRecord, read_records, write_results
from cpm_port.compute.machine import describe_machine
from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.reference import load_all
from tests.support import ROOT

PICTURE_LIMIT = 50_000  # bytes
NET = {
    "medians": {"ours": 0.08, "plain PyTorch": 0.8, "OpenCV 4 importer": 2.4},
    "ratios": {"plain PyTorch": 10.0, "OpenCV 4 importer": 30.0},
    "reading": {"import torch": 1.5, "from files to a ready net": 0.31},
}
PERSON = {
    "parity": "the same 14 joints",
    "medians": {"ours": 0.5, "plain PyTorch, the forwards": 4.5},
    "ratios": {"plain PyTorch, the forwards": 9.04},
    "before_and_after_percent": {"640 x 360": 1.52, "1920 x 1080": 5.0},
    "peak_memory_by_bound_mib": {"1792": {"peak MiB": 2290, "transformed weights MiB": 1500}},
}
GROWTH = {"offset": 0.1, "slope": 0.25, "largest_deviation_percent": 1.0, "meaning": "every scale is one more pass"}
SCALING = {"series": {"scales": {"1": 0.35, "3": 0.85, "5": 1.35}}, "growth": {"scales": GROWTH}}
RESULTS = {"net": NET, "person": PERSON, "scaling": SCALING}


def machine(**other: Any) -> dict[str, Any]:
    said = {"processor": "P", "cores": 2, "threads": 2, "load before": 0.1, "commit": "abc", "versions": {"torch": "2"}}
    return {**said, **other}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, BenchRecord]]:
    """Make a checkout, and return what records results in it."""
    (tmp_path / "reference_results").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / _report.PAGE).parent.mkdir(parents=True)
    (tmp_path / _report.PAGE).write_text(f"# Title\n{_report.BEGIN}\nold\n{_report.END}\nrest\n")
    monkeypatch.setattr("cpm_port.files.checkout.resource_dir", lambda name: tmp_path / name)

    def record(**results: Any) -> dict[str, BenchRecord]:
        for name, result in results.items():
            write_results(
                _records.records_folder() / f"{name}.json", f"cpm-port bench {name}", machine(), {name: result}
            )
        return read_records(_records.records_folder())

    return record


def test_records_are_read_as_written(recorded: Callable[..., dict[str, BenchRecord]]) -> None:
    found = recorded(**RESULTS)
    assert {name: record.result for name, record in found.items()} == RESULTS
    assert found["net"].command == "cpm-port bench net"
    assert found["net"].machine == machine()


@pytest.mark.parametrize("content", ["", "[]", '{"results": {"other": {}}}', '{"results": {"net": {}}}'])
def test_a_file_of_another_kind_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(content)
    with pytest.raises(DataError, match=r"net\.json: not what `cpm-port bench net --record` writes"):
        read_records(tmp_path)


def test_an_installation_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpm_port.files.checkout.resource_dir", lambda name: tmp_path / name)
    with pytest.raises(UsageError, match="is no checkout"):
        _records.records_folder()


def test_the_machine_is_described() -> None:
    said = describe_machine()
    assert set(machine()) <= set(said)
    assert said["cores"] >= said["threads"] / 2 >= 0.5
    assert said["versions"]["torch"]
    json.dumps(said)


def test_the_page_says_what_was_recorded(recorded: Callable[..., dict[str, BenchRecord]], tmp_path: Path) -> None:
    recorded(**RESULTS)
    written = [path.relative_to(tmp_path).as_posix() for path in _report.write_report()]
    assert written == ["docs/pictures/speed.svg", "docs/pictures/growth.svg", _report.PAGE]
    page = (tmp_path / _report.PAGE).read_text()
    assert page.startswith("# Title\n")
    assert page.endswith(f"{_report.END}\nrest\n")
    for said in (
        "| `person`: a person at seven scales, image to joints | 500 ms | plain PyTorch 9.0 |",
        "| `net`: one pass of the net | 80 ms | plain PyTorch 10, OpenCV 4 importer 30 |",
        "take 1.5 % at 640 x 360 and 5.0 % at 1920 x 1080 of a person's time",
        "2290 MiB with 1792",
        "to a ready net: 0.31 s",
        "- scales: 0.1 s + 0.25 s each; every scale is one more pass.",
        "Measured (`net`, `person`, `scaling`): P, 2 threads of 2 cores, load before 0.1; torch 2;",
    ):
        assert said in page
    assert "old" not in page
    before = [path.read_bytes() for path in map(tmp_path.joinpath, written)]
    _report.write_report()
    assert before == [path.read_bytes() for path in map(tmp_path.joinpath, written)]
    assert all((tmp_path / name).stat().st_size < PICTURE_LIMIT for name in written[:2])


def test_a_report_needs_records_and_a_place(recorded: Callable[..., dict[str, BenchRecord]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is recorded"):
        _report.write_report()
    recorded(net=NET)
    (tmp_path / _report.PAGE).write_text("# Title\n")
    with pytest.raises(UsageError, match="has no place for the report"):
        _report.write_report()


@pytest.mark.parametrize(
    "broken",
    [
        {"net": {}},
        {"net": {**NET, "medians": []}},
        {"net": NET, "scaling": {"series": {"scales": {"x": 1.0}}, "growth": {}}},
    ],
)
def test_a_record_that_lacks_something_is_bad_input(
    broken: dict[str, Any], recorded: Callable[..., dict[str, BenchRecord]], tmp_path: Path
) -> None:
    recorded(**broken)
    before = (tmp_path / _report.PAGE).read_text()
    with pytest.raises(DataError, match="benchmarks: a record lacks a value that the report shows"):
        _report.write_report()
    assert (tmp_path / _report.PAGE).read_text() == before


def test_the_checkouts_page_is_that_of_its_records() -> None:
    """What `cpm-port bench report` would write is there already; numbers in the page are recorded ones."""
    records = read_records(ROOT / "reference_results/benchmarks")
    if not records:
        pytest.skip("nothing is recorded")
    page = (ROOT / _report.PAGE).read_text(encoding="utf-8")
    assert _report.with_report(page, records) == page
    for name in ("speed", "growth"):
        picture = ROOT / f"docs/pictures/{name}.svg"
        assert 1000 < picture.stat().st_size < PICTURE_LIMIT


def test_tables_of_scores_have_nothing_to_do_with_records(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/net.json").write_text("{}")
    assert load_all(tmp_path) == []
