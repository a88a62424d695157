"""`cpm-port records check|lmdb|shards|json`: training records in the release's layouts, checked and written.

    cpm-port records check LMDB [--joints 16]
    cpm-port records lmdb OUT --source train.json [--shuffle SEED]
    cpm-port records shards OUT --source train.json --per-shard 1000 --shuffle 1
    cpm-port records json OUT.json --set lsp --labels joints.mat --images DIR [--opinion F.npz]
    cpm-port records json OUT.json --from coco keypoints.json --images DIR [--validate-every N] [--pictures F.png]

A source is what `cpmdata_param { source: "..." }` may name: see `cpm_port.training.sources`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_port.errors import UsageError

__all__ = ["configure", "run"]

_SETS = ("lsp", "lspet", "mpii", "flic")
_TOOLS = ("coco", "csv", "cvat", "labelme", "labelstudio")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say what is wrong in an LMDB; exit code 1 where anything is")
    check.add_argument("lmdb", help="its folder")
    check.add_argument("--joints", type=int, default=16, help="joints per person (default %(default)s; FLIC 9)")
    lmdb = actions.add_parser("lmdb", help="write an LMDB that the authors' Caffe trains on")
    lmdb.add_argument("out", help="its folder, which must not exist")
    lmdb.add_argument("--source", required=True, help="a .json file, drawn:count=N,..., or another LMDB")
    lmdb.add_argument("--joints", type=int, default=16, help="joints per person of an LMDB source")
    lmdb.add_argument("--shuffle", type=int, metavar="SEED", help="write the records in a random order")
    shards = actions.add_parser("shards", help="write tar shards, as WebDataset has them, of a .json file's people")
    shards.add_argument("out", help="their folder, which must not exist; train on shards:OUT/index.json")
    shards.add_argument("--source", type=Path, required=True, help="the .json file, its images beside it or in images/")
    shards.add_argument("--per-shard", type=int, default=1000, metavar="N", help="people in each (default %(default)s)")
    shards.add_argument("--shuffle", type=int, metavar="SEED", help="write them in a random order, which mixes best")
    shards.add_argument("--held-out", action="store_true", help="the people marked as validation, not the others")
    json = actions.add_parser("json", help="write annotations in the layout of genJSON.m, which training reads")
    json.add_argument("out", type=Path, help="the .json file")
    json.add_argument("--images", type=Path, required=True, help="folder of the images, whose sizes are read")
    json.add_argument("--validate-every", type=int, metavar="N", help="mark every N-th image as validation")
    json.add_argument(
        "--pictures", metavar="F.png", help="draw 50 people with their labels; with --opinion: before and after"
    )
    own = json.add_argument_group("data of your own")
    own.add_argument(
        "--from",
        nargs=2,
        dest="tool",
        metavar=("TOOL", "FILE"),
        help="an annotation tool's file: " + ", ".join(_TOOLS) + " (labelme: or its folder)",
    )
    own.add_argument(
        "--category", metavar="NAME", help="whose parts, where several of COCO's categories or CVAT's labels have some"
    )
    own.add_argument("--parts", nargs="+", default=[], metavar="P", help="the parts to keep, in this order")
    own.add_argument(
        "--flip-pairs",
        nargs="+",
        default=[],
        type=_pair,
        metavar="A:B",
        help="left and right, where their names do not tell (left_ear and right_ear do)",
    )
    own.add_argument("--skeleton", nargs="+", default=[], type=_pair, metavar="A:B", help="parts that drawings join")
    known = json.add_argument_group("a published data set")
    known.add_argument("--set", choices=_SETS, help="which data set")
    known.add_argument("--labels", metavar="FILE", help="the data set's label file")
    known.add_argument(
        "--scale",
        choices=("limbs", "box"),
        default="limbs",
        help="where the set has no scale: by limbs, as the release, or by the box of the labels (default %(default)s)",
    )
    known.add_argument("--opinion", metavar="F.npz", help="another model's joints, to clean labels by")
    known.add_argument("--without", nargs="+", default=[], metavar="NAME", help="leave these people out: im0210 ...")


def _pair(text: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise argparse.ArgumentTypeError(f"{text!r} found, two parts as A:B expected")
    return first, second


def run(args: argparse.Namespace) -> int:
    """Do it; return 1 where a check found anything."""
    if args.action == "check":
        return _check(args)
    if args.action == "lmdb":
        from cpm_port.records.lmdb import write_lmdb
        from cpm_port.records.record import renumbered
        from cpm_port.training.sources import open_records

        records = renumbered(open_records(args.source, args.joints), args.shuffle)
        print(f"{args.out}: {write_lmdb(args.out, records)} records")
        return 0
    if args.action == "shards":
        from cpm_port.records.shards import write_shards
        from cpm_port.training.sources import json_samples

        samples = json_samples(args.source, held_out=args.held_out)
        count = write_shards(args.out, samples, args.per_shard, args.shuffle)
        print(f"{args.out}: {len(samples)} people in {count} shards")
        return 0
    if (args.set is None) == (args.tool is None) or (args.set is None) != (args.labels is None):
        raise UsageError("expected --from TOOL FILE, or --set NAME with --labels FILE")
    return _known(args) if args.tool is None else _own(args)


def _own(args: argparse.Namespace) -> int:
    """Write the labels of an annotation tool, and say what was left out."""
    from cpm_port.annotations.imported import ImportedChoices, read_imported
    from cpm_port.records.genjson import write_genjson
    from cpm_port.report.tiles import write_labels

    choices = ImportedChoices(args.category, args.parts, args.flip_pairs, args.skeleton, args.validate_every)
    tool, file = args.tool
    found = read_imported(tool, file, args.images, choices)
    if args.pictures is not None:
        print(f"picture of {write_labels(args.pictures, found.samples)} people: {args.pictures}")
    write_genjson(args.out, found.samples, args.out.parent)
    print("\n".join([f"{args.out}:", *(f"  {line}" for line in found.report())]))
    return 0


def _known(args: argparse.Namespace) -> int:
    """Write the labels of a published data set."""
    from cpm_port.annotations.cleaning import read_opinion, summarize
    from cpm_port.annotations.trained import TrainedChoices, read_trained
    from cpm_port.records.genjson import write_genjson
    from cpm_port.report.changes import write_changes
    from cpm_port.report.tiles import write_labels

    opinion = None if args.opinion is None else read_opinion(args.opinion)
    choices = TrainedChoices(args.scale, opinion, args.without, args.validate_every)
    found = read_trained(args.set, args.labels, args.images, choices)
    if args.pictures is not None:
        if opinion is None:
            write_labels(args.pictures, found.samples)
        else:
            write_changes(args.pictures, found.before, found.samples, found.changes)
        print(f"picture: {args.pictures}")
    write_genjson(args.out, found.samples, args.images)
    if opinion is not None:
        print(summarize(found.changes, len(found.before)))
    held = sum(sample.split == "validation" for sample in found.samples)
    print(f"{args.out}: {len(found.samples)} people{f', {held} of them for validation' if held else ''}")
    if found.unplaced:
        print(f"left out: {found.unplaced} people to whom the labels give no center or no scale")
    return 0


def _check(args: argparse.Namespace) -> int:
    from cpm_port.records.lmdb import LmdbRecords, check_lmdb

    findings = 0
    for line in check_lmdb(args.lmdb, args.joints):
        print(line)
        findings += 1
    print(f"{args.lmdb}: {len(LmdbRecords(args.lmdb, args.joints))} records, {findings} findings")
    return int(findings > 0)
