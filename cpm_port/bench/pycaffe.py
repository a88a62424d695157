"""The full MPI net (6 stages, 368 x 368) called as old code does, through `cpm_port.pycaffe`, beside `load_net`.

Timed: one forward pass on the same weights and input.

- `ours`: `net.blobs["data"].data[...] = x; net.forward()[output]`;
- `load_net`: `net({"data": x})[output]` without autograd.

First, both must give the same maps; and a weight edited in place through `net.params` must change them as the same edit
does in `load_net`'s net. `missed` names a cost of more than 5 % over `load_net`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port import pycaffe as caffe
from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.errors import ModelFileError
from cpm_port.graph import CaffeNet
from cpm_port.models import architecture
from cpm_port.release import BOX_SIZE

__all__ = ["configure", "run"]

LIMIT_PERCENT = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=7, help="timed turns per side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides (%(default)s)")
    parser.add_argument("--width", type=int, help="no hidden convolution has more channels (default: the full net)")
    parser.add_argument("--box-size", type=int, default=BOX_SIZE, help="side of the input (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity and an edited weight, time both sides in turn, and return medians, spread and the cost."""
    torch.set_num_threads(args.threads)
    box = (args.box_size, args.box_size)
    with tempfile.TemporaryDirectory() as folder:
        model = _peers.seeded_model(architecture("mpi", width=args.width, box=box), Path(folder))
        net = caffe.Net(model.prototxt, model.caffemodel, caffe.TEST)
    x = np.random.RandomState(0).uniform(-0.5, 0.5, (1, 4, *box)).astype(np.float32)
    parity = _check_parity(net, model.net, x)
    timed = take_turns(
        {"ours": lambda: _as_old_code(net, x), "load_net": lambda: _directly(model.net, x)}, args.repeats
    )
    cost = 100 * (timed["medians"]["ours"] / timed["medians"]["load_net"] - 1)
    return {
        "parity": parity,
        **timed,
        "missed": [f"{cost:.1f} % more than load_net, at most {LIMIT_PERCENT:g} asked"] if cost > LIMIT_PERCENT else [],
        "cost_percent": round(cost, 2),
        "threads": args.threads,
        "repeats": args.repeats,
    }


def _as_old_code(net: caffe.Net, x: NDArray[np.float32]) -> NDArray[np.float32]:
    net.blobs["data"].data[...] = x
    return net.forward()[net.outputs[-1]]


def _directly(net: CaffeNet, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        maps: NDArray[np.float32] = net({"data": x})[net.outputs[-1]].numpy()
    return maps


def _check_parity(net: caffe.Net, plain: CaffeNet, x: NDArray[np.float32]) -> str:
    """Compare both sides' maps, before and after one weight is edited in place; return what was found.

    Raises
    ------
    ModelFileError
        They differ, or the edit was not seen.
    """
    before = _as_old_code(net, x).copy()
    layer = next(iter(net.params))
    edited = net.params[layer][0].data
    kept = float(edited.flat[0])
    found = []
    for value in (kept, kept + 1.0):
        edited.flat[0] = value
        with torch.no_grad():
            plain.params[layer][0].view(-1)[0] = value
        expected, maps = _directly(plain, x), _as_old_code(net, x)
        found.append(float(np.abs(maps - expected).max() / np.abs(expected).max()))
        if found[-1] > _peers.PARITY:
            raise ModelFileError(f"pycaffe's maps are {found[-1]:.1e} of the largest off load_net's")
    if np.array_equal(maps, before):
        raise ModelFileError(f"a weight of {layer!r}, edited in place, changes nothing")
    edited.flat[0] = kept
    with torch.no_grad():
        plain.params[layer][0].view(-1)[0] = kept
    return f"from load_net, of the largest belief: {found[0]:.1e}, with a weight edited in place {found[1]:.1e}"
