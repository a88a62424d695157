"""`cpm-port serve [--model NAME] [--port 8000]`: the release's demo in a browser; a page of this machine's own.

It prints the address and opens nothing by itself; Ctrl+C ends it. On the page: open, drop or paste a picture, or take
one with the camera; find everybody, or drag boxes; see the joints, and every belief map: stage after stage, scale by
scale, part by part; two models side by side; take away JSON (ours, COCO, OpenPose), the picture, the maps.

Pictures and results stay in this machine's memory, for half an hour at most after they were last looked at. Only this
machine reaches the page; `--host 0.0.0.0` lets others, and asks for `--token`. Needs the extra `web`:
`pip install 'cpm_port[web]'`.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from cpm_port.cli._devices import add_engine, chosen_engine
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import MissingDependencyError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="0 takes any that is free (default %(default)s)"
    )
    parser.add_argument(
        "--token", nargs="?", const="", metavar="TEXT", help="what every request must bring; without TEXT, one is made"
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    absent = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if absent:
        raise MissingDependencyError(f"{' and '.join(absent)} not found; pip install 'cpm_port[web]' brings them")
    from cpm_port.web.server import serve

    try:
        serve(chosen_model(args), chosen_engine(args), args.host, args.port, args.token, say=_say)
    except KeyboardInterrupt:  # the way to end it
        print()
    return 0


def _say(address: str) -> None:
    print(f"cpm-port serve: {address} (Ctrl+C ends it)", flush=True)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} found, a number from 0 to 65535 expected")
    return port
