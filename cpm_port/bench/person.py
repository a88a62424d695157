"""A person at seven scales, image to joints, with the full MPI net, beside plain PyTorch and other importers.

Timed, all on the same number of threads, one seeded model, an image drawn at random (640 x 360):

- `ours`: `predict_person` with the accelerated net, from the decoded image to the joints;
- `plain PyTorch, the forwards`: only the seven forward passes, one scale at a time, as ports do;
- `OpenCV 4 importer, the forwards`: the same by `readNetFromCaffe`, in an interpreter of its own; `Caffe` and
  `onnxruntime` likewise, where they are here;
- `the release's steps`: seven boxes one by one, seven forwards of plain PyTorch, every map resized back and summed in
  the release's order with NumPy (its resizes are our compiled ones: a NumPy resize would take longer).

First, all must find the same joints, and ours the same sums of beliefs to 1e-5.

`before_and_after_percent` is what of our own time goes into pyramid, merging and peaks, at 640 x 360 and 1920 x 1080,
for people who stand elsewhere each time, so that nothing is reused from the one before.
`peak_memory` is measured in processes of their own, which read the model's files and predict one person, once for every
memory bound; only Linux gives it. Of the full net the bench promises limits for all of these (`missed`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.bench.net import add_net_arguments
from cpm_port.engine import MEMORY_BOUND, accelerate
from cpm_port.errors import ModelFileError
from cpm_port.imaging.boxing import BoxGeometry, box_geometry, crop_to_box, unbox
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid, lsp_search
from cpm_port.imaging.resize import imresize
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import gather, net_input, predict_person, run_net
from cpm_port.models import architecture
from cpm_port.release import BOX_SIZE, center_sigma

__all__ = ["configure", "drawn_image", "run"]

TARGETS = {"plain PyTorch, the forwards": 2.8, "OpenCV 4 importer, the forwards": 8.0}
_SIZES = {"640 x 360": (360, 640), "1920 x 1080": (1080, 1920)}
_SHARES = {"640 x 360": 3.0, "1920 x 1080": 8.0}  # percent of a person's time, at most
_PEAK = 3 << 10  # MiB, at most, with the bound at its default

_ALONE = """
import json, sys
import torch
import cpm_port
from cpm_port.bench.person import drawn_image
from cpm_port.engine import accelerate
from cpm_port.imaging.pyramid import lsp_search
from cpm_port.inference.predict import predict_person
prototxt, model, threads, bound = sys.argv[1:]
torch.set_num_threads(int(threads))
net = accelerate(cpm_port.load_net(prototxt, model), memory_bound=int(bound) << 20)
image = drawn_image(360, 640)
search = lsp_search(image.shape[:2], net.spec.inputs["data"][2])
predict_person(net, image, search.center_xy, search.base_scale)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) >> 10
print(json.dumps({"peak MiB": peak, "transformed weights MiB": net.transformed_bytes >> 20}))
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    add_net_arguments(parser)
    parser.set_defaults(repeats=3)  # a turn of all sides takes half a minute
    parser.add_argument(
        "--bounds", type=int, nargs="*", default=[1024, 512, 128], metavar="MIB",
        help="lower memory bounds whose peak to measure, beside --memory-bound (default: 1024 512 128)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time every side in turn, and return medians, spread, ratios and the rest."""
    torch.set_num_threads(args.threads)
    design = architecture("mpi", stages=args.stages, width=args.width, box=(args.box_size, args.box_size))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, torch.inference_mode():
        model = _peers.seeded_model(design, Path(folder))
        fast = accelerate(model.net, memory_bound=args.memory_bound << 20, plan=args.plan)
        image = drawn_image(*_SIZES["640 x 360"])
        search = lsp_search((image.shape[0], image.shape[1]), args.box_size)
        plain, data = _peers.plain_net(model), _boxes(image, search, fast)
        sides: dict[str, Callable[[], Any]] = {
            "ours": lambda: predict_person(fast, image, search.center_xy, search.base_scale).joints_image,
            "plain PyTorch, the forwards": lambda: _one_by_one(plain, data),
            "the release's steps": lambda: _release(image, search, plain, args.box_size)[0],
        }
        others, absent = _peers.other_nets(model, Path(folder), args, stack)
        sides |= {f"{name}, the forwards": partial(_one_by_one, forward, data) for name, forward in others.items()}
        parity = _parity(fast, image, search, plain, args.box_size, sides)
        timed = take_turns(sides, args.repeats)
        shares = {name: _before_and_after(fast, drawn_image(*size), args) for name, size in _SIZES.items()}
        bounds = (args.memory_bound, *args.bounds) if sys.platform == "linux" else ()
        peaks = {str(bound): _alone(model, args.threads, bound) for bound in bounds}
    medians = timed["medians"]
    official = (args.width, args.stages, args.box_size) == (None, None, BOX_SIZE)
    return {
        "parity": parity,
        **timed,
        "ratios": {side: medians[side] / medians["ours"] for side in medians if side != "ours"},
        "targets": TARGETS,
        "missed": _missed(shares, peaks) if official else [],
        "absent": absent,
        "scales": len(search.multipliers),
        "threads": args.threads,
        "repeats": args.repeats,
        "before_and_after_percent": shares,
        "peak_memory_by_bound_mib": peaks,
    }


def _missed(shares: Mapping[str, float], peaks: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Say which promises about the full net were not kept."""
    found = [
        f"before and after the net, {size}: {share} % of the time, expected at most {_SHARES[size]}"
        for size, share in shares.items()
        if share > _SHARES[size]
    ]
    for bound, peak in peaks.items():
        if int(bound) <= MEMORY_BOUND >> 20 and peak["peak MiB"] > _PEAK:
            found.append(f"peak memory with a bound of {bound} MiB: {peak['peak MiB']} MiB, expected at most {_PEAK}")
        if peak["transformed weights MiB"] > int(bound):
            found.append(f"bound {bound} MiB: transformed weights take {peak['transformed weights MiB']} MiB")
    return found


def drawn_image(height: int, width: int, seed: int = 7) -> NDArray[np.uint8]:
    """Draw blurred noise, shape (height, width, 3), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return imresize(coarse, (height, width))


def _boxes(image: NDArray[np.uint8], search: ScaleSearch, net: Any) -> Tensor:
    interface = read_interface(net)
    pyramid = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
    return net_input(pyramid.crops, interface.channels, interface.center_sigma)


def _one_by_one(forward: _peers.Forward, data: Tensor) -> Tensor:
    return torch.cat([forward(data[index : index + 1]) for index in range(len(data))])


def _release(
    image: NDArray[np.uint8], search: ScaleSearch, forward: _peers.Forward, box_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the joints (P, 2) and the sums of beliefs (H, W, P + 1), by the release's steps in its order."""
    height, width = image.shape[:2]
    total: NDArray[np.float64] | None = None
    for scale in search.scales:
        geometry = box_geometry((height, width), search.center_xy, scale, box_size)
        crop = crop_to_box(image, geometry)
        beliefs = forward(net_input(crop[None], 4, center_sigma(box_size)))[0].numpy()
        maps = _back(beliefs, geometry)
        total = maps if total is None else total + maps
    assert total is not None
    columns_first = total[..., :-1].transpose(1, 0, 2).reshape(height * width, -1)
    x, y = np.divmod(columns_first.argmax(axis=0), height)
    return np.stack([x, y], axis=1).astype(np.float64), total


def _back(beliefs: NDArray[np.float32], geometry: BoxGeometry) -> NDArray[np.float64]:
    """Resize one scale's maps to the box, undo padding and cropping, and resize to the image."""
    maps = np.ascontiguousarray(beliefs.transpose(1, 2, 0), dtype=np.float64)
    box = imresize(maps, (geometry.box_size, geometry.box_size))
    scaled = unbox(box, geometry, 0.0)
    scaled[..., -1] = unbox(box[..., -1], geometry, 1.0)
    back: NDArray[np.float64] = imresize(scaled, geometry.image_size)
    return back


def _parity(
    fast: Any,
    image: NDArray[np.uint8],
    search: ScaleSearch,
    plain: _peers.Forward,
    box_size: int,
    sides: dict[str, Callable[[], Any]],
) -> str:
    """Hold joints and sums of beliefs to the release's steps, and other peers' maps to plain PyTorch's."""
    joints, total = _release(image, search, plain, box_size)
    ours = predict_person(fast, image, search.center_xy, search.base_scale, keep_maps=True)
    for found in (ours.joints_image, sides["ours"]()):
        if not np.array_equal(found, joints):
            raise ModelFileError(f"our joints differ from those of the release's steps: {found} and {joints}")
    assert ours.score_maps is not None
    sums = _peers.check_parity(torch.from_numpy(total), torch.from_numpy(ours.score_maps), "ours", _peers.PARITY)
    text = f"the same {len(joints)} joints; sums of beliefs {sums:.1e} of the largest from the release's steps"
    maps = sides["plain PyTorch, the forwards"]()
    for name, side in sides.items():
        if name not in ("ours", "plain PyTorch, the forwards", "the release's steps"):
            text += f"; maps of {name.removesuffix(', the forwards')} {_peers.check_parity(maps, side(), name):.1e} off"
    return text


def _before_and_after(fast: Any, image: NDArray[np.uint8], args: argparse.Namespace) -> float:
    """Return the median percentage of a person's time that is not the net's."""
    interface = read_interface(fast)
    search = lsp_search((image.shape[0], image.shape[1]), interface.box_size)
    shares = []
    for turn in range(args.repeats + 1):
        search = ScaleSearch((search.center_xy[0] + turn, search.center_xy[1] - turn), search.base_scale)
        start = time.perf_counter()
        pyramid = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
        made = time.perf_counter()
        beliefs = run_net(fast, interface, pyramid)
        passed = time.perf_counter()
        gather(beliefs, pyramid.geometries, interface, search)
        done = time.perf_counter()
        shares.append(100 * (1 - (passed - made) / (done - start)))
    return round(statistics.median(shares[1:]), 2)


def _alone(model: _peers.SeededModel, threads: int, bound: int) -> dict[str, Any]:
    command = [sys.executable, "-c", _ALONE, str(model.prototxt), str(model.caffemodel), str(threads), str(bound)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak: dict[str, Any] = json.loads(done.stdout)
    return peak
