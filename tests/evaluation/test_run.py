"""Claim: from Python a prediction file is scored as by `cpm-port evaluate`. Oracle: the command line's JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cpm_port.cli import main
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.run import evaluate, read_subject
from cpm_port.parts import LSP14
from tests.evaluation.support import drawn_people


@pytest.mark.parametrize("limit", [None, 20])
def test_python_scores_a_file_as_the_command_line_does(tmp_path: Path, limit: int | None) -> None:
    people = np.round(drawn_people(LSP14, 60, 3))
    guesses = people + np.random.default_rng(1).integers(-12, 13, people.shape)
    labels = np.concatenate([people + 1, 0 * people[..., :1]], axis=2)
    savemat(tmp_path / "joints.mat", {"joints": labels.transpose(2, 1, 0)})
    savemat(tmp_path / "pred.mat", {"prediction_all": guesses.transpose(1, 2, 0) + 1})
    files = ["--predictions", str(tmp_path / "pred.mat"), "--ground-truth", str(tmp_path / "joints.mat")]
    options = ["--threshold", "0.1", *([] if limit is None else ["--limit", str(limit)])]
    assert main(["evaluate", "--protocol", "lsp-pc", *files, *options, "--json", str(tmp_path / "out.json")]) == 0
    protocol = protocol_named("lsp-pc")
    subject = read_subject(protocol, tmp_path / "pred.mat", tmp_path / "joints.mat", limit=limit)
    scored = evaluate(protocol, subject, threshold=0.1)
    assert scored.to_json() == json.loads((tmp_path / "out.json").read_text())
    assert scored.result.total.count == 14 * (limit or 60)
    assert subject.whole == (limit is None)
