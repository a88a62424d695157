"""`cpm-port records check|lmdb|json`: training records in the release's layouts, checked and written.

    cpm-port records check LMDB [--joints 16]
    cpm-port records lmdb OUT --source train.json [--shuffle SEED]
    cpm-port records json OUT.json --set lsp --labels joints.mat --images DIR [--opinion F.npz]

A source is what `cpmdata_param { source: "..." }` may name: see `cpm_port.training.sources`.
"""

from __future__ import annotations

import argparse

__all__ = ["configure", "run"]

_SETS = ("lsp", "lspet", "mpii", "flic")


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
    json = actions.add_parser("json", help="write a data set's annotations in the layout of genJSON.m")
    json.add_argument("out", help="the .json file")
    json.add_argument("--set", required=True, choices=_SETS, help="which data set")
    json.add_argument("--labels", required=True, help="the data set's label file")
    json.add_argument("--images", required=True, help="folder of its images, whose sizes are read")
    json.add_argument(
        "--scale",
        choices=("limbs", "box"),
        default="limbs",
        help="where the set has no scale: by limbs, as the release, or by the box of the labels (default %(default)s)",
    )
    json.add_argument("--opinion", metavar="F.npz", help="another model's joints, to clean labels by")
    json.add_argument("--pictures", metavar="F.png", help="draw 50 people whose labels were cleaned, before and after")
    json.add_argument("--without", nargs="+", default=[], metavar="NAME", help="leave these people out: im0210 ...")
    json.add_argument("--validate-every", type=int, metavar="N", help="mark every N-th image as validation")


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
    from cpm_port.annotations.cleaning import read_opinion, summarize
    from cpm_port.annotations.trained import TrainedChoices, read_trained
    from cpm_port.records.genjson import write_genjson
    from cpm_port.report.changes import write_changes

    opinion = None if args.opinion is None else read_opinion(args.opinion)
    choices = TrainedChoices(args.scale, opinion, args.without, args.validate_every)
    found = read_trained(args.set, args.labels, args.images, choices)
    if args.pictures is not None:
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
