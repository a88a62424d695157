"""`cpm-port train --solver S`: train a net as its solver file says, from weights or from a snapshot.

    cpm-port train --solver solver.prototxt
    cpm-port train --solver solver.prototxt --weights vgg.caffemodel --preset adamw --validate people.json
    cpm-port train --solver solver.prototxt --snapshot latest
    torchrun --nproc-per-node 2 -m cpm_port train --solver solver.prototxt

Progress goes to standard error; the last line, to standard output, names the last snapshot. Exit code 3 where a signal
stopped the run (after a snapshot).
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from cpm_port.cli._models import add_stages, chosen_stages

__all__ = ["STOPPED", "configure", "run"]

STOPPED = 3
PATIENCE = timedelta(days=1)
"""How long processes wait for the leading one, which validates and writes snapshots alone; NCCL's own limit is 10
minutes. A process that dies is noticed by torchrun, which then ends the others."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    start = parser.add_argument_group("what to train")
    start.add_argument("--solver", type=Path, required=True, metavar="S", help="the solver's prototxt")
    start.add_argument(
        "--weights", default="", metavar="A,B", help="models to start from, layers matched by name; later ones win"
    )
    start.add_argument(
        "--skip-misfits", action="store_true", help="layers of other shapes in them keep their fillers (else an error)"
    )
    start.add_argument(
        "--snapshot", metavar="X", help="the .solverstate to go on from, or 'latest' under the solver's snapshot_prefix"
    )
    start.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="'FIELD: VALUE'",
        dest="changes",
        help="override a field of the solver file, as prototxt text: --set 'max_iter: 2000' (repeatable)",
    )
    add_stages(start)
    start.add_argument("--seed", type=int, help="of fillers, dropout and augmentation (default random_seed, or 0)")
    start.add_argument(
        "--srand", type=int, metavar="S", help="draw the augmentation as Caffe's fork does after srand(S)"
    )
    rule = parser.add_argument_group("beyond Caffe")
    rule.add_argument(
        "--preset", metavar="NAME", help="adamw: AdamW and a cosine instead of the solver's type and lr_policy"
    )
    rule.add_argument("--lr", type=float, help="instead of the preset's rate, or of base_lr")
    rule.add_argument("--mask", action="store_true", help="no loss for joints without a label (Caffe: an empty map)")
    rule.add_argument("--ema", type=float, metavar="DECAY", help="keep a moving average of the weights (0.999)")
    rule.add_argument(
        "--boxes",
        nargs="+",
        default=[],
        type=_box,
        metavar="BOX:ITERATIONS",
        help="smaller boxes first: 128:4000 192:8000, then the net's own",
    )
    for name, meaning in (
        ("color", "vary contrast, saturation, brightness and gains by up to this share"),
        ("grey", "probability that an image turns grey"),
        ("full-turns", "probability of a rotation from the whole circle"),
        ("cutout", "probability that a grey square hides a part"),
    ):
        rule.add_argument(f"--{name}", type=float, default=0.0, metavar="P", help=f"{meaning} (default 0)")
    speed = parser.add_argument_group("how to compute")
    speed.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1 (default: the solver's mode, if there is a GPU)"
    )
    speed.add_argument(
        "--amp",
        choices=("bf16", "tf32"),
        help="bfloat16 arithmetic (on a CPU far slower, unless it has AVX512-BF16 or AMX) or, on a GPU, TF32; weights "
        "stay float32",
    )
    speed.add_argument(
        "--engine",
        action=argparse.BooleanOptionalAction,
        help="run large convolutions in the frequency domain, on a CPU in float32 (default: with a preset; results "
        "agree with Caffe's to rounding, not bit by bit)",
    )
    speed.add_argument("--compile", action="store_true", help="compile the net with torch.compile")
    speed.add_argument("--channels-last", action="store_true", help="lay images out as GPUs like them")
    speed.add_argument("--recompute", action="store_true", help="gradient checkpointing: less memory, a third slower")
    speed.add_argument(
        "--workers", type=int, metavar="N", help="threads that make batches (default 1; for a GPU: all cores but one)"
    )
    speed.add_argument("--cache", action="store_true", help="keep images that were read, or people drawn, in memory")
    watch = parser.add_argument_group("watching")
    watch.add_argument("--validate", metavar="SOURCE", help="held-out people, named like a data layer's source")
    watch.add_argument(
        "--validate-interval", type=int, default=500, metavar="N", help="iterations; 0: at the end (default 500)"
    )
    watch.add_argument("--validate-limit", type=int, metavar="N", help="that many of the held-out people (default all)")
    watch.add_argument("--metrics", type=Path, metavar="F", help="default: <snapshot_prefix>.metrics.jsonl")
    watch.add_argument("--tensorboard", type=Path, metavar="DIR", help="TensorBoard events (needs the extra)")
    watch.add_argument("--plot", type=Path, metavar="F", help="draw losses and PCK over iterations at the end")


def _box(text: str) -> tuple[int, int]:
    box, _, iterations = text.partition(":")
    if not (box.isdecimal() and iterations.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected BOX:ITERATIONS, two whole numbers, got {text!r}")
    return int(box), int(iterations)


def run(args: argparse.Namespace) -> int:
    """Train; return 0, or 3 where a signal stopped the run."""
    from cpm_port.compute.devices import joined_world
    from cpm_port.errors import UsageError
    from cpm_port.training.curves import plot_run, require_picture_suffix
    from cpm_port.training.extras import Extras
    from cpm_port.training.progress import read_metrics
    from cpm_port.training.run import RunOptions, open_run, solver_device

    options = RunOptions(
        solver=args.solver,
        weights=tuple(name for name in args.weights.split(",") if name),
        skip_misfits=args.skip_misfits,
        snapshot=args.snapshot,
        changes=" ".join(args.changes),
        level=args.level,
        stages=chosen_stages(args),
        preset=args.preset,
        base_lr=args.lr,
        bfloat16=args.amp == "bf16",
        tf32=args.amp == "tf32",
        compiled=args.compile,
        channels_last=args.channels_last,
        recompute=args.recompute,
        masked=args.mask,
        engine=args.engine,
        extras=Extras(args.color, args.grey, args.full_turns, args.cutout),
        boxes=args.boxes,
        ema=args.ema,
        seed=args.seed,
        srand=args.srand,
        workers=args.workers,
        cached=args.cache,
        validate=args.validate,
        validate_interval=args.validate_interval,
        validate_limit=args.validate_limit,
        metrics=args.metrics,
        tensorboard=args.tensorboard,
    )
    if args.plot is not None:
        require_picture_suffix(args.plot)
    with (
        joined_world(args.device or solver_device(args.solver, options.changes), PATIENCE) as world,
        open_run(options, world, console=sys.stderr) as trainer,
    ):
        if args.plot is not None and not trainer.solver.display:
            raise UsageError(f"--plot: {args.solver} has display 0, so no loss is recorded to draw")
        finished = trainer.solve()
        if not world.leads:
            return 0
        if args.plot is not None and trainer.progress.metrics is not None:
            plot_run(read_metrics(trainer.progress.metrics), args.plot, title=str(args.solver))
        print(f"{'done' if finished else 'stopped'} at iteration {trainer.iteration}: {trainer.last_snapshot}")
        return 0 if finished else STOPPED
