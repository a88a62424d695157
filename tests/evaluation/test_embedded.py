"""The synthetic set that ships: its files are what the command writes, its scores what counting with whole numbers
gives.

Oracle: a count written out here, with fractions; it shares nothing with the package but the files.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from cpm_port.errors import DataError
from cpm_port.evaluation.embedded import main, read_embedded
from cpm_port.evaluation.reference import load_file
from cpm_port.evaluation.tables import reference_dir
from cpm_port.parts import ORDERS


def test_the_shipped_files_are_what_the_command_writes(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    for name in ("embedded/lsp.json", "embedded/flic.json", "embedded/mpii.json"):
        assert (tmp_path / name).read_bytes() == (reference_dir() / name).read_bytes()
    made, shipped = (load_file(folder / "synthetic.json") for folder in (tmp_path, reference_dir()))
    assert [(r.id, r.target, r.tolerance) for r in made.rows] == [(r.id, r.target, r.tolerance) for r in shipped.rows]


@pytest.mark.parametrize("row", load_file(reference_dir() / "synthetic.json").rows, ids=lambda row: row.protocol)
def test_hits_equal_a_count_with_fractions(row) -> None:
    content = json.loads((reference_dir() / row.inputs.predictions).read_text())
    order = ORDERS[content["order"]].parts
    arms = [f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist")]
    units = arms if row.protocol.startswith("flic") else [p for p in order if p not in ("pelvis", "thorax")]
    hits = 0
    for i, (truth, guess) in enumerate(zip(content["truth"], content["predicted"], strict=True)):
        if row.protocol.startswith("mpii"):
            length = Fraction(content["head_size"][i]) ** 2
        elif row.protocol == "flic-torso-box":
            length = Fraction(content["torso_diagonal"][i]) ** 2
        else:
            person = guess if "predicted" in row.protocol else truth
            a, b = person[order.index("left_shoulder")], person[order.index("right_hip")]
            length = Fraction((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2)
        limit = Fraction(str(row.threshold)) ** 2 * length
        for unit in units:
            place, found = truth[order.index(unit)], guess[order.index(unit)]
            if place is not None:
                error = (place[0] - found[0]) ** 2 + (place[1] - found[1]) ** 2
                hits += error < limit if "pytorch" in row.protocol else error <= limit
    assert hits == row.target["total hits"]


def test_ties_make_the_strict_protocol_score_less() -> None:
    targets = {row.protocol: row.target for row in load_file(reference_dir() / "synthetic.json").rows}
    assert targets["mpii-pytorch-pose"]["total hits"] < targets["mpii-official"]["total hits"]
    assert len({targets[name]["total"] for name in targets if name.startswith("flic")}) == 3


def test_a_file_that_is_not_such_a_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text('{"order": "lsp14", "centric": "person", "truth": [[[1, 2]]], "predicted": [[[1, 2]]]}')
    with pytest.raises(DataError, match="not a synthetic set"):
        read_embedded(path)
