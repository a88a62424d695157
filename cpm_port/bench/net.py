"""One pass of the full MPI net (6 stages, 368 x 368), beside plain PyTorch, OpenCV 4, onnxruntime and real Caffe.

Timed, from an input tensor to the last belief maps, all on the same number of threads, one seeded model:

- `ours`: the accelerated net (`cpm_port.engine`);
- `plain PyTorch`: the readable twin, eager, NCHW, as every port writes it;
- `plain PyTorch, channels-last`: the same, weights and input channels-last: what a port gets for one line more;
- `OpenCV 4 importer`: `readNetFromCaffe` in an interpreter of its own, the input's way through a pipe included (some
  ms of some thousand);
- `Caffe`: pycaffe in an interpreter of its own, where `--caffe` names one;
- `onnxruntime`: the net as our converter exports it; its threads do not spin between passes.

First, all must give the same maps. `direct_rate_percent` is the rate at which a side gets through the operations of
the direct sums, in percent of the measured matrix rate; ours may exceed 100 because it needs fewer operations.
`reading` is the median of three processes of its own: importing torch, then from the two files (125 MB) to a ready net.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.engine import MEMORY_BOUND, accelerate
from cpm_port.models import architecture
from cpm_port.release import BOX_SIZE

__all__ = ["add_net_arguments", "configure", "run"]

TARGETS = {"plain PyTorch": 2.0}
READING_LIMIT = 0.5  # seconds from the files to a ready net
READING_RUNS = 3

_READING = """
import json, sys, time
start = time.perf_counter()
import torch
imported = time.perf_counter()
import cpm_port
net = cpm_port.load_net(*sys.argv[1:])
print(json.dumps({"import torch": imported - start, "from files to a ready net": time.perf_counter() - imported}))
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    add_net_arguments(parser)
    parser.add_argument("--batch", type=int, default=1, help="images in one pass (default: %(default)s)")


def add_net_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every bench that runs the seeded net beside peers."""
    parser.add_argument("--repeats", type=int, default=5, help="timed turns per side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every side (%(default)s)")
    parser.add_argument("--memory-bound", type=int, default=MEMORY_BOUND >> 20, metavar="MIB", help="of the engine")
    parser.add_argument("--plan", choices=("model", "measure"), default="model", help="how the engine decides")
    parser.add_argument("--width", type=int, help="no hidden convolution has more channels (default: the full net)")
    parser.add_argument("--stages", type=int, help="default: 6")
    parser.add_argument("--box-size", type=int, default=BOX_SIZE, help="side of the input (default: %(default)s)")
    _peers.add_peer_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time every side in turn, and return medians, spread, ratios and the rest."""
    torch.set_num_threads(args.threads)
    box = (args.box_size, args.box_size)
    design = architecture("mpi", stages=args.stages, width=args.width, box=box)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, torch.inference_mode():
        model = _peers.seeded_model(design, Path(folder))
        reading = _reading(model)  # before any peer's threads wait for work on the same cores
        fast = accelerate(model.net, memory_bound=args.memory_bound << 20, plan=args.plan)
        plain, (output,) = _peers.plain_net(model), fast.outputs
        x = torch.rand(args.batch, 4, *box, generator=torch.Generator().manual_seed(0)) - 0.5
        sides: dict[str, tuple[_peers.Forward, Tensor]] = {
            "ours": (lambda data: fast({"data": data})[output], x),
            "plain PyTorch": (plain, x),
            "plain PyTorch, channels-last": (
                _peers.plain_net(model, torch.channels_last),
                x.contiguous(memory_format=torch.channels_last),
            ),
        }
        others, absent = _peers.other_nets(model, Path(folder), args, stack)
        sides |= {name: (forward, x) for name, forward in others.items()}
        parity, rate = _parity(sides), _peers.matrix_rate()
        timed = take_turns({name: lambda f=forward, d=data: f(d) for name, (forward, data) in sides.items()},  # type: ignore[misc]
                           args.repeats)  # fmt: skip
    medians = timed["medians"]
    operations, rate = args.batch * _peers.net_operations(model.net.spec), max(rate, _peers.matrix_rate())
    return {
        "parity": parity,
        **timed,
        "ratios": {side: medians[side] / medians["ours"] for side in medians if side != "ours"},
        "targets": TARGETS,
        "missed": _missed(reading),
        "absent": absent,
        "batch": args.batch,
        "threads": args.threads,
        "repeats": args.repeats,
        "operations_of_direct_sums": operations,
        "matrix_rate": rate,
        "direct_rate_percent": {side: round(100 * operations / medians[side] / rate, 1) for side in medians},
        "transformed_weights_mib": round(fast.transformed_bytes / 2**20, 1),
        "tile_sizes": fast.ways,
        "reading": reading,
    }


def _parity(sides: dict[str, tuple[_peers.Forward, Tensor]]) -> str:
    """Hold every side's maps to plain PyTorch's; return how closely they agree."""
    forward, data = sides["plain PyTorch"]
    reference = forward(data)
    found = {}
    for side, (forward, data) in sides.items():
        if side != "plain PyTorch":
            limit = _peers.PARITY if side == "ours" else _peers.PEER_PARITY
            found[side] = _peers.check_parity(reference, forward(data), side, limit)
    return "from plain PyTorch, of the largest belief: " + ", ".join(f"{s} {e:.1e}" for s, e in found.items())


def _missed(reading: Mapping[str, float]) -> list[str]:
    seconds = reading["from files to a ready net"]
    slow = f"reading: {seconds:.2f} s from the files to a ready net, expected at most {READING_LIMIT}"
    return [slow] if seconds > READING_LIMIT else []


def _reading(model: _peers.SeededModel) -> dict[str, float]:
    """Return the median seconds of importing torch and of reading the model, each time in a fresh interpreter."""
    command = [sys.executable, "-c", _READING, str(model.prototxt), str(model.caffemodel)]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(READING_RUNS)
    ]
    return {step: statistics.median(run[step] for run in runs) for step in runs[0]}
