"""`cpm-port evaluate --protocol P`: score a prediction file, or run a model over a data set and score that.

cpm-port evaluate --protocol lsp-pc --predictions F --ground-truth G [--json OUT] [--plots DIR]
cpm-port evaluate --protocol lsp-pc --net N --weights W --data ROOT [--limit N]      (also under torchrun)
cpm-port evaluate --protocol lsp-pc --model NAME --data ROOT                         (without a name: the default model)
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.cli._devices import add_engine, made_fast
from cpm_port.cli._models import add_model, chosen_model
from cpm_port.errors import UsageError
from cpm_port.files.digest import file_sha256
from cpm_port.parts import CENTRICITIES, ORDERS

if TYPE_CHECKING:
    from cpm_port.evaluation.diagnose import Diagnosis
    from cpm_port.evaluation.measure import Measurement
    from cpm_port.evaluation.protocols import Protocol
    from cpm_port.evaluation.reference import Row
    from cpm_port.evaluation.truth import Truth
    from cpm_port.predictions.values import Predictions

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--protocol", required=True, metavar="P", help="its name; an unknown one lists them all")
    parser.add_argument("--ground-truth", type=Path, metavar="G", help="label file; with --data: instead of ROOT's own")
    parser.add_argument("--threshold", type=float, metavar="T", help="instead of the protocol's own")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N people only")
    parser.add_argument("--bootstrap", type=int, metavar="SEED", help="add 95 %% intervals, resampling people")
    parser.add_argument(
        "--compare", metavar="MODEL", help="which published model to compare with; by default told by the files' hashes"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write curves.svg, bars.svg and cases.png")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images, for the pictures of --plots")
    file = parser.add_argument_group("a prediction file")
    file.add_argument("--predictions", type=Path, metavar="F", help=".mat, .h5, .json or a folder of OpenPose JSON")
    file.add_argument("--order", choices=list(ORDERS), help="order of its parts, where the file does not say")
    file.add_argument("--base", type=int, choices=(0, 1), help="its first pixel's coordinate, where it does not say")
    file.add_argument("--centric", choices=CENTRICITIES, help="whose left and right, where it does not say")
    model = parser.add_argument_group("a model over a data set")
    add_model(model)
    model.add_argument("--data", type=Path, metavar="ROOT", help="the data set's folder: labels, and images/")
    model.add_argument(
        "--save",
        type=Path,
        metavar="F.h5",
        help="where the predictions go (default PROTOCOL.h5); F.h5.journal keeps them while they are made",
    )
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write what is asked; process 0 alone does so under torchrun."""
    from cpm_port.evaluation.protocols import protocol_named

    protocol = protocol_named(args.protocol)
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: at least 1 asked")
    if args.data is not None or {args.model, args.net, args.weights} != {None}:
        made = _run_model(args, protocol)
        if made is None:
            return 0
        predictions, truth, hashes = made
    else:
        predictions, truth, hashes = _read_files(args, protocol)
    _report(args, protocol, predictions, truth, hashes)
    return 0


def _read_files(args: argparse.Namespace, protocol: Protocol) -> tuple[Predictions, Truth, dict[str, str]]:
    from cpm_port.evaluation.truth import read_truth
    from cpm_port.predictions.files import read_predictions

    if args.predictions is None or args.ground_truth is None:
        raise UsageError("--predictions and --ground-truth belong together (or a model and --data)")
    centric = args.centric or (protocol.convention.centric if args.predictions.suffix == ".mat" else None)
    order = None if args.order is None else ORDERS[args.order]
    predictions = read_predictions(args.predictions, order=order, base=args.base, centric=centric)
    truth = read_truth(protocol.dataset, args.ground_truth, images=args.images, centric=protocol.convention.centric)
    if args.limit is not None:
        predictions, truth = predictions.first(args.limit), truth.first(args.limit)
    files = {"predictions": args.predictions, "truth": args.ground_truth}
    return predictions, truth, {kind: file_sha256(path) for kind, path in files.items() if path.is_file()}


def _run_model(args: argparse.Namespace, protocol: Protocol) -> tuple[Predictions, Truth, dict[str, str]] | None:
    """Predict; None in processes that only help."""
    from cpm_port import __version__, load_net
    from cpm_port.annotations.scored import find_images, find_labels, read_scored
    from cpm_port.compute.devices import joined_world
    from cpm_port.evaluation.truth import Truth
    from cpm_port.inference.dataset import PATIENCE, predict_samples
    from cpm_port.predictions.files import write_predictions

    if args.predictions is not None:
        raise UsageError("give --predictions, or a model and --data, not both")
    if args.data is None:
        raise UsageError("a model needs --data ROOT, the folder of a data set")
    files = chosen_model(args)
    sigma = None if files.entry is None else files.entry.center_sigma
    centric = protocol.convention.centric
    labels = args.ground_truth or find_labels(protocol.dataset, args.data, centric)
    samples = read_scored(protocol.dataset, labels, images=find_images(args.data), centric=centric)[: args.limit]
    target = args.save or Path(f"{protocol.name}.h5")
    if target.suffix != ".h5":
        raise UsageError(f"--save {target}: a name ending in .h5 asked")
    identity = {
        "version": __version__,
        "dataset": protocol.dataset,
        "net": file_sha256(files.net),
        "weights": file_sha256(files.weights),
        "labels": file_sha256(labels),
        "precision": args.precision,
    }
    with joined_world(args.device, PATIENCE) as world:
        net = made_fast(load_net(files.net, files.weights, device=world.device), args)
        journal = target.with_name(target.name + ".journal")
        predictions = predict_samples(net, samples, journal, identity, world, sigma)
    if predictions is None:
        return None
    write_predictions(target, predictions)
    print(f"predictions: {target}")
    hashes = {"truth": identity["labels"], "weights": identity["weights"]}
    return predictions, Truth.of(samples, str(labels)), hashes


def _report(
    args: argparse.Namespace, protocol: Protocol, predictions: Predictions, truth: Truth, hashes: dict[str, str]
) -> None:
    from cpm_port.evaluation.diagnose import diagnose, diagnose_normalizer
    from cpm_port.evaluation.measure import measure
    from cpm_port.evaluation.reference import load_all, matching_rows, published_elsewhere
    from cpm_port.report.scores import evaluation_table
    from cpm_port.zoo.entries import recorded_row

    measurement = measure(protocol, predictions, truth)
    result = measurement.result(args.threshold, bootstrap_seed=args.bootstrap)
    references = load_all()
    whole = args.limit is None  # a part of the people has no published row
    rows = matching_rows(references, protocol.name, result.threshold, hashes, args.compare) if whole else []
    recorded = recorded_row(hashes.get("weights", ""), protocol.name, result.threshold, result.total.count)
    print(evaluation_table(result, rows if recorded is None else [*rows, recorded]))
    diagnoses = list(diagnose(protocol, predictions, truth))
    elsewhere = published_elsewhere(references, protocol.name, result.threshold, hashes.get("predictions", ""))
    for row in (*rows, *elsewhere) if whole else ():
        under = "" if row in rows else row.protocol
        normalizer = diagnose_normalizer(protocol, predictions, truth, row.published, result.threshold, under)
        diagnoses += [normalizer] if normalizer else []
    for diagnosis in diagnoses:
        print(f"note: {diagnosis}")
    if args.json is not None:
        _write_json(args, measurement, result.to_json(), rows, diagnoses)
    if args.plots is not None:
        _write_plots(args.plots, measurement, predictions, truth, args.bootstrap)


def _write_json(
    args: argparse.Namespace,
    measurement: Measurement,
    content: dict[str, Any],
    rows: Sequence[Row],
    diagnoses: Sequence[Diagnosis],
) -> None:
    from cpm_port.files.atomic import atomic_path

    curve = measurement.curve()
    content["curve"] = {
        "thresholds": curve.thresholds.tolist(),
        "total": curve.total.tolist(),
        "parts": {name: values.tolist() for name, values in curve.parts.items()},
    }
    content["references"] = [
        {"id": r.id, "model": r.model, "source": r.source, "published": dict(r.published), "target": dict(r.target)}
        for r in rows
    ]
    content["diagnoses"] = [{"slip": d.slip, "text": str(d)} for d in diagnoses]
    with atomic_path(args.json) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """Return the content with null where a percentage of nothing stands: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_plots(
    folder: Path, measurement: Measurement, predictions: Predictions, truth: Truth, seed: int | None
) -> None:
    from cpm_port.files.atomic import atomic_path
    from cpm_port.report.plots import bars, cases, curves
    from cpm_port.report.ranking import extreme_cases, pictured_cases

    name = measurement.protocol.name
    result = measurement.result(bootstrap_seed=seed)
    pictures = {
        "curves.svg": curves(
            f"{name}: detection rate over distance", "error / normalizer", {"measured": measurement.curve()}
        ),
        "bars.svg": bars(f"{name} @{result.threshold:g}", {"measured": result.joints}),
    }
    people = pictured_cases(measurement, predictions, truth)
    title = f"{name}: people whose image is here, best to worst"
    if not people:
        people = extreme_cases(measurement, predictions, truth)
        title = f"{name}: the best people, then the worst"
    if people:
        pictures["cases.png"] = cases(title, people)
    for file, content in pictures.items():
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(content)
        print(f"picture: {folder / file}")
