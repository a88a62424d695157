"""Augmentation: our cubic resize and warp beside OpenCV's, and whole training examples per second and core.

Timed, on one thread:

- resizes and turns of a photograph-sized image, whole output: ours, and the installed `cv2` with its IPP switch on
  (the default of its wheels, which computes something slightly different) and off (the same arithmetic where it is
  OpenCV 4). Each side has the image in its own layout, planes or interleaved channels;
- `example`: one example of 368 x 368 from a record in memory, with the official parameters: drawing the numbers,
  scaling, turning, cropping and flipping, both label sets and the center map; images of 256 to 480 px;
- `example, from LMDB`: the same through `open_data_layers`, from an LMDB's bytes to a batch of 16.

Parity first: the kernels equal their readable twins, and `cv2` 4 to the bit (other versions: the largest difference is
named).
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port import release
from cpm_port.bench._timing import take_turns
from cpm_port.caffe import parse_net
from cpm_port.drawn.source import DrawnRecords
from cpm_port.errors import DataError
from cpm_port.imaging import warp
from cpm_port.imaging.opencv import cv2
from cpm_port.records.lmdb import write_lmdb
from cpm_port.training.augment import augment, blob_shapes, decide, draw, write_example
from cpm_port.training.batches import open_data_layers
from cpm_port.training.transform_param import TransformParameters

__all__ = ["configure", "run"]

_TARGET = 1 / 1.5  # at most one and a half of cv2's own time
_EXAMPLES_PER_SECOND = 300
_SCALES, _DEGREES = (0.8, 1.17, 1.5), (0.0, 25.0)
_BATCH = 16
_NET = f"""layer {{ name: "data" type: "CPMData" top: "data" top: "label"
  transform_param {{ stride: {release.STRIDE} crop_size_x: {release.BOX_SIZE} crop_size_y: {release.BOX_SIZE}
    target_dist: {release.TRAIN_TARGET_DIST} scale_prob: 1 scale_min: {release.TRAIN_SCALES[0]}
    scale_max: {release.TRAIN_SCALES[1]} max_rotate_degree: {release.TRAIN_ROTATION} center_perterb_max: 0 }}
  cpmdata_param {{ source: "SOURCE" batch_size: {_BATCH} backend: LMDB }} }}"""
Side = Callable[[], Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the bench's arguments."""
    parser.add_argument("--repeats", type=int, default=15, help="timed turns per side (default: %(default)s)")
    parser.add_argument("--size", type=int, default=release.BOX_SIZE, help="side of the resized and turned image, px")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check parity, time the sides in turn, and return medians, spread, ratios and examples per second."""
    threads, uses_ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    cv2.setNumThreads(1)
    try:
        result = _kernels(args.size, args.repeats)
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(uses_ipp)
    examples = _examples(args.repeats)
    for name in ("medians", "spread"):
        result[name].update(examples[name])
    per_second = {name: 1 / seconds for name, seconds in examples["medians"].items()}
    result["examples_per_second"] = per_second
    result["missed"] = [
        f"{name}: {rate:.0f} per second, expected at least {_EXAMPLES_PER_SECOND}"
        for name, rate in per_second.items()
        if rate < _EXAMPLES_PER_SECOND
    ]
    return result


def _kernels(size: int, repeats: int) -> dict[str, Any]:
    image = DrawnRecords(1, size)[0].planes
    planes = np.ascontiguousarray(np.pad(image, ((0, 0), (0, size), (0, size)), "wrap")[:, :size, :size])
    interleaved = np.ascontiguousarray(planes.transpose(1, 2, 0))
    sides: dict[str, Side] = {}
    parity: dict[str, Any] = {}
    names = []
    for scale in _SCALES:
        name = f"resize x{scale}"
        names.append(name)
        ours = _resize_side(planes, scale)
        _require_equal(name, ours(), warp._resize_reference(planes, scale))
        _add(sides, parity, name, ours, _cv2_resize(interleaved, scale))
    for degree in _DEGREES:
        name = f"turn {degree:g} degrees"
        names.append(name)
        matrix, turned = _turned(size, degree)
        ours = _warp_side(planes, matrix, turned)
        _require_equal(name, ours(), warp._warp_reference(planes, matrix, turned))
        _add(sides, parity, name, ours, _cv2_warp(interleaved, matrix, turned))
    result: dict[str, Any] = {"opencv": cv2.__version__, "parity": parity, **take_turns(sides, repeats)}
    medians = result["medians"]
    result["ratios"] = {
        f"{name}, {peer}": medians[f"{name}, {peer}"] / medians[f"{name}, ours"]
        for name in names
        for peer in ("cv2", "cv2, IPP off")
    }
    result["targets"] = dict.fromkeys(result["ratios"], _TARGET)
    return result


def _add(sides: dict[str, Side], parity: dict[str, Any], name: str, ours: Side, theirs: Side) -> None:
    """Add ours and cv2's two ways to the sides, and hold the results together."""

    def with_ipp(switch: bool) -> Side:
        def run_it() -> Any:
            cv2.ipp.setUseIPP(switch)
            return theirs()

        return run_it

    sides |= {f"{name}, ours": ours, f"{name}, cv2": with_ipp(True), f"{name}, cv2, IPP off": with_ipp(False)}
    largest = int(np.abs(ours().astype(int) - with_ipp(False)().transpose(2, 0, 1)).max())
    if largest and cv2.__version__.startswith("4."):
        raise DataError(f"{name}: up to {largest} grey levels from OpenCV {cv2.__version__} without IPP")
    parity[f"{name}, largest difference from cv2 {cv2.__version__}, IPP off (grey levels)"] = largest


def _require_equal(name: str, ours: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
    if not np.array_equal(ours, reference):
        raise DataError(f"{name}: the kernel differs from its readable twin")


def _resize_side(planes: NDArray[np.uint8], scale: float) -> Callable[[], NDArray[np.uint8]]:
    return lambda: warp.resize_cubic(planes, scale)


def _warp_side(
    planes: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]
) -> Callable[[], NDArray[np.uint8]]:
    return lambda: warp.warp_affine_cubic(planes, matrix, warp.Window(0, 0, *size))


def _cv2_resize(image: Any, scale: float) -> Side:
    return lambda: cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _cv2_warp(image: Any, matrix: Any, size: tuple[int, int]) -> Side:
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_CONSTANT
    return lambda: cv2.warpAffine(image, matrix, size, flags=flags, borderMode=border, borderValue=(128, 128, 128))


def _turned(size: int, degree: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the matrix that turns a square about its middle, and the size of the box around it."""
    radians = math.radians(degree)
    side = math.ceil(size * (abs(math.cos(radians)) + abs(math.sin(radians)))) + 1
    matrix = np.array(cv2.getRotationMatrix2D((size / 2, size / 2), degree, 1), np.float64)
    matrix[:, 2] += (side - size) / 2
    return matrix, (side, side)


def _examples(repeats: int) -> dict[str, Any]:
    """Time one example in memory and one through an LMDB, in seconds."""
    net = parse_net(_NET, phase="TRAIN")
    parameters = TransformParameters.from_message(net.layers[0].params.transform_param)
    records = [DrawnRecords(8, size)[index] for size in (256, 368, 480) for index in range(8)]
    data, label = (np.empty(shape, np.float32) for shape in blob_shapes(parameters))
    turn = iter(range(1 << 62))

    def in_memory() -> None:
        for record in records:
            what = decide(draw(parameters, 1, 0, next(turn)), parameters)
            write_example(augment(record, parameters, what), parameters, data, label)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lmdb"
        numbered = (
            replace(record, write_number=i, total_write_number=len(records)) for i, record in enumerate(records)
        )
        write_lmdb(path, numbered)
        net = parse_net(_NET.replace("SOURCE", str(path)), phase="TRAIN")
        with open_data_layers(net, phase="TRAIN", seed=1) as source:
            times = take_turns({"example": in_memory, "example, from LMDB": source.next_batch}, repeats)
    counts = {"example": len(records), "example, from LMDB": _BATCH}
    return {
        "medians": {name: seconds / counts[name] for name, seconds in times["medians"].items()},
        "spread": {name: [value / counts[name] for value in pair] for name, pair in times["spread"].items()},
    }
