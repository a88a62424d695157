"""A bench's result as text: parity, times with their spread, ratios beside their targets, and what else it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["missed_targets", "result_text"]

_SHOWN = ("parity", "medians", "spread", "ratios", "targets", "missed")


def missed_targets(result: Mapping[str, Any]) -> list[str]:
    """Name the peers whose target is not reached (absent ones have no ratio), and what else fell short."""
    targets = result.get("targets", {})
    slower = [peer for peer, ratio in result.get("ratios", {}).items() if peer in targets and ratio < targets[peer]]
    return [*slower, *result.get("missed", [])]


def result_text(name: str, result: Mapping[str, Any]) -> str:
    """Return the lines that `cpm-port bench` prints of a bench."""
    return "\n".join(_lines(name, result))


def _lines(name: str, result: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n{name}"
    if "parity" in result:
        yield f"  parity: {result['parity']}"
    spread = result.get("spread", {})
    for side, median in result.get("medians", {}).items():
        low, high = spread.get(side, (median, median))
        yield f"  {side:<32} {median * 1e3:10.2f} ms   ({low * 1e3:.2f} to {high * 1e3:.2f})"
    missed = missed_targets(result)
    if result.get("ratios"):
        yield "  times faster than"
    for peer, ratio in result.get("ratios", {}).items():
        target = result.get("targets", {}).get(peer)
        verdict = "" if target is None else f"   at least {target:.3g}: {'missed' if peer in missed else 'met'}"
        yield f"  {peer:<32} {ratio:10.3f}{verdict}"
    for failure in result.get("missed", []):
        yield f"  missed: {failure}"
    for key, value in result.items():
        if key not in _SHOWN:
            yield from _told(key, value, "  ")


def _told(key: str, value: Any, margin: str) -> Iterator[str]:
    """Yield a value's line; of a table one line a row, of tables in a table each one below its name."""
    if not (isinstance(value, dict) and any(isinstance(item, dict) for item in value.values())):
        yield f"{margin}{key}: {_brief(value)}"
        return
    yield f"{margin}{key}:"
    for item, row in value.items():
        if isinstance(row, dict) and not any(isinstance(each, dict) for each in row.values()):
            yield f"{margin}  {item}: " + ", ".join(f"{k} {_brief(v)}" for k, v in row.items())
        else:
            yield from _told(item, row, f"{margin}  ")


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
