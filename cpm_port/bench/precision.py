"""What a coarser arithmetic does to belief maps and joints, and what it saves: float32, tf32 and bf16, CPU or GPU.

For every precision that the device has, on the same people and the same scales:

- `belief_error`: the largest difference of a belief from the plain net's in float32, over the largest belief;
- `largest_joint_shift_px`, `joints_moved`, `joints_moved_far` (more than 3 px): how far joints went from the plain
  float32 ones, image px;
- `pck_percent`, `pck_difference`: PCK at 0.2 of the torso (left shoulder to right hip), and what it lost or won in
  percentage points against plain float32. Against the drawn people's joints; for images (`--images`), whose joints
  are not known, against plain float32's own; for a data set (`--data`), under the protocol that `--protocol` names, as
  `cpm-port evaluate` counts, and then also `joints_found` of the `joints_counted`, and plain float32's;
- `persons_per_second`, of the timed person;
- `matrix_rate_percent`: the rate at which one pass over all scales gets through the operations of the direct sums, in
  percent of the measured rate of matrix products, in bfloat16 on a GPU, else in float32.

Timed: `predict_person`, image to joints, the first person, in every precision; and `plain port, one scale at a time`,
the same with the plain net (eager, float32) and a pass for every scale. Float32 must give the plain net's beliefs to
1e-5: where it does not, `missed` says so beside the rest. One person after another is looked at by all nets, so that
memory does not grow with their number.

On a GPU two things are asked of the full net in bf16: half of the matrix rate, and twice the plain port's speed. On
paper, with the plain port's convolutions at full rate, float32 can gain 1.1 times and bf16 2.4 times.

The model is `--net` and `--weights`, or one of the zoo (`--model`), or else a seeded one: its joints lie where noise
has its maxima, so they move far more easily than those of a trained net, and its PCK means nothing.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpm_port.annotations.images import check_images
from cpm_port.annotations.samples import Sample
from cpm_port.annotations.scored import find_images, find_labels, read_scored
from cpm_port.bench import _peers
from cpm_port.bench._timing import take_turns
from cpm_port.caffe import NetState
from cpm_port.compute.devices import checked_device
from cpm_port.drawn.source import DrawnPeople
from cpm_port.engine.modes import fast_net
from cpm_port.engine.precision import PRECISIONS, arithmetic
from cpm_port.errors import UsageError
from cpm_port.evaluation.measure import measure
from cpm_port.evaluation.pck import pck
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.truth import Truth
from cpm_port.graph import load_net
from cpm_port.imaging.pyramid import Pyramid, ScaleSearch, build_pyramid, lsp_search
from cpm_port.imaging.reading import read_image
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.predict import device_of, gather, net_input, predict_person, run_net
from cpm_port.inference.whereabouts import search_of
from cpm_port.models import architecture
from cpm_port.parts import CPM14, FLIC9, Convention, Joints, PartOrder
from cpm_port.predictions.values import Predictions
from cpm_port.release import BOX_SIZE
from cpm_port.zoo import resolve

__all__ = ["configure", "run"]

PARITY = 1e-5  # of the largest belief: what float32 must keep
GPU_TIMES, GPU_PERCENT = 2.0, 50.0  # of bf16: times faster than the plain port; of the matrix rate
THRESHOLD = 0.2
FAR = 3.0  # px
_PLAIN = "plain port, one scale at a time"
_TORSO = ("left_shoulder", "right_hip")


@dataclass(frozen=True, eq=False)
class _Seen:
    """A person to find; `truth` is (P, 2), image px, or None."""

    image: NDArray[np.uint8]
    search: ScaleSearch
    truth: NDArray[np.float64] | None = None


@dataclass(eq=False)
class _Found:
    """What a net made of the people: their joints, and the largest error of a belief beside plain float32."""

    joints: list[NDArray[np.float64]] = field(default_factory=list)
    belief_error: float = 0.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--net", type=Path, metavar="PROTOTXT", help="a deploy net, with --weights")
    parser.add_argument("--weights", type=Path, metavar="MODEL")
    parser.add_argument("--model", metavar="NAME", help="one of `cpm-port models`")
    parser.add_argument("--phase", choices=("TEST", "TRAIN"), default="TEST", help="of --net (%(default)s)")
    parser.add_argument("--level", type=int, default=0, metavar="N", help="of --net (%(default)s)")
    parser.add_argument("--stage", nargs="+", default=[], metavar="S", help="of --net")
    parser.add_argument("--width", type=int, help="seeded net: no hidden convolution has more channels")
    parser.add_argument("--box-size", type=int, default=BOX_SIZE, help="seeded net: side of the input (%(default)s)")
    parser.add_argument("--images", type=Path, nargs="+", metavar="F", help="images, looked at by LSP's rule")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="a data set: labels, and images/; instead of the two")
    parser.add_argument("--protocol", default="lspet-held-out", help="of --data (%(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="of --data: the first N people only")
    parser.add_argument("--people", type=int, default=4, help="people to draw, without --images (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="timed turns per precision (%(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, measure every precision, and return errors, shifts, scores and medians."""
    if args.people < 1:
        raise UsageError(f"--people {args.people}: expected at least 1")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: expected at least 1")
    if args.data is not None and args.images:
        raise UsageError("give --data or --images, not both")
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        net, sigma, model = _load(args, Path(folder))
    interface = read_interface(net, sigma=sigma)
    samples = _samples(args)
    people = _people(args, samples, interface.box_size)
    names = [name for name in PRECISIONS if name != "tf32" or args.device.startswith("cuda")]
    # A copy each: every one lays its weights out its own way.
    nets: dict[str, Any] = {name: fast_net(copy.deepcopy(net), name) for name in names}
    first, truth, plain, found = _find(net, nets, people, sigma)
    measured: dict[str, dict[str, Any]] = {
        name: _compare(found[name], plain, truth, interface.part_order) for name in names
    }
    if samples is not None:
        plain_score = _score(args, samples, plain, interface.part_order)
        for name in names:
            score = _score(args, samples, found[name], interface.part_order)
            measured[name] |= {**score, "pck_difference": score["pck_percent"] - plain_score["pck_percent"]}
    error, moved = measured["float32"]["belief_error"], measured["float32"]["joints_moved"]
    sides: dict[str, Callable[[], Any]] = {side: partial(_predict, fast, first, sigma) for side, fast in nets.items()}
    sides[_PLAIN] = partial(_plain_port, net, first, sigma)
    timed = take_turns(sides, args.repeats)
    medians = timed["medians"]
    times = {name: medians[_PLAIN] / medians[name] for name in names}
    device = torch.device(args.device)
    rate = _peers.matrix_rate(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    for name in names:
        measured[name]["persons_per_second"] = 1 / medians[name]
        measured[name]["times_faster_than_plain_port"] = times[name]
        measured[name]["matrix_rate_percent"] = 100 * _rate(nets[name], first, sigma, args.repeats) / rate
    return {
        "parity": f"float32 against the plain net: {error:.1e} of the largest belief, {moved} joints moved",
        **timed,
        "missed": [*_off(error), *(_missed(measured) if device.type == "cuda" else [])],
        "times_faster_than_float32": {name: medians["float32"] / medians[name] for name in names[1:]},
        "model": model,
        "people": f"{len(plain.joints)} {_source(args)}",
        "scales": len(first.search.multipliers),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "matrix_rate": rate,
        "threads": args.threads,
        "repeats": args.repeats,
        "precisions": measured,
        **({} if samples is None else {"plain_float32": plain_score}),
    }


def _load(args: argparse.Namespace, folder: Path) -> tuple[Any, float | None, str]:
    """Return the net on its device, its center map's sigma where it is known, and what to call it."""
    if args.model is None and args.net is None and args.weights is None:
        box = (args.box_size, args.box_size)
        design = architecture("mpi", width=args.width, box=box)
        return _peers.seeded_model(design, folder).net.to(checked_device(args.device)), None, "mpi, seeded weights"
    choice = resolve(args.model, args.net, args.weights, NetState(args.phase, args.level, tuple(args.stage)))
    net = load_net(choice.net, choice.weights, device=checked_device(args.device), **choice.state._asdict())
    return net, None if choice.entry is None else choice.entry.center_sigma, choice.weights.name


def _samples(args: argparse.Namespace) -> list[Sample] | None:
    """Return the people of the data set, where one is given."""
    if args.data is None:
        return None
    protocol = protocol_named(args.protocol)
    centric = protocol.convention.centric
    labels = find_labels(protocol.dataset, args.data, centric)
    samples = read_scored(protocol.dataset, labels, images=find_images(args.data), centric=centric)[: args.limit]
    check_images(samples)
    return samples


def _source(args: argparse.Namespace) -> str:
    return f"of {args.protocol}" if args.data is not None else "images" if args.images else "drawn"


def _people(args: argparse.Namespace, samples: Sequence[Sample] | None, box_size: int) -> Iterator[_Seen]:
    if samples is not None:
        for sample in samples:
            image = read_image(sample.require_image())
            yield _Seen(image, search_of(sample, (image.shape[0], image.shape[1]), box_size))
    elif args.images:
        for path in args.images:
            image = read_image(path)
            yield _Seen(image, lsp_search((image.shape[0], image.shape[1]), box_size))
    else:
        for sample, image in (DrawnPeople(args.people, seed=368)[index] for index in range(args.people)):
            yield _Seen(image, search_of(sample, (image.shape[0], image.shape[1]), box_size), sample.person.joints)


def _find(
    net: Any, nets: Mapping[str, BeliefNet], people: Iterable[_Seen], sigma: float | None
) -> tuple[_Seen, list[NDArray[np.float64]], _Found, dict[str, _Found]]:
    """Let the plain net and all others look at everybody.

    Returns
    -------
    first : _Seen
        The first person.
    truth : list of ndarray
        The joints of those people whose joints are known.
    plain, found
        What plain float32 made of them, and each of the nets.
    """
    plain, found = _Found(), {name: _Found() for name in nets}
    interface = read_interface(net, sigma=sigma)
    first, truth = None, []
    for person in people:
        first = first or person
        truth += [] if person.truth is None else [person.truth]
        pyramid = build_pyramid(person.image, person.search.center_xy, person.search.scales, interface.box_size)
        with arithmetic("float32", device_of(net)):
            exact = _note(net, pyramid, interface, person, plain)
        for name, fast in nets.items():
            maps = _note(fast, pyramid, interface, person, found[name])
            error = float(np.abs(maps - exact).max() / np.abs(exact).max())
            found[name].belief_error = max(found[name].belief_error, error)
    assert first is not None
    return first, truth, plain, found


def _note(
    net: BeliefNet, pyramid: Pyramid, interface: NetInterface, person: _Seen, found: _Found
) -> NDArray[np.float32]:
    """Note the joints that a net finds; return its belief maps."""
    maps = run_net(net, interface, pyramid)
    found.joints.append(gather(maps, pyramid.geometries, interface, person.search).joints_image)
    result: NDArray[np.float32] = maps.final.cpu().numpy()
    return result


def _compare(found: _Found, plain: _Found, truth: Sequence[NDArray[np.float64]], order: PartOrder) -> dict[str, Any]:
    joints, exact = np.stack(found.joints), np.stack(plain.joints)
    shifts = np.linalg.norm(joints - exact, axis=2)
    result: dict[str, Any] = {
        "belief_error": found.belief_error,
        "largest_joint_shift_px": float(shifts.max()),
        "joints_moved": int((shifts > 0).sum()),
        "joints_moved_far": int((shifts > FAR).sum()),
        "joints": int(shifts.size),
    }
    if order == CPM14:
        known = np.stack(truth) if truth else exact
        first, last = (order.index(part) for part in _TORSO)
        torso = np.maximum(np.linalg.norm(known[:, first] - known[:, last], axis=1), 1.0)
        score, before = (_percent(these, known, torso) for these in (joints, exact))
        result |= {"pck_percent": score, "pck_difference": score - before}
    return result


def _score(args: argparse.Namespace, samples: Sequence[Sample], found: _Found, order: PartOrder) -> dict[str, Any]:
    """Score the joints found under the data set's protocol."""
    joints = np.stack(found.joints)
    convention = Convention(order, 0, "observer" if order == FLIC9 else "person")
    names = tuple(sample.name for sample in samples)
    predictions = Predictions(Joints(joints, convention), np.ones(joints.shape[:2]), names, "the net")
    total = measure(protocol_named(args.protocol), predictions, Truth.of(samples, str(args.data))).result().total
    return {"pck_percent": total.percent, "joints_found": total.hits, "joints_counted": total.count}


def _percent(joints: NDArray[np.float64], truth: NDArray[np.float64], torso: NDArray[np.float64]) -> float:
    hits, counts = pck(joints, truth, torso, np.array([THRESHOLD]))
    return 100.0 * int(hits.sum()) / int(counts.sum())


def _off(error: float) -> list[str]:
    """Say where float32 is not what the plain net gives; the rest is measured all the same, for it tells why."""
    if error <= PARITY:
        return []
    return [f"float32 differs from the plain net by {error:.1e} of the largest belief, at most {PARITY} expected"]


def _missed(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say which of the promises about GPUs were not kept."""
    percent = measured["bf16"]["matrix_rate_percent"]
    missed = (
        [f"bf16: {percent:.0f} % of the matrix rate, expected at least {GPU_PERCENT:.0f}"]
        if percent < GPU_PERCENT
        else []
    )
    times = measured["bf16"]["times_faster_than_plain_port"]
    if times < GPU_TIMES:
        missed.append(f"bf16: {times:.2g} times faster than the plain port, expected at least {GPU_TIMES}")
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
