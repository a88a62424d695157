"""`make demo`, or `python -m cpm_port.demo`: the package's main way, walked once on things that it makes itself.

A Convolutional Pose Machine with seeded weights is built as the readable module, written as Caffe files, read back as a
Caffe net, and both look for the joints of a drawn figure. Every step checks what it claims; a check that fails ends the
demo with exit code 1. The weights are random, so the joints it finds are not those of the figure: it says so.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import cpm_port
from cpm_port._atomic import atomic_path
from cpm_port.caffe import read_net, read_weights, write_weights
from cpm_port.cli import main as command_line
from cpm_port.imaging.reading import read_image
from cpm_port.inference.predict import predict_person
from cpm_port.models import Architecture, architecture, build, from_caffe, to_caffe, write_files
from cpm_port.parts import CPM14

__all__ = ["draw_figure", "main"]

SEED = 1
MULTIPLIERS = (0.9, 1.0, 1.1)
SAME = 1e-5  # of a map's largest value: the two forms may sum in another order

_INTRODUCTION = """\
This demo shows the way from Caffe files to joints: a small Convolutional Pose Machine with seeded weights is
written as a prototxt and a .caffemodel, read back, and looks for the joints of a figure that is drawn here.
It does not show accuracy: the weights are random, so where it finds the joints means nothing. What it checks is
that files, net and test pipeline keep every number on the way.
"""

_LIMBS = {
    "head_top": (0, -95),
    "neck": (0, -65),
    "right_shoulder": (-25, -60),
    "right_elbow": (-40, -25),
    "right_wrist": (-60, 5),
    "left_shoulder": (25, -60),
    "left_elbow": (45, -30),
    "left_wrist": (35, 5),
    "right_hip": (-16, 10),
    "right_knee": (-22, 55),
    "right_ankle": (-28, 100),
    "left_hip": (16, 10),
    "left_knee": (20, 55),
    "left_ankle": (18, 100),
}  # x, y from the figure's middle, px


def draw_figure(height: int = 320, width: int = 260) -> NDArray[np.uint8]:
    """Return a picture of a person, made of limbs on a soft background.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8, BGR
        The figure is 200 px tall and stands in the middle.
    """
    rows, columns = np.mgrid[0:height, 0:width]
    shade = 150 + 40 * np.sin(columns / 37) + 25 * np.cos(rows / 23)
    image: NDArray[np.uint8] = np.clip(np.stack([shade, shade * 0.9, shade * 0.8], axis=2), 0, 255).astype(np.uint8)
    middle = np.array([width // 2, height // 2])
    joints = {name: tuple(int(v) for v in middle + offset) for name, offset in _LIMBS.items()}
    for i, (start, end) in enumerate(CPM14.limbs):
        colour = (60 + 12 * i, 40, 190 - 12 * i)
        cv2.line(image, joints[start], joints[end], colour, 14, cv2.LINE_AA)
    cv2.circle(image, (width // 2, height // 2 - 80), 17, (120, 160, 220), -1, cv2.LINE_AA)
    return image


def seeded_module(net: Architecture) -> torch.nn.Module:
    """Return the readable module with weights that keep the size of what passes through them."""
    module = build(net)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 4:
                deviation = math.sqrt(2 / parameter[0].numel())
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)
            else:
                parameter.zero_()
    return module.eval()


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return 0 where every check holds."""
    parser = argparse.ArgumentParser(prog="python -m cpm_port.demo")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the files (default %(default)s)")
    folder: Path = parser.parse_args(argv).out
    print(_INTRODUCTION)

    net = architecture("mpi", stages=3, width=16)
    module = seeded_module(net)
    deploy = write_files(net, folder)[0]
    model = folder / "mpi.caffemodel"
    write_weights(model, to_caffe(module.state_dict(), net), read_net(deploy))
    count = sum(p.numel() for p in module.parameters())
    print(
        f"1. built {net.stages} stages, {count:,} weights; wrote {deploy} and {model} ({model.stat().st_size:,} bytes)"
    )

    back = from_caffe(read_weights(model), net)
    same_bits = all(torch.equal(back[key], value) for key, value in module.state_dict().items())
    print(f"2. read the weights back: {'every bit the same' if same_bits else 'THEY DIFFER'}")

    picture = folder / "figure.png"
    with atomic_path(picture) as temporary:
        cv2.imwrite(str(temporary), draw_figure())
    image = read_image(picture)
    caffe_net = cpm_port.load_net(deploy, model)
    center = (image.shape[1] / 2 - 0.5, image.shape[0] / 2 - 0.5)
    start = time.perf_counter()
    prediction = predict_person(caffe_net, image, center, base_scale=1.0, multipliers=MULTIPLIERS)
    seconds = time.perf_counter() - start
    print(f"3. looked for {len(prediction.part_order)} joints at {len(MULTIPLIERS)} scales in {seconds:.2f} s:")
    for part, (x, y), score in zip(
        prediction.part_order.parts, prediction.joints_image, prediction.scores, strict=True
    ):
        print(f"     {part:15s} x {x:4.0f}  y {y:4.0f}  score {score:6.3f}")

    largest = _largest_difference(module, caffe_net)
    agree = largest <= SAME
    print(f"4. readable module and Caffe net: largest difference of a belief {largest:.1e} of the largest value")
    print(f"   {'they agree' if agree else 'THEY DIFFER'} (allowed {SAME:g})")

    print("5. recomputed the reference results that ship, synthetic predictions whose scores are known:")
    scored = command_line(["regress"])
    return 0 if same_bits and agree and scored == 0 else 1


def _largest_difference(module: torch.nn.Module, caffe_net: cpm_port.CaffeNet) -> float:
    """Return how far the two forms are apart at any stage, relative to the stage's largest value."""
    data = torch.randn(1, 4, 184, 184, generator=torch.Generator().manual_seed(SEED))
    stages = ["conv7_stage1", "Mconv5_stage2", "Mconv5_stage3"]
    with torch.inference_mode():
        blobs = caffe_net(data, blobs=stages)
        pairs = [(ours, blobs[name]) for ours, name in zip(module(data), stages, strict=True)]
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


if __name__ == "__main__":
    sys.exit(main())
