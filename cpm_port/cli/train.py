"""`cpm-port train --solver S`: train a net as its solver file says, from weights or from a snapshot.

    cpm-port train --solver solver.prototxt
    cpm-port train --solver solver.prototxt --weights vgg.caffemodel --preset adamw --validate people.json
    cpm-port train --solver solver.prototxt --snapshot latest
    cpm-port train -solver solver.prototxt -weights vgg.caffemodel -gpu 0,1
    torchrun --nproc-per-node 2 -m cpm_port train --solver solver.prototxt

Progress goes to standard error; the last line, to standard output, names the last snapshot. Exit code 3 where a signal
stopped the run (after a snapshot).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cpm_port.cli._caffe import PYTHON_LAYERS, add_flag, allow_python_layers, chosen_gpus
from cpm_port.cli._models import add_stages, chosen_stages
from cpm_port.errors import UsageError

if TYPE_CHECKING:
    from cpm_port.compute.processes import Machines

__all__ = ["STOPPED", "configure", "run"]

STOPPED = 3
PATIENCE = timedelta(days=1)
"""How long processes wait for the leading one, which validates and writes snapshots alone; NCCL's own limit is 10
minutes. A process that dies is noticed by torchrun, which then ends the others."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    start = parser.add_argument_group("what to train")
    add_flag(start, "solver", type=Path, required=True, metavar="S", help="the solver's prototxt")
    add_flag(
        start, "weights", default="", metavar="A,B", help="models to start from, layers matched by name; later ones win"
    )
    start.add_argument(
        "--skip-misfits", action="store_true", help="layers of other shapes in them keep their fillers (else an error)"
    )
    add_flag(
        start,
        "snapshot",
        metavar="X",
        help="the .solverstate to go on from, or 'latest' under the solver's snapshot_prefix",
    )
    add_flag(start, "iterations", type=int, metavar="N", help="of `caffe test`: no effect here, as in Caffe")
    start.add_argument(
        "--memory",
        action="append",
        default=[],
        type=_named_file,
        metavar="LAYER=F.npz",
        help="a MemoryData layer's arrays, data (rows, channels, height, width) and label (rows,); repeatable",
    )
    start.add_argument("--python-layers", action="store_true", help=PYTHON_LAYERS)
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
    add_flag(
        speed,
        "gpu",
        default="",
        metavar="N[,N]",
        help="the GPUs' numbers, or all; with several, one process on each, and batches as many times batch_size",
    )
    speed.add_argument(
        "--processes", type=int, metavar="N", help="start N processes that share every batch, each with its own GPU"
    )
    speed.add_argument(
        "--machines",
        type=_machines,
        metavar="K/N@HOST:PORT",
        help="this is machine K, from 0, of N, which meet at a port of machine 0; --processes or --gpu on each",
    )
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
    watch.add_argument(
        "--log-format",
        choices=("plain", "caffe"),
        default="plain",
        help="caffe: lines on standard error as Caffe logs them, for parse_log and the plot scripts that read it",
    )
    for name, default in (("sigint_effect", "stop"), ("sighup_effect", "snapshot")):
        add_flag(
            watch,
            name,
            choices=("stop", "snapshot", "none"),
            default=default,
            help="what that signal does to the run (default %(default)s)",
        )
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


def _machines(text: str) -> Machines:
    from cpm_port.compute.processes import Machines

    found = re.fullmatch(r"(\d+)/(\d+)@(.+):(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]) or not 0 < int(found[4]) < 1 << 16:
        raise argparse.ArgumentTypeError(f"expected K/N@HOST:PORT with K from 0 below N, got {text!r}")
    return Machines(int(found[2]), int(found[1]), found[3], int(found[4]))


def _processes(args: argparse.Namespace) -> int:
    """Return how many processes the command line asks for, or torchrun has started."""
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if args.gpu and args.processes is not None:
        raise UsageError("--gpu and --processes: one of them expected; --gpu starts a process for each GPU")
    if args.processes is not None and args.processes < 1:
        raise UsageError(f"--processes {args.processes}: expected 1 or more")
    return len(chosen_gpus(args.gpu)) if args.gpu else args.processes or 1


def _named_file(text: str) -> tuple[str, str]:
    layer, equals, path = text.partition("=")
    if not (layer and equals and path):
        raise argparse.ArgumentTypeError(f"expected LAYER=F.npz, got {text!r}")
    return layer, path


def run(args: argparse.Namespace) -> int:
    """Train; return 0, or 3 where a signal stopped the run."""
    from cpm_port.compute.devices import joined_world
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
        sigint=args.sigint_effect,
        sighup=args.sighup_effect,
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
        log_format=args.log_format,
        memory=dict(args.memory),
        batch_times=_processes(args) if args.gpu else 1,
    )
    count = _processes(args)
    if (count > 1 or args.machines) and "WORLD_SIZE" not in os.environ:
        from cpm_port.compute.processes import Machines, run_processes

        solver_device(args.solver, options.changes)  # a file that is none is told once, and not by every process
        gpus, machines = chosen_gpus(args.gpu), args.machines or Machines()
        if gpus:
            print(
                f"GPUs {args.gpu}: batches are {count * machines.count} times batch_size, as in Caffe "
                f"(--processes {count} shares one)",
                file=sys.stderr,
            )
        again = [sys.executable, "-m", "cpm_port", *args.words]
        return run_processes(again, count, gpus=gpus, machines=machines)
    device = args.device
    if args.gpu:
        device = "cuda" if count > 1 else f"cuda:{chosen_gpus(args.gpu)[0]}"
    if args.iterations is not None:
        print(
            "--iterations has no effect on training, as in Caffe; "
            f"--set 'max_iter: {args.iterations}' says how long it runs",
            file=sys.stderr,
        )
    if args.python_layers:
        allow_python_layers()
    if args.plot is not None:
        require_picture_suffix(args.plot)
    with (
        joined_world(device or solver_device(args.solver, options.changes), PATIENCE) as world,
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
