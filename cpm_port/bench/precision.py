"""What a coarser arithmetic does to belief maps and joints, and what it saves: float32, tf32 and bf16, CPU or GPU.

For every precision that the device has, on the same people and the same scales:

- `belief_error`: the largest difference of a belief from the plain net's in float32, over the largest belief;
- `largest_joint_shift_px`, `joints_moved`: how far joints went from the plain float32 ones, image px;
- `pck_percent`, `pck_difference`: PCK at 0.2 of the torso (left shoulder to right hip), and what it lost or won in
  percentage points against plain float32. Against the drawn people's joints; for images (`--images`), whose joints
  nobody says, against plain float32's own.

- `persons_per_second`, of the timed person;
- `matrix_rate_percent`: the rate at which one pass over all scales gets through the operations of the direct sums, in
  percent of the measured rate of matrix products, in bfloat16 on a GPU, else in float32.

Timed: `predict_person`, image to joints, the first person, in every precision; and `plain port, one scale at a time`,
the same with the plain net (eager, float32) and a pass for every scale. First, float32 must give the plain net's
beliefs to 1e-5. On a GPU two things are promised of the full net: half of the matrix rate in bf16, and three times the
plain port's speed in a precision that moves no joint.

The model is `--net` and `--weights`, or one of the zoo (`--model`), or else a seeded one: its joints lie where noise
has its maxima, so they move far more easily than those of a trained net, and its PCK means nothing.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port import load_net
from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.data.drawn import DrawnPeople
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import PRECISIONS, arithmetic
from cpm_port.errors import ModelFileError, UsageError
from cpm_port.evaluation.pck import pck
from cpm_port.imaging.pyramid import ScaleSearch, build_pyramid, lsp_search, mpii_search
from cpm_port.imaging.reading import read_image
from cpm_port.inference.interface import BeliefNet, read_interface
from cpm_port.inference.predict import device_of, gather, net_input, predict_person, run_net
from cpm_port.models import architecture
from cpm_port.parts import CPM14, PartOrder
from cpm_port.zoo import resolve

__all__ = ["configure", "run"]

PARITY = 1e-5  # of the largest belief: what float32 must keep
GPU_TIMES, GPU_PERCENT = 3.0, 50.0  # times faster than the plain port; of the matrix rate in bf16
THRESHOLD = 0.2
_PLAIN = "plain port, one scale at a time"
_TORSO = ("left_shoulder", "right_hip")


@dataclass(frozen=True, eq=False)
class _Seen:
    """A person to find; `truth` is (P, 2), image px, or None."""

    image: NDArray[np.uint8]
    search: ScaleSearch
    truth: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class _Found:
    """What a net made of the people."""

    beliefs: list[NDArray[np.float32]]
    joints: NDArray[np.float64]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--net", type=Path, metavar="PROTOTXT", help="a deploy net, with --weights")
    parser.add_argument("--weights", type=Path, metavar="MODEL")
    parser.add_argument("--model", metavar="NAME", help="one of `cpm-port models`")
    parser.add_argument("--width", type=int, help="seeded net: no hidden convolution has more channels")
    parser.add_argument("--box-size", type=int, default=368, help="seeded net: side of the input (%(default)s)")
    parser.add_argument("--images", type=Path, nargs="+", metavar="F", help="images, looked at by LSP's rule")
    parser.add_argument("--people", type=int, default=4, help="people to draw, without --images (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="timed turns per precision (%(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, measure every precision, and return errors, shifts, scores and medians."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        net, sigma, model = _load(args, Path(folder))
    interface = read_interface(net, sigma=sigma)
    people = _people(args, interface.box_size)
    names = [name for name in PRECISIONS if name != "tf32" or args.device.startswith("cuda")]
    with arithmetic("float32", torch.device(args.device)):
        plain = _find(net, people, sigma)
    nets = {name: fast_net(copy.deepcopy(net), name) for name in names}  # each lays its weights out its own way
    found = {name: _find(fast, people, sigma) for name, fast in nets.items()}
    measured: dict[str, dict[str, Any]] = {
        name: _compare(found[name], plain, people, interface.part_order) for name in names
    }
    error, moved = measured["float32"]["belief_error"], measured["float32"]["joints_moved"]
    if not error <= PARITY:
        raise ModelFileError(f"float32 differs from the plain net by {error:.1e} of the largest; at most {PARITY}")
    sides: dict[str, Callable[[], Any]] = {}
    for name, fast in nets.items():
        sides[name] = partial(_predict, fast, people[0], sigma)
    sides[_PLAIN] = partial(_plain_port, net, people[0], sigma)
    timed = take_turns(sides, args.repeats)
    medians = timed["medians"]
    times = {name: medians[_PLAIN] / medians[name] for name in names}
    device = torch.device(args.device)
    rate = _peers.matrix_rate(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    for name, fast in nets.items():
        measured[name]["persons_per_second"] = 1 / medians[name]
        measured[name]["times_faster_than_plain_port"] = times[name]
        measured[name]["matrix_rate_percent"] = 100 * _rate(fast, people[0], sigma, args.repeats) / rate
    return {
        "parity": f"float32 against the plain net: {error:.1e} of the largest belief, {moved} joints moved",
        **timed,
        "missed": _missed(measured) if device.type == "cuda" else [],
        "times_faster_than_float32": {name: medians["float32"] / medians[name] for name in names[1:]},
        "model": model,
        "people": f"{len(people)} {'images' if args.images else 'drawn'}",
        "scales": len(people[0].search.multipliers),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "matrix_rate": rate,
        "threads": args.threads,
        "repeats": args.repeats,
        "precisions": measured,
    }


def _load(args: argparse.Namespace, folder: Path) -> tuple[Any, float | None, str]:
    """Return the net on its device, its center map's sigma where it is known, and what to call it."""
    if args.model is None and args.net is None and args.weights is None:
        box = (args.box_size, args.box_size)
        design = architecture("mpi", width=args.width, box=box)
        return _peers.seeded_model(design, folder).net.to(args.device), None, "mpi, seeded weights"
    choice = resolve(args.model, args.net, args.weights)
    net = load_net(choice.net, choice.weights, device=args.device)
    return net, None if choice.entry is None else choice.entry.center_sigma, choice.weights.name


def _people(args: argparse.Namespace, box_size: int) -> list[_Seen]:
    if args.images:
        images = [read_image(path) for path in args.images]
        return [_Seen(image, lsp_search((image.shape[0], image.shape[1]), box_size)) for image in images]
    if args.people < 1:
        raise UsageError(f"--people {args.people}: at least 1 asked")
    people = []
    for sample, image in (DrawnPeople(args.people, seed=368)[index] for index in range(args.people)):
        person = sample.person
        assert person.center is not None
        assert person.scale is not None
        people.append(_Seen(image, mpii_search(person.center, person.scale, box_size), person.joints))
    return people


def _find(net: BeliefNet, people: Sequence[_Seen], sigma: float | None) -> _Found:
    interface = read_interface(net, sigma=sigma)
    beliefs, joints = [], []
    for person in people:
        pyramid = build_pyramid(person.image, person.search.center_xy, person.search.scales, interface.box_size)
        maps = run_net(net, interface, pyramid)
        joints.append(gather(maps, pyramid.geometries, interface, person.search).joints_image)
        beliefs.append(maps.final.cpu().numpy())
    return _Found(beliefs, np.stack(joints))


def _compare(found: _Found, plain: _Found, people: Sequence[_Seen], order: PartOrder) -> dict[str, Any]:
    error = max(
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(found.beliefs, plain.beliefs, strict=True)
    )
    shifts = np.linalg.norm(found.joints - plain.joints, axis=2)
    result: dict[str, Any] = {
        "belief_error": error,
        "largest_joint_shift_px": float(shifts.max()),
        "joints_moved": int((shifts > 0).sum()),
        "joints": int(shifts.size),
    }
    if order == CPM14:
        known = [person.truth for person in people if person.truth is not None]
        truth = np.stack(known) if known else plain.joints
        first, last = (order.index(part) for part in _TORSO)
        torso = np.maximum(np.linalg.norm(truth[:, first] - truth[:, last], axis=1), 1.0)
        score, before = (_percent(joints, truth, torso) for joints in (found.joints, plain.joints))
        result |= {"pck_percent": score, "pck_difference": score - before}
    return result


def _percent(joints: NDArray[np.float64], truth: NDArray[np.float64], torso: NDArray[np.float64]) -> float:
    hits, counts = pck(joints, truth, torso, np.array([THRESHOLD]))
    return 100.0 * int(hits.sum()) / int(counts.sum())


def _missed(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say which of the promises about GPUs were not kept."""
    percent = measured["bf16"]["matrix_rate_percent"]
    missed = (
        [f"bf16: {percent:.0f} % of the matrix rate, at least {GPU_PERCENT:.0f} asked"] if percent < GPU_PERCENT else []
    )
    exact = {name: found for name, found in measured.items() if not found["joints_moved"]}
    best = max((found["times_faster_than_plain_port"] for found in exact.values()), default=0.0)
    if best < GPU_TIMES:
        missed.append(f"without moved joints {best:.2g} times faster than the plain port, at least {GPU_TIMES} asked")
    return missed


def _rate(net: Any, person: _Seen, sigma: float | None, repeats: int) -> float:
    """Return operations of the direct sums a second, in one pass over a person's scales."""
    interface, device = read_interface(net, sigma=sigma), device_of(net)
    pyramid = build_pyramid(person.image, person.search.center_xy, person.search.scales, interface.box_size)
    data = net_input(pyramid.crops, interface.channels, interface.center_sigma, device)

    def one_pass() -> None:
        with torch.inference_mode():
            net({interface.input: data})
        _peers.wait_for(device)

    seconds: float = take_turns({"pass": one_pass}, repeats)["medians"]["pass"]
    return len(data) * _peers.net_operations(net.spec) / seconds


def _plain_port(net: Any, person: _Seen, sigma: float | None) -> NDArray[np.float64]:
    with arithmetic("float32", device_of(net)):
        return _predict(net, person, sigma, max_batch=1)


def _predict(net: BeliefNet, person: _Seen, sigma: float | None, max_batch: int | None = None) -> NDArray[np.float64]:
    search = person.search
    return predict_person(
        net, person.image, search.center_xy, search.base_scale, search.multipliers, sigma=sigma, max_batch=max_batch
    ).joints_image
