"""The reference results keep their schema, and say what the reference notes say.

Oracles: hand-broken files; the tables of `evaluation.md`, parsed here.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cpm_port.errors import DataError
from cpm_port.evaluation.reference import load_all, load_file, matching_rows, published_elsewhere
from cpm_port.evaluation.tables import reference_dir
from cpm_port.files.digest import file_sha256

GOOD: dict[str, Any] = {
    "schema": 1,
    "title": "A table",
    "dataset": "LSP",
    "rows": [
        {
            "id": "a", "model": "m", "split": "test", "protocol": "lsp-pc", "threshold": 0.2, "status": "recomputed",
            "source": "somewhere", "target": {"total": 50.0}, "tolerance": 0.01,
            "inputs": {"predictions": "p.mat", "truth": "t.mat"},
        }
    ],
    "facts": [{"id": "f", "status": "published", "statement": "s", "values": {"x": 1}, "source": "somewhere"}],
}  # fmt: skip


def _load(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content))
    load_file(path)


def _changed(**row: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    for name, value in row.items():
        if value is None:
            del content["rows"][0][name]
        else:
            content["rows"][0][name] = value
    return content


def test_a_good_file_is_read(tmp_path: Path) -> None:
    _load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "expected an object"),
        ({**GOOD, "schema": 2}, "schema is 2, expected 1"),
        ({**GOOD, "titel": "x"}, "unknown titel"),
        (_changed(source=None), "missing source"),
        (_changed(tolerance=0), "a tolerance above 0"),
        (_changed(inputs=None), "needs inputs"),
        (_changed(target=None), "needs inputs, target"),
        (_changed(threshold="0.2"), "threshold is str"),
        (_changed(target={"total": "50"}), "total is no number"),
        (_changed(target={"Nose": 50.0}), "Nose: lsp-pc has"),
        (_changed(protocol="pck"), "protocol 'pck' is not one of ours"),
        (_changed(status="remembered"), "status 'remembered'"),
        (_changed(status="published"), "published values alone, not inputs"),
        (_changed(inputs={"predictions": "p"}), "missing truth"),
        (_changed(inputs={"predictions": "p", "truth": "t", "slip": "typo"}), "slip 'typo'"),
        (_changed(inputs={"predictions": "p", "truth": "t", "centric": "me"}), "centric 'me'"),
        (_changed(measured={"command": "c", "inputs": {}, "values": {}, "counts": {}}), "the hashes of p.mat, t.mat"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, content: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _load(tmp_path, content)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        load_file(path)


def test_ids_are_unique_over_all_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(GOOD))
    with pytest.raises(DataError, match=r"id 'a' is in one\.json too"):
        load_all(tmp_path)


def test_every_shipped_row_has_its_source_and_every_recomputed_one_its_record() -> None:
    references = load_all()
    rows = [row for reference in references for row in reference.rows]
    assert {row.status for row in rows} == {"published", "recomputed", "measured here"}
    assert all(row.source for row in rows)
    assert all(fact.source for reference in references for fact in reference.facts)
    for row in rows:
        if row.status == "published":
            continue
        assert row.measured, f"{row.id}: run cpm-port regress --record"
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in row.measured["inputs"].values())
        for name, value in row.target.items():
            if name.endswith(" hits"):
                assert row.measured["counts"][name.removesuffix(" hits")][0] == value
            else:
                assert row.measured["values"][name] == pytest.approx(value, abs=row.tolerance)
    titles = " ".join(reference.title for reference in references)
    assert all(word in titles for word in ("LSP", "FLIC", "MPII validation", "MPII test", "findings", "Other"))


def test_the_hashes_of_what_ships_are_those_of_the_files() -> None:
    for reference in load_all():
        for row in reference.rows:
            for name, digest in row.measured.get("inputs", {}).items():
                if name.startswith("embedded/"):
                    assert file_sha256(reference_dir() / name) == digest


def test_rows_are_found_by_the_hashes_of_the_files_or_by_model() -> None:
    references = load_all()
    row = next(r for reference in references for r in reference.rows if r.id == "lsp-pc/LSP_6s@0.2")
    hashes = {
        "predictions": row.measured["inputs"][row.inputs.predictions],
        "truth": row.measured["inputs"][row.inputs.truth],
    }
    assert matching_rows(references, "lsp-pc", 0.2, hashes, None) == [row]
    assert {r.model for r in matching_rows(references, "lsp-pc", 0.2, {}, None)} == {"LSP_6s", "MPII_LSP_6s"}
    assert {r.model for r in matching_rows(references, "lsp-pc", 0.2, {}, "LSP_6s")} == {"LSP_6s"}
    assert matching_rows(references, "lsp-pc", 0.15, {}, None) == []
    flic = next(r for reference in references for r in reference.rows if r.id == "flic-gt-torso/FLIC_4s@0.2")
    digest = flic.measured["inputs"][flic.inputs.predictions]
    assert published_elsewhere(references, "flic-torso-box", 0.2, digest) == [flic]
    assert published_elsewhere(references, "flic-gt-torso", 0.2, digest) == []


def _tables(note: str) -> list[list[dict[str, str]]]:
    """Return the note's markdown tables as lists of rows by column."""
    tables: list[list[dict[str, str]]] = []
    head: list[str] | None = None
    for line in note.splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [cell.strip().replace("**", "") for cell in re.split(r"\|(?!Lsho|\s*<)", line.strip()[1:-1])]
        if head is None:
            head = cells
            tables.append([])
        elif not set(line) <= set("|- "):
            tables[-1].append(dict(zip(head, cells, strict=False)))
    return tables


def test_the_targets_are_the_numbers_of_the_note(shared: Path) -> None:
    lsp, _, _, mpii = _tables((shared / "notes/evaluation.md").read_text(encoding="utf-8"))
    rows = {row.id: row for reference in load_all() for row in reference.rows}
    model = ""
    assert len(lsp) == 6
    for line in lsp:
        model = line["predictions"] or model
        target = rows[f"lsp-pc/{model}@{line['@']}"].target
        for column in ("Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank", "total"):
            number, _, hits = line[column].partition(" (")
            assert target[column] == float(number)
            assert not hits or target["total hits"] == int(hits.split("/")[0])
        assert not line["AUC"] or target["auc"] == float(line["AUC"])
    assert len(mpii) == 4
    for line in mpii:
        who = "hg_s2_b1" if "hg" in line["predictions"] else "tompson"
        target = dict(rows[f"mpii-{line['protocol']}/{who}"].target)
        if line["protocol"] == "official":
            target["Head"] = rows[f"mpii-official/{who}-head"].target["Head"]
        for column in ("Head", "Sho", "Elb", "Wri", "Hip", "Kne", "Ank"):
            assert not line[column] or target[column] == float(line[column])
        assert target["total"] == float(line["mean"].split()[0])
        assert not line["AUC"] or target["auc"] == float(line["AUC"])
