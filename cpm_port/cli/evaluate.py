"""`cpm-port evaluate --protocol P`: score a prediction file, or run a model over a data set and score that.

cpm-port evaluate --protocol lsp-pc --predictions F --ground-truth G [--json OUT] [--plots DIR]
cpm-port evaluate --protocol lsp-pc --net N --weights W --data ROOT [--limit N]      (also under torchrun)
cpm-port evaluate --protocol lsp-pc --model NAME --data ROOT                         (without a name: the default model)
cpm-port evaluate --protocol own-pck --model FOLDER --data own.json                  (parts of one's own; also own-oks)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cpm_port.cli._devices import add_engine, chosen_engine
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import UsageError
from cpm_port.parts import CENTRICITIES, ORDERS

if TYPE_CHECKING:
    from cpm_port.evaluation.protocols import Protocol
    from cpm_port.evaluation.run import Evaluation, Subject

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--protocol", required=True, metavar="P", help="its name; an unknown one lists them all")
    parser.add_argument("--ground-truth", type=Path, metavar="G", help="label file; with --data: instead of ROOT's own")
    parser.add_argument("--threshold", type=float, metavar="T", help="instead of the protocol's own")
    parser.add_argument(
        "--length", metavar="A,B", help="own-pck: go by the distance of two parts (default: half the labels' box)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N people only")
    parser.add_argument("--bootstrap", type=int, metavar="SEED", help="add 95 %% intervals, resampling people")
    parser.add_argument(
        "--by-view",
        action="store_true",
        help="also by where people face, where labels say it (MPII's, of some)",
    )
    parser.add_argument(
        "--compare", metavar="MODEL", help="which published model to compare with; by default told by the files' hashes"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write curves.svg, bars.svg, cases.png; with --by-view views.svg"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images, for the pictures of --plots")
    file = parser.add_argument_group("a prediction file")
    file.add_argument(
        "--predictions", type=Path, metavar="F", help=".mat, .h5, .json, or a folder of OpenPose's or predict's JSON"
    )
    file.add_argument("--order", choices=list(ORDERS), help="order of its parts, where the file does not say")
    file.add_argument("--base", type=int, choices=(0, 1), help="its first pixel's coordinate, where it does not say")
    file.add_argument("--centric", choices=CENTRICITIES, help="whose left and right, where it does not say")
    model = parser.add_argument_group("a model over a data set")
    add_model(model)
    model.add_argument(
        "--data", type=Path, metavar="ROOT", help="the data set's folder: labels, and images/; or own.json"
    )
    model.add_argument(
        "--only-present", action="store_true", help="score the people whose images are there; the table says how many"
    )
    model.add_argument(
        "--save",
        type=Path,
        metavar="F",
        help="where the predictions go (default PROTOCOL.h5): .h5, .mat as the release's, .json as COCO's, or a folder "
        "of OpenPose's files; F.journal keeps them while they are made",
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write what is asked; process 0 alone does so under torchrun."""
    from cpm_port.evaluation.run import evaluate

    if args.data is not None and args.data.suffix == ".json":
        args.data, args.ground_truth = args.data.parent, args.data
    protocol, remarks = _protocol(args)
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: expected at least 1")
    of_a_model = args.data is not None or {args.model, args.net, args.weights} != {None}
    subject = _predicted(args, protocol) if of_a_model else _read(args, protocol)
    if subject is None:  # a process that only helps
        return 0
    scored = evaluate(
        protocol,
        subject,
        threshold=args.threshold,
        bootstrap_seed=args.bootstrap,
        compared_with=args.compare,
        by_viewpoint=args.by_view,
    )
    _report(args, scored, subject, remarks)
    return 0


def _protocol(args: argparse.Namespace) -> tuple[Protocol, list[str]]:
    """Return the protocol; one for parts of one's own goes by the label file: its parts, and a remark on its people."""
    from cpm_port.annotations.genjson import read_held_out_own
    from cpm_port.evaluation.own import OWN_PROTOCOLS, own_protocol
    from cpm_port.evaluation.protocols import protocol_named

    if args.protocol not in OWN_PROTOCOLS:
        if args.length is not None:
            raise UsageError(f"--length is for own-pck, not for {args.protocol}")
        return protocol_named(args.protocol), []
    if args.ground_truth is None:
        raise UsageError(f"{args.protocol}: expected --data own.json, or --ground-truth own.json")
    first, *rest = (args.length or "").split(",")
    if args.length and len(rest) != 1:
        raise UsageError(f"--length {args.length}: expected two parts, A,B")
    person = read_held_out_own(args.ground_truth)[0]
    protocol = own_protocol(args.protocol, person.order, (first, rest[0]) if args.length else None)
    if person.split == "validation":
        return protocol, []
    return protocol, [
        f"{args.ground_truth} marks nobody as held out: everybody is scored, people whom the net was trained on too"
    ]


def _read(args: argparse.Namespace, protocol: Protocol) -> Subject:
    """Read a prediction file and its labels."""
    from cpm_port.evaluation.run import read_subject

    if args.predictions is None or args.ground_truth is None:
        raise UsageError("--predictions and --ground-truth belong together (or a model and --data)")
    return read_subject(
        protocol,
        args.predictions,
        args.ground_truth,
        order=protocol.convention.order if args.protocol.startswith("own-") else ORDERS.get(args.order),
        base=args.base,
        centric=args.centric,
        images=args.images,
        limit=args.limit,
    )


def _predicted(args: argparse.Namespace, protocol: Protocol) -> Subject | None:
    """Run a model over a data set."""
    from cpm_port.inference.dataset import predict_dataset

    if args.predictions is not None:
        raise UsageError("give --predictions, or a model and --data, not both")
    if args.data is None:
        raise UsageError("a model needs --data ROOT, the folder of a data set")
    target = args.save or Path(f"{protocol.name}.h5")
    subject = predict_dataset(
        protocol,
        args.data,
        target,
        choice=chosen_model(args),
        engine=chosen_engine(args),
        labels=args.ground_truth,
        limit=args.limit,
        only_present=args.only_present,
    )
    if subject is not None:
        print(f"predictions: {target}")
    return subject


def _report(args: argparse.Namespace, scored: Evaluation, subject: Subject, remarks: Sequence[str]) -> None:
    from cpm_port.report.pictures import write_pictures
    from cpm_port.report.scores import evaluation_table, views_table

    print(
        evaluation_table(scored.result, [*scored.rows, *([scored.recorded] if scored.recorded else [])], scored.people)
    )
    if scored.views:
        print(views_table(scored.views))
    for note in (*scored.notes, *remarks, *scored.diagnoses):
        print(f"note: {note}")
    if args.json is not None:
        scored.write(args.json)
    if args.plots is not None:
        for path in write_pictures(args.plots, scored.measurement, subject, args.bootstrap, scored.views):
            print(f"picture: {path}")
