"""`make demo`, or `python -m cpm_port.demo`: the package's main steps, run once on data that it makes itself.

The default model looks for the joints of drawn people, whose true joints are known, and is scored. Then a small seeded
Convolutional Pose Machine is built as the readable module, written as Caffe files, read back as a Caffe net, and both
give the same beliefs on a drawn figure. Every step checks what it claims; a check that fails ends the demo with exit
code 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import cpm_port
from cpm_port.caffe import read_net, read_weights, write_weights
from cpm_port.cli import main as command_line
from cpm_port.drawn.source import DrawnPeople
from cpm_port.evaluation.pck import normalized_errors
from cpm_port.evaluation.pdj import torso_diameter
from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.reading import read_image
from cpm_port.imaging.writing import write_png
from cpm_port.inference.predict import predict_person
from cpm_port.inference.whereabouts import search_of
from cpm_port.models import Architecture, architecture, build, from_caffe, to_caffe, write_files
from cpm_port.parts import CPM14
from cpm_port.report.drawing import draw_joints
from cpm_port.zoo import resolve

__all__ = ["draw_figure", "main"]

SEED = 1
PEOPLE, PER_ROW = 12, 4
UNSEEN_SEED = 1001  # the default model was trained on drawn people of seed 1
DIFFICULTY = 50
THRESHOLD = 0.2  # of the torso's diameter
BAR = 0.5  # share of joints that a working installation finds, well below what the model reaches
MULTIPLIERS = (0.9, 1.0, 1.1)
SAME = 1e-5  # of a map's largest value: the two forms may sum in another order

_INTRODUCTION = """\
This demo shows the way from Caffe files to joints. The default model, a small Convolutional Pose Machine of our own
training in Caffe's format, finds people that are drawn here, unlike any it was trained on only in their seed. Then a
net with seeded weights is written as a prototxt and a .caffemodel, read back, and gives the same numbers.
It does not show accuracy on photographs (`cpm-port models` prints the measured score) nor the official models, whose
files you bring: `cpm-port models add FILE`.
"""

_LIMBS = {  # x, y from the figure's middle, px
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
}


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


def find_drawn_people(folder: Path) -> bool:
    """Look for drawn people with the default model, print the score and draw what it found; False below the bar."""
    model = resolve()
    net = cpm_port.load_net(model.net, model.weights)
    box_size = net.blob_shapes[net.spec.layers[0].tops[0]][-1]
    people = DrawnPeople(count=PEOPLE, seed=UNSEEN_SEED, difficulty=DIFFICULTY)
    pictures, hits, count = [], 0, 0
    for sample, image in (people[i] for i in range(PEOPLE)):
        person = sample.person
        search = search_of(sample, (image.shape[0], image.shape[1]), box_size)
        found = predict_person(net, image, search.center_xy, search.base_scale, search.multipliers).joints_image
        errors = normalized_errors(found[None], person.joints[None], torso_diameter(person.joints[None], CPM14))
        hits, count = hits + int((errors <= THRESHOLD).sum()), count + int(np.isfinite(errors).sum())
        pictures.append(cv2.resize(draw_joints(image, found, CPM14), (256, 256), interpolation=cv2.INTER_AREA))
    sheet = folder / "drawn_people.png"
    rows = [np.hstack(pictures[i : i + PER_ROW]) for i in range(0, PEOPLE, PER_ROW)]
    write_png(sheet, np.vstack(rows))
    print(f"1. the default model on {PEOPLE} drawn people: PCK@{THRESHOLD} {100 * hits / count:.1f} % ({hits}/{count})")
    print(f"   what it found: {sheet}")
    return hits >= BAR * count


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return 0 where every check holds."""
    parser = argparse.ArgumentParser(prog="python -m cpm_port.demo")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the files (default %(default)s)")
    folder: Path = parser.parse_args(argv).out
    print(_INTRODUCTION)

    found = find_drawn_people(folder)

    net = architecture("mpi", stages=3, width=16)
    module = seeded_module(net)
    deploy = write_files(net, folder)[0]
    model = folder / "mpi.caffemodel"
    write_weights(model, to_caffe(module.state_dict(), net), read_net(deploy))
    count = sum(p.numel() for p in module.parameters())
    print(
        f"2. built {net.stages} stages, {count:,} weights; wrote {deploy} and {model} ({model.stat().st_size:,} bytes)"
    )

    back = from_caffe(read_weights(model), net)
    same_bits = all(torch.equal(back[key], value) for key, value in module.state_dict().items())
    print(f"3. read the weights back: {'every bit the same' if same_bits else 'THEY DIFFER'}")

    picture = folder / "figure.png"
    write_png(picture, draw_figure())
    image = read_image(picture)
    caffe_net = cpm_port.load_net(deploy, model)
    center = (image.shape[1] / 2 - 0.5, image.shape[0] / 2 - 0.5)
    start = time.perf_counter()
    prediction = predict_person(caffe_net, image, center, base_scale=1.0, multipliers=MULTIPLIERS)
    seconds = time.perf_counter() - start
    scales, parts = len(MULTIPLIERS), len(prediction.part_order)
    print(f"4. looked, with random weights, for {parts} joints at {scales} scales in {seconds:.2f} s")

    largest = _largest_difference(module, caffe_net)
    agree = largest <= SAME
    print(f"5. readable module and Caffe net: largest difference of a belief {largest:.1e} of the largest value")
    print(f"   {'they agree' if agree else 'THEY DIFFER'} (allowed {SAME:g})")

    print("6. recomputed the reference results that ship, synthetic predictions whose scores are known:")
    scored = command_line(["regress", "--json", str(folder / "regress.json"), "--html", str(folder / "regress.html")])
    return 0 if found and same_bits and agree and scored == 0 else 1


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
