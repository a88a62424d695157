"""Benches in the tests are quick: what makes times steady, and matters for no claim here, is left out."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of garbage, before each turn of each side: a third of a second beside the suite's other objects."""
    monkeypatch.setattr("cpm_port.bench._timing.gc.collect", lambda: 0)
