"""`cpm-port regress`: exit codes, table, JSON and page. Oracles: the synthetic rows that ship; the published tables."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cpm_port.cli import main
from cpm_port.evaluation import tables


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own: the verb writes below the current one."""
    monkeypatch.chdir(tmp_path)


def test_what_ships_passes_and_the_way_to_the_rest_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["regress", "--json", "a/r.json", "--html", "b/r.html"]) == 0
    out = capsys.readouterr().out
    assert "7 pass, 0 fail, 29 inputs missing, 4 cited" in out
    assert "cpm-port regress --data ROOT" in out
    assert "numbers: a/r.json\nreport: b/r.html" in out
    results = json.loads((tmp_path / "a/r.json").read_text())["results"]
    assert {result["verdict"] for result in results} == {"pass", "inputs missing", "cited"}
    assert (tmp_path / "b/r.html").read_text().rstrip().endswith("</html>")
    assert not (tmp_path / "out").exists()


def test_a_regression_makes_the_exit_code_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tables.reference_dir()
    for name in ("embedded/lsp.json", "embedded/flic.json", "embedded/mpii.json", "synthetic.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    content = json.loads((tmp_path / "synthetic.json").read_text())
    content["rows"][3]["target"]["total hits"] -= 1
    (tmp_path / "synthetic.json").write_text(json.dumps(content))
    monkeypatch.setattr(tables, "reference_dir", lambda: tmp_path)
    assert main(["regress"]) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"regress.json", "regress.html"}
    out = capsys.readouterr().out
    assert "fail: synthetic/flic-torso-box: total hits" in out
    assert "6 pass, 1 fail" in out


def test_a_folder_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["regress", "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_reference_material_passes_within_the_time(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.process_time()  # of this process, so that a busy machine does not count
    assert main(["regress", "--data", str(shared), "--limit", "2"]) == 0
    assert time.process_time() - start < 30
    assert "36 pass, 0 fail, 0 inputs missing, 4 cited" in capsys.readouterr().out
