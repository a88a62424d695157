"""The command line `cpm-port`: one file per verb; each parses arguments, calls one function and prints one report.

A verb's module offers `configure(parser)` and `run(args) -> int` (the exit code). Modules are imported only when their
verb is called, so `cpm-port --help` needs neither torch nor OpenCV.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import sys
from collections.abc import Sequence

from cpm_port.errors import CpmPortError

__all__ = ["VERBS", "main"]

_OBJECTS_BETWEEN_COLLECTIONS = 100_000

VERBS = {
    "inspect": "layers, shapes, parameters, FLOPs and receptive fields of a Caffe file",
    "forward": "run a net on arrays",
    "compare": "hold a net's blobs against reference blobs",
    "convert": "change a model's file format",
    "predict": "find the joints of the people in images and videos",
    "serve": "the release's demo in a browser: pictures, joints, belief maps stage by stage",
    "prototxt": "write deploy, train and solver files of a CPM",
    "evaluate": "score predictions, or a model, under a named protocol",
    "regress": "recompute every reference result whose inputs are there",
    "batches": "run a net's data layer alone and look at what it gives",
    "records": "training records in the release's layouts: check, write",
    "train": "train a net as its solver file says",
    "finetune": "make a model for parts of your own from a trained one",
    "test": "score a Caffe model on its net's data layers, as `caffe test` does",
    "time": "time a Caffe net layer by layer, as `caffe time` does",
    "study": "the paper's training studies",
    "models": "the default and the official models: where they are, and adding them",
    "doctor": "what a report of a fault must say: versions, devices, caches, models, what is missing",
    "bench": "speed beside named peers, parity first",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    if argv is None:
        # What is imported stays: to look through it for garbage some sixty times takes a tenth of a first prediction.
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    parser = argparse.ArgumentParser(prog="cpm-port", description="Convolutional Pose Machines from Caffe to PyTorch.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    arguments = list(sys.argv[1:] if argv is None else argv)
    called = next((word for word in arguments if not word.startswith("-")), None)
    for verb, text in VERBS.items():
        sub = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
        if verb == called:
            module = importlib.import_module(f"cpm_port.cli.{verb}")
            module.configure(sub)
            sub.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    args.words = arguments  # as typed: for a command that starts itself again
    if args.version:
        from cpm_port.version import __version__

        print(__version__)
        return 0
    if args.verb is None:
        parser.print_help()
        return 2
    try:
        return int(args.run(args))
    except CpmPortError as error:
        print(f"cpm-port {args.verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print(f"cpm-port {args.verb}: interrupted", file=sys.stderr)
        return 130  # as of any program that SIGINT ended
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"cpm-port {args.verb}: {_told(error)}", file=sys.stderr)
        return 2


def _told(error: OSError) -> str:
    """Say where first, as the package's own errors do."""
    where = error.filename2 or error.filename
    if where is None or error.strerror is None:
        return str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{where}: {error.strerror}; expected a folder"
    return f"{where}: {error.strerror}"
