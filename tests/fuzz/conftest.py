"""Prints what was tried."""

from __future__ import annotations

from typing import Any

from tests.fuzz.counts import TALLIES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not TALLIES:
        return
    terminalreporter.section("spoiled files")
    for name, tally in TALLIES.items():
        terminalreporter.write_line(
            f"{name:20s} {tally.inputs:8d} inputs, {tally.refused:8d} refused, at most {tally.seconds:5.2f} s and "
            f"{tally.memory >> 20:4d} MiB"
        )
    terminalreporter.write_line(f"{sum(tally.inputs for tally in TALLIES.values())} inputs in all")
