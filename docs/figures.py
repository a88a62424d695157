"""The pages' figures, and the paper's 7, from drawn people and the default model: `python docs/figures.py`.

Half a minute of a core. Everything is seeded, so the same code gives the same pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

import cpm_port
from cpm_port.drawn.source import DrawnCrowds, DrawnPeople
from cpm_port.imaging.gaussians import centered_map
from cpm_port.imaging.pyramid import build_pyramid, mpii_search
from cpm_port.inference.interface import read_interface
from cpm_port.inference.predict import predict_person, run_net
from cpm_port.parts import CPM14
from cpm_port.release import BENCHMARK_MULTIPLIERS, BOX_SIZE
from cpm_port.report.drawing import draw_joints, draw_poses
from cpm_port.training.labels import center_map_at, labels
from cpm_port.zoo import resolve

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PICTURES = Path(__file__).parent / "pictures"
RESULTS = Path(__file__).parents[1] / "reference_results"
PEOPLE = DrawnPeople(count=40, size=360, seed=1001, difficulty=50)
PERSON = 3
TURNED = 26  # whose left and right the first stage takes for each other
WRIST = CPM14.index("right_wrist")
BLUE, ORANGE, GREEN = "#1f5fa8", "#d1602b", "#3a8c50"


def main() -> None:
    """Draw all of them."""
    plt.rcParams.update(
        {
            "font.size": 9,
            "svg.hashsalt": "cpm_port",
            "svg.fonttype": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    sample, image = PEOPLE[PERSON]
    choice = resolve()
    net = cpm_port.load_net(choice.net, choice.weights).eval()
    what_it_does(net, sample, image)
    scale(sample, image)
    center_map()
    pyramid(net, sample, image)
    stages(net, sample, image)
    elbows_and_wrists(net, *PEOPLE[TURNED])
    target_maps()
    protocols()
    crowds()


def what_it_does(net: Any, sample: Any, image: Any) -> None:
    """A picture, the sum of all maps, the joints."""
    search = mpii_search(sample.person.center, sample.person.scale, read_interface(net).box_size)
    found = predict_person(net, image, search.center_xy, search.base_scale, search.multipliers, keep_maps=True)
    figure, axes = panels(1, 3, 7.5, 2.3)
    beliefs = found.score_maps[:, :, :-1].max(axis=2)
    for axis, picture, title in zip(
        axes,
        (image, image, draw_joints(image, found.joints_image, CPM14)),
        ("a drawn picture", "what the net believes (all parts)", "the joints"),
        strict=True,
    ):
        axis.imshow(picture[:, :, ::-1])
        axis.set_title(title)
    axes[1].imshow(beliefs, cmap="inferno", alpha=0.72)
    save(figure, "what_it_does.png")


def scale(sample: Any, image: Any) -> None:
    """The same person at three image sizes becomes the same person in the box."""
    figure, axes = panels(1, 4, 8.5, 2.7)
    import cv2

    for axis, factor in zip(axes[:3], (0.5, 1.0, 1.6), strict=True):
        resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        axis.imshow(resized[:, :, ::-1])
        axis.set_xlim(0, image.shape[1] * 1.6)
        axis.set_ylim(image.shape[0] * 1.6, 0)
        axis.set_title(f"person {200 * sample.person.scale * factor:.0f} px\nscale {sample.person.scale * factor:.2f}")
    search = mpii_search(sample.person.center, sample.person.scale)
    (crop,) = build_pyramid(image, search.center_xy, (search.base_scale,), BOX_SIZE).crops
    axes[3].imshow(crop[:, :, ::-1])
    axes[3].set_title("box 368 px, all three:\nperson about 234 px")
    save(figure, "concept_scale.png")


def center_map() -> None:
    """The three conventions, near their peak and in their tail."""
    at = np.arange(BOX_SIZE)
    person = np.array([183.7, 183.7], np.float32)
    rows = {
        "MATLAB: pixel 183, never cut off": centered_map(BOX_SIZE)[183],
        "notebook: pixel 184, never cut off": centered_map(BOX_SIZE, pixel=184)[184],
        "training: on the person (here 183.7), cut off below 0.01": center_map_at(person, 21.0, (BOX_SIZE, BOX_SIZE))[
            184
        ],
    }
    figure, (near, far) = plt.subplots(1, 2, figsize=(8.5, 2.8), layout="constrained")
    for (name, row), colour, mark in zip(rows.items(), (BLUE, ORANGE, GREEN), "os^", strict=True):
        near.plot(at, row, color=colour, marker=mark, markersize=4, linewidth=1, label=name)
        far.plot(at, row, color=colour, linewidth=1.4)
    near.set(xlim=(178.5, 189), ylim=(0.962, 1.003), xlabel="column of the box, px", title="near the peak")
    far.set(xlim=(225, 300), ylim=(-0.001, 0.03), xlabel="column of the box, px", title="in the tail")
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    save(figure, "concept_center_map.svg")


def pyramid(net: Any, sample: Any, image: Any) -> None:
    """Seven boxes, the right wrist's map of each, and their sum on the image."""
    interface = read_interface(net)
    search = mpii_search(sample.person.center, sample.person.scale, interface.box_size)
    boxes = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
    maps = run_net(net, interface, boxes).final[:, WRIST].numpy()
    found = predict_person(net, image, search.center_xy, search.base_scale, search.multipliers, keep_maps=True)
    figure, axes = panels(2, 8, 9.5, 2.8)
    for column, multiplier in enumerate(BENCHMARK_MULTIPLIERS):
        axes[0, column].imshow(boxes.crops[column][:, :, ::-1])
        axes[0, column].set_title(f"x {multiplier:.1f}")
        axes[1, column].imshow(maps[column], cmap="inferno", vmin=0, vmax=1)
    axes[0, 7].imshow(image[:, :, ::-1])
    axes[0, 7].set_title("image")
    axes[1, 7].imshow(found.score_maps[:, :, WRIST], cmap="inferno")
    axes[1, 7].plot(*found.joints_image[WRIST], "+", color="#5ad1ff", markersize=9)
    axes[1, 7].set_title("sum, peak")
    save(figure, "concept_pyramid.png")


def stages(net: Any, sample: Any, image: Any) -> None:
    """Belief maps stage after stage, for four parts."""
    interface = read_interface(net)
    search = mpii_search(sample.person.center, sample.person.scale, interface.box_size)
    boxes = build_pyramid(image, search.center_xy, (search.base_scale,), interface.box_size)
    beliefs = run_net(net, interface, boxes, stages=True)
    shown = ("head_top", "right_elbow", "right_wrist", "left_wrist", "left_ankle")
    figure, axes = panels(len(beliefs.stages), len(shown) + 1, 8.5, 4.4)
    for row, (stage, maps) in enumerate(beliefs.stages.items()):
        axes[row, 0].imshow(boxes.crops[0][:, :, ::-1])
        axes[row, 0].set_title(f"stage {stage}")
        for column, part in enumerate(shown, 1):
            belief = maps[0, CPM14.index(part)].numpy()
            axes[row, column].imshow(belief, cmap="inferno", vmin=0, vmax=1)
            axes[row, column].set_title(f"{part.replace('_', ' ')} {belief.max():.2f}")
    save(figure, "concept_stages.png")


def elbows_and_wrists(net: Any, sample: Any, image: Any) -> None:
    """The paper's Figure 7: belief maps on the picture, a row per stage; a cross where the joint is."""
    interface = read_interface(net)
    search = mpii_search(sample.person.center, sample.person.scale, interface.box_size)
    boxes = build_pyramid(image, search.center_xy, (search.base_scale,), interface.box_size)
    beliefs = run_net(net, interface, boxes, stages=True)
    crop = boxes.crops[0][:, :, ::-1]
    joints = boxes.geometries[0].to_box(sample.person.joints)
    (left, top), (right, bottom) = joints.min(axis=0) - 14, joints.max(axis=0) + 14
    shown = ("left_elbow", "right_elbow", "left_wrist", "right_wrist")
    figure, axes = panels(len(beliefs.stages), len(shown), 6.6, 6.2)
    for row, (stage, maps) in zip(axes, beliefs.stages.items(), strict=True):
        for axis, part in zip(row, shown, strict=True):
            belief = maps[0, CPM14.index(part)].numpy()
            axis.imshow(crop)
            axis.imshow(
                belief, cmap="inferno", vmin=0, vmax=0.6, alpha=np.clip(3 * belief, 0, 0.85), interpolation="bilinear",
                extent=(-0.5, crop.shape[1] - 0.5, crop.shape[0] - 0.5, -0.5),
            )  # fmt: skip
            axis.plot(*joints[CPM14.index(part)], "+", color="#5ad1ff", markersize=9)
            axis.set(xlim=(left, right + 40), ylim=(bottom, top))
            axis.set_title(f"{stage}: {part.replace('_', ' ')} {belief.max():.2f}")
    save(figure, "paper_figure_7.jpg")


def target_maps() -> None:
    """One part's targets of two people who stand close, and a profile through both peaks."""
    people = np.array([[[70, 92, 1]], [[96, 92, 0]], [[150, 60, 2]]], np.float32)
    person, own_background, everybody, background = labels(people, 1, 8, 7.0, (184, 184))
    figure, axes = plt.subplots(1, 5, figsize=(9.5, 2.5), layout="constrained", width_ratios=(1, 1, 1, 1, 1.5))
    for axis, target, title in zip(
        axes,
        (person, own_background, everybody, background),
        ("this person", "its background", "everybody", "its background"),
        strict=False,
    ):
        axis.imshow(target, cmap="inferno", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    at = np.arange(184)
    close = np.array([[[80, 92, 1]], [[92, 92, 1]]], np.float32)
    fine = labels(close, 1, 1, 7.0, (184, 184))
    axes[4].plot(at, fine[2, 92], color=BLUE, label="sum, at most 1 (as trained)")
    axes[4].plot(
        at,
        np.maximum(fine[0, 92], labels(close[1:], 1, 1, 7.0, (184, 184))[0, 92]),
        "--",
        color=ORANGE,
        label="maximum",
    )
    axes[4].set(xlim=(50, 125), ylim=(0, 1.45), xlabel="px", title="two peaks, 12 px apart")
    axes[4].legend(frameon=False, fontsize=7.5, loc="upper center")
    save(figure, "concept_labels.png")


def protocols() -> None:
    """One set of predictions under three protocols, from the recorded results."""
    path = RESULTS / "mpii-validation.json"
    rows = {row["id"]: row["measured"]["values"] for row in json.loads(path.read_text())["rows"]}
    shown = {name: rows[f"{name}/tompson"] for name in ("mpii-pytorch-pose", "mpii-official", "mpii-msra")}
    columns = list(next(iter(shown.values())))[:-1]
    figure, axis = plt.subplots(figsize=(8.5, 2.8), layout="constrained")
    for number, ((name, values), colour) in enumerate(zip(shown.items(), (ORANGE, BLUE, GREEN), strict=True)):
        at = np.arange(len(columns)) + 0.27 * (number - 1)
        bars = axis.bar(at, [values[c] for c in columns], 0.25, color=colour, label=f"{name}: {values['total']:.2f}")
        axis.bar_label(bars, fmt="%.1f", fontsize=6.5, padding=1)
    axis.set(ylim=(60, 102), ylabel="PCKh@0.5, %")
    axis.set_xticks(range(len(columns)), columns)
    axis.legend(frameon=False, loc="upper right", ncols=3, fontsize=8)
    save(figure, "concept_protocols.svg")


def crowds() -> None:
    """The scenes that `cpm-port bench crowd` recorded as its worst, with whom the default model finds there."""
    recorded = json.loads((RESULTS / "benchmarks" / "crowd.json").read_text())["results"]["crowd"]
    scenes, model = DrawnCrowds(recorded["scenes"], seed=2016, difficulty=50), cpm_port.load_model()
    images = [scenes[index][1] for index in recorded["worst_scenes"]]
    figure, axes = panels(2, 4, 8.0, 4.6)
    for axis, image in zip(axes.flat, images, strict=True):
        (found,) = model([image])
        axis.imshow(draw_poses(image, [person.joints for person in found], CPM14)[:, :, ::-1])
    save(figure, "crowds.jpg")


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of pictures without axes."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained")
    for axis in np.ravel(axes):
        axis.set_axis_off()
    return figure, axes


def save(figure: Any, name: str) -> None:
    """Write a figure beside the others."""
    metadata = {".svg": {"Date": None}, ".png": {"Software": None}}.get(Path(name).suffix)
    figure.savefig(PICTURES / name, dpi=110, metadata=metadata)
    plt.close(figure)
    print(PICTURES / name)


if __name__ == "__main__":
    main()
