"""The scoring bench checks parity before it times; a small run gives every side. Oracle: the four ways must agree."""

from __future__ import annotations

from argparse import Namespace

import pytest

from cpm_port.bench import score
from cpm_port.errors import DataError


def test_a_small_run_reports_every_side_and_its_targets() -> None:
    result = score.run(Namespace(repeats=1, joints=3200))
    assert set(result["medians"]) == {"ours", "numpy, searchsorted", "numpy, comparing", "plain python"}
    assert set(result["ratios"]) == set(result["targets"])
    assert result["joints"] == 3200
    assert result["ratios"]["plain python"] > 1


def test_a_side_that_counts_otherwise_stops_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_comparing", lambda *data: score._searching(*data) + 1)
    with pytest.raises(DataError, match="'numpy, comparing' counts other hits"):
        score.run(Namespace(repeats=1, joints=160))
