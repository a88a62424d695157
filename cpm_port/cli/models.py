"""`cpm-port models`: the default and the official models: what they score, where they are, adding and fetching them.

cpm-port models [--json]                                  what there is
cpm-port models add FILE... [--as NAME]                   check an official file and install it
cpm-port models add FOLDER --as NAME                      give a model of your own a name
cpm-port models download NAME [--url U]... [--sha256 H]   the same with a file that a server has
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.errors import CpmPortError, UsageError

if TYPE_CHECKING:
    from cpm_port.zoo import Installed

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="check a model's file and install it",
        description="Recognise official models by their layers, check that they are whole, and install copies; or give "
        "the folder of a model of your own a name.",
    )
    add.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=".caffemodel, as its authors made it, or its HDF5 form; or a folder that `finetune` wrote",
    )
    add.add_argument(
        "--as", dest="name", metavar="NAME", help="which model it is, where its name does not tell; or your own's name"
    )
    download = actions.add_parser(
        "download",
        help="fetch an official model and install it",
        description="Fetch an official model from an address that has it, and install it. Goes on where it broke off.",
    )
    download.add_argument("name", metavar="NAME", help="of the model")
    download.add_argument("--url", action="append", default=[], metavar="U", help="where to fetch it; repeatable")
    download.add_argument("--sha256", metavar="H", help="what the file's SHA-256 must be")


def run(args: argparse.Namespace) -> int:
    """List, add or download; 2 where one of several files could not be added."""
    if args.action == "add":
        return _add(args)
    if args.action == "download":
        return _download(args)
    from cpm_port.zoo.choice import describe_all

    models = describe_all()
    print(json.dumps(models, indent=2) if args.json else _listing(models))
    return 0


def _add(args: argparse.Namespace) -> int:
    from cpm_port.zoo import LICENCE, add

    if len(args.files) == 1 and Path(args.files[0]).is_dir():
        return _add_own(Path(args.files[0]), args.name)
    if args.name is not None and len(args.files) > 1:
        raise UsageError(f"--as {args.name} says of one file which model it is; {len(args.files)} are given")
    if len(args.files) == 1:
        _say(*add(args.files[0], args.name))
        print(LICENCE)
        return 0
    failed = 0
    for file in args.files:
        try:
            _say(*add(file))
        except (CpmPortError, OSError) as error:
            failed += 1
            print(f"cpm-port models: {error}", file=sys.stderr)
    print(LICENCE)
    return 2 if failed else 0


def _add_own(folder: Path, name: str | None) -> int:
    from cpm_port.zoo import ENTRIES, models_dir
    from cpm_port.zoo.own import install_own_model

    if name is None:
        raise UsageError(f"{folder}: a folder of your own needs a name: --as NAME")
    model, new = install_own_model(folder, name, models_dir(), list(ENTRIES))
    print(f"{name}: {'installed' if new else 'is installed already'}: {model.folder}")
    print(f"  {model.title}; use it with --model {name}")
    return 0


def _download(args: argparse.Namespace) -> int:
    from cpm_port.zoo import LICENCE, download, model_named

    entry = model_named(args.name)
    print(LICENCE)
    _say(*download(entry, args.url, sha256=args.sha256))
    return 0


def _say(installed: Installed, new: bool) -> None:
    print(f"{installed.name}: {'installed' if new else 'is installed already'}: {installed.weights}")
    print(f"  from {installed.original_name}, recognised by {installed.recognised_by}; SHA-256 {installed.sha256}")


def _listing(models: list[dict[str, Any]]) -> str:
    lines = []
    for model in models:
        if "parts" not in model:
            lines += [f"{model['name']}: {model['title']}", f"  {_place(model)}", ""]
            continue
        parts = f"{model['parts']} part{'s' if model['parts'] > 1 else ''} ({model['part_order']})"
        box = f"box {model['box']['height']} x {model['box']['width']}"
        lines += [f"{model['name']}: {model['title']}", f"  {parts}, {box}, {_size(model)}"]
        lines += [f"  {_score(score)}" for score in model["scores"]] or ["  no score recorded"]
        lines += [f"  {_place(model)}", ""]
    return "\n".join(lines).rstrip()


def _size(model: dict[str, Any]) -> str:
    if model["bytes"] is not None:
        return f"{model['bytes'] / 1e6:.1f} MB"
    return f"about {model['weight_bytes'] / 1e6:.0f} MB" if model["weight_bytes"] is not None else "size unknown"


def _score(score: dict[str, Any]) -> str:
    values = score["values"]
    shown = {"total": values["total"]} if "total" in values else values
    numbers = ", ".join(f"{name} {value:g}" for name, value in shown.items())
    threshold = "" if score["threshold"] is None else f" @{score['threshold']:g}"
    return f"{score['status']}: {numbers} %, {score['protocol']}{threshold} on {score['dataset']} {score['split']}"


def _place(model: dict[str, Any]) -> str:
    if model["problem"] is not None:
        return f"DAMAGED: {model['problem']}"
    if model["present"]:
        return f"present: {model['path']}, SHA-256 {model['sha256']}"
    known = f", SHA-256 {model['sha256']}" if model["sha256"] else ""
    return f"absent: {model['original_file']}{known} is expected as {model['path']}"
