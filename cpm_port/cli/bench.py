"""`cpm-port bench [NAME]`: run one bench of `cpm_port/bench`, or all of them; a table, and with `--json F` a file.

`--record` keeps the results in the checkout's `reference_results/benchmarks`, one file a bench; `cpm-port bench report`
writes the page of speed and its pictures from them. What was measured on a GPU is kept in `gpu/<device>` there. Exit
code 1 where a bench falls short of a target.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import shlex
from pathlib import Path

import cpm_port.bench
from cpm_port.errors import UsageError
from cpm_port.files.atomic import require_writable_folder

__all__ = ["configure", "run"]

_REPORT = "report"
_MAY_BE_ZERO = ("seed", "difficulty", "level", "finetune", "memory_bound", "bounds")
_ON_ITS_OWN = "gpu"  # runs other benches, on what is not everywhere: not one of "all of them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments; those of a bench follow its name."""
    names = ", ".join(_names())
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help=f"one of {names}; all of them but {_ON_ITS_OWN} where it is left out; "
        f"or {_REPORT}: write the page of speed, its pictures",
    )
    _add_targets(parser)
    parser.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="...", help="the bench's own arguments; -h lists them"
    )


def run(args: argparse.Namespace) -> int:
    """Run the benches; return 1 where one falls short of a target."""
    if args.name == _REPORT:
        return _report(args.rest)
    if args.name is not None and args.name not in _names():
        raise UsageError(f"no bench {args.name!r}; there are {', '.join(_names())}, and {_REPORT}")
    from cpm_port.bench._records import record_path, records_folder, write_results
    from cpm_port.bench._text import missed_targets, result_text
    from cpm_port.compute.machine import describe_machine

    names = [args.name] if args.name else [name for name in _names() if name != _ON_ITS_OWN]
    machine = describe_machine()
    print("  ".join(f"{key}: {value}" for key, value in machine.items() if key != "versions"))
    print("  ".join(f"{key} {value}" for key, value in machine["versions"].items()))
    results = {}
    command = shlex.join(["cpm-port", "bench", *([args.name] if args.name else []), *args.rest])
    given = args
    for name in names:
        module = importlib.import_module(f"cpm_port.bench.{name}")
        parser = argparse.ArgumentParser(prog=f"cpm-port bench {name}")
        _add_targets(parser, args.json, args.record)
        module.configure(parser)
        given = parser.parse_args(args.rest)
        _refuse_nothing(name, given)
        folder = records_folder() if given.record else None
        results[name] = module.run(given)
        print(result_text(name, results[name]))
        if folder is not None:
            write_results(record_path(folder, name, results[name]), command, machine, {name: results[name]})
    if given.json is not None:
        write_results(given.json, command, machine, results)
    return int(any(missed_targets(result) for result in results.values()))


def _add_targets(parser: argparse.ArgumentParser, json: Path | None = None, record: bool = False) -> None:
    """Declare where results go; before a bench's name and behind it alike."""
    parser.add_argument(
        "--json", type=Path, metavar="F", default=json, help="write the results, with machine and versions, to F"
    )
    parser.add_argument(
        "--record", action="store_true", default=record, help="keep them in the checkout's reference_results/benchmarks"
    )


def _refuse_nothing(name: str, given: argparse.Namespace) -> None:
    """Raise a UsageError before anything runs where nothing would be measured, or the results could not be kept."""
    for option, value in vars(given).items():
        for number in value if isinstance(value, list | tuple) else [value]:
            least = 0 if option in _MAY_BE_ZERO else 1
            found = f"bench {name}: --{option.replace('_', '-')} {number}"
            if type(number) is int and number < least:
                raise UsageError(f"{found}: expected {least} or more")
            if type(number) is float and not number > 0:
                raise UsageError(f"{found}: expected a number above 0")
    if given.json is not None:
        if given.json.is_dir():
            raise UsageError(f"--json {given.json}: is a folder; expected a file")
        require_writable_folder(given.json.parent)


def _report(rest: list[str]) -> int:
    from cpm_port.bench._report import write_report

    argparse.ArgumentParser(prog=f"cpm-port bench {_REPORT}").parse_args(rest)
    for path in write_report():
        print(f"written: {path}")
    return 0


def _names() -> list[str]:
    return [found.name for found in pkgutil.iter_modules(cpm_port.bench.__path__) if not found.name.startswith("_")]
