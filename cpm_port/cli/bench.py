"""`cpm-port bench [NAME]`: run one bench of `cpm_port/bench`, or all of them; a table, and with `--json F` a file.

Exit code 1 where a bench falls short of a target.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
from pathlib import Path
from typing import Any

import cpm_port.bench
from cpm_port._atomic import atomic_path
from cpm_port.errors import UsageError

__all__ = ["configure", "run"]

_VERSIONS = ("cpm_port", "numpy", "torch", "protobuf", "opencv-python", "numba", "scipy", "h5py")
_SHOWN = ("parity", "medians", "spread", "ratios", "targets", "missed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments; those of a bench follow its name."""
    names = ", ".join(_names())
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"one of {names}; all of them where it is left out")
    parser.add_argument("--json", type=Path, metavar="F", help="write the results, with machine and versions, to F")
    parser.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="...", help="the bench's own arguments; -h lists them"
    )


def run(args: argparse.Namespace) -> int:
    """Run the benches; return 1 where one falls short of a target."""
    if args.name is not None and args.name not in _names():
        raise UsageError(f"no bench {args.name!r}; there are {', '.join(_names())}")
    names = [args.name] if args.name else _names()
    machine = _machine()
    print("  ".join(f"{key}: {value}" for key, value in machine.items() if key != "versions"))
    print("  ".join(f"{key} {value}" for key, value in machine["versions"].items()))
    results = {}
    target = args.json
    for name in names:
        module = importlib.import_module(f"cpm_port.bench.{name}")
        parser = argparse.ArgumentParser(prog=f"cpm-port bench {name}")
        parser.add_argument("--json", type=Path, metavar="F", default=args.json)
        module.configure(parser)
        own = parser.parse_args(args.rest)
        target = own.json
        results[name] = module.run(own)
        _show(name, results[name])
    if target is not None:
        with atomic_path(target) as temporary:
            temporary.write_text(
                json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8"
            )
    return int(any(_missed(result) for result in results.values()))


def _names() -> list[str]:
    return [found.name for found in pkgutil.iter_modules(cpm_port.bench.__path__) if not found.name.startswith("_")]


def _missed(result: dict[str, Any]) -> list[str]:
    """Name the peers whose target is not reached (absent ones have no ratio), and what else fell short."""
    targets = result.get("targets", {})
    slower = [peer for peer, ratio in result.get("ratios", {}).items() if peer in targets and ratio < targets[peer]]
    return [*slower, *result.get("missed", [])]


def _show(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}")
    if "parity" in result:
        print(f"  parity: {result['parity']}")
    spread = result.get("spread", {})
    for side, median in result.get("medians", {}).items():
        low, high = spread.get(side, (median, median))
        print(f"  {side:<32} {median * 1e3:10.2f} ms   ({low * 1e3:.2f} to {high * 1e3:.2f})")
    missed = _missed(result)
    if result.get("ratios"):
        print("  times faster than")
    for peer, ratio in result.get("ratios", {}).items():
        target = result.get("targets", {}).get(peer)
        verdict = "" if target is None else f"   at least {target:.3g}: {'missed' if peer in missed else 'met'}"
        print(f"  {peer:<32} {ratio:10.3f}{verdict}")
    for failure in result.get("missed", []):
        print(f"  missed: {failure}")
    for key, value in result.items():
        if key not in _SHOWN:
            print(f"  {key}: {value}")


def _machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    versions = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
