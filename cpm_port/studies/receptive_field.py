"""Accuracy over how much of the image a belief sees: the paper's Figure 4.

Two-stage nets that differ in the size of their kernels: those that look at the image (9 x 9 and one of 5 x 5 in the
paper's net, here at most so large) and those of the second stage that look at the first one's beliefs (11 x 11). Widths
are chosen so that all nets have about as many weights as the paper's kernels at the study's width, so that only the
reach differs; they are capped at four times that width, which leaves the smallest kernels below.

The receptive field is that of a belief map in the net's input, counted as the paper does (a pooling as a window of its
stride), whether or not so much of the input exists. Stage 1 is measured too, at its own receptive field.
"""

from __future__ import annotations

import bisect
import copy
import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_port.caffe import NetSpec, infer_shapes, param_shapes, spec_of
from cpm_port.graph.sources import source_shapes
from cpm_port.report.receptive import receptive_fields
from cpm_port.studies.common import (
    Say,
    design,
    draw_band,
    draw_people,
    figure,
    pck_curves,
    save,
    seeds_in_words,
    train,
    train_spec,
)
from cpm_port.studies.size import StudySize

__all__ = ["DEFAULT", "NUMBER", "numbers", "plot", "run"]

NUMBER = "PCK@0.2, %"
DEFAULT = StudySize(stages=2, width=16, box=96, batch=8, iterations=150, people=1000, held_out=200)

_KERNELS = ((1, 3), (3, 3), (5, 3), (9, 3), (9, 7), (9, 11))
"""Largest kernel on the image, kernel on the beliefs; the last pair is the paper's."""
_WIDEST = 4  # times the study's width
_STAGES = {"stage 1": "_of_stage_1", "stage 2": ""}  # title -> how its keys end


def run(scale: StudySize, say: Say) -> dict[str, Any]:
    """Train a net per pair of kernels; return receptive fields and PCK of both stages over the thresholds."""
    people = draw_people(scale)
    first, last = design(scale, 2).outputs
    points = []
    for on_image, on_beliefs in _KERNELS:
        spec = _net(scale, on_image, on_beliefs)
        fields = [_field(spec, blob) for blob in (first, last)]
        model = train(spec, people, scale, say, name=f"receptive field {fields[1]}", iterations=scale.iterations)
        curves = pck_curves(model, people, [first, last])
        points.append(
            {
                "kernel_on_image": on_image,
                "kernel_on_beliefs": on_beliefs,
                "weights": _count_weights(spec),
                "receptive_field": fields[1],
                "receptive_field_of_stage_1": fields[0],
                "pck": curves[last],
                "pck_of_stage_1": curves[first],
            }
        )
    return {"points": points}


def numbers(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return PCK at 0.2 of every run by stage and receptive field, from small to large."""
    found: dict[tuple[str, int], list[float]] = {}
    for stage, suffix in _STAGES.items():
        for points in zip(*(run["points"] for run in runs), strict=True):
            field = points[0][f"receptive_field{suffix}"]
            found.setdefault((stage, field), []).extend(point[f"pck{suffix}"][-1] for point in points)
    return {f"{stage}, {field} px": found[stage, field] for stage, field in sorted(found)}


def plot(record: dict[str, Any], path: Path) -> None:
    """Draw PCK at 0.2 over the receptive field."""
    picture, axes = figure(5.0, 3.6)
    axis = axes[0, 0]
    runs, size = record["runs"], record["size"]
    for (stage, suffix), color in zip(_STAGES.items(), ("#888888", "#1f5fa8"), strict=True):
        points = sorted(zip(*(run["points"] for run in runs), strict=True), key=lambda row: row[0]["receptive_field"])
        fields = [row[0][f"receptive_field{suffix}"] for row in points]
        values = np.array([[point[f"pck{suffix}"][-1] for point in row] for row in points])
        if suffix:
            axis.plot(fields, values.mean(axis=1), "s", color=color, markersize=4, label=stage)
            axis.vlines(fields, values.min(axis=1), values.max(axis=1), color=color, linewidth=1)
        else:
            draw_band(axis, fields, values.T, color, stage)
    axis.axvline(size["box"], color="#bbbbbb", linestyle="--", linewidth=1, label=f"the box, {size['box']} px")
    axis.set(xlabel="receptive field of the belief, input px", ylabel=NUMBER)
    axis.set_title(f"accuracy over receptive field, {size['iterations']} iterations{seeds_in_words(runs)}", fontsize=9)
    axis.grid(color="#dddddd", linewidth=0.5)
    axis.legend(fontsize=8, frameon=False)
    save(picture, path, record)


def _net(scale: StudySize, on_image: int, on_beliefs: int) -> NetSpec:
    """Return the net with these kernels, as wide as makes it as heavy as the paper's kernels at the study's width."""

    @functools.cache
    def build(width: int) -> NetSpec:
        return _with_kernels(replace(scale, width=width), on_image, on_beliefs)

    wanted = _count_weights(_with_kernels(scale, *_KERNELS[-1]))
    widths = range(scale.width, _WIDEST * scale.width + 1)
    heavier = bisect.bisect_left(widths, wanted, key=lambda width: _count_weights(build(width)))
    near = widths[max(heavier - 1, 0) : heavier + 1]
    return build(min(near, key=lambda width: abs(_count_weights(build(width)) - wanted)))


def _with_kernels(scale: StudySize, on_image: int, on_beliefs: int) -> NetSpec:
    """Return the study's net with no larger kernels than these."""
    spec = train_spec(design(scale, 2), scale)
    message: Any = copy.deepcopy(spec.message)
    for layer in message.layer:
        if layer.type == "Convolution":
            largest = on_beliefs if layer.name.startswith("M") else on_image
            size = min(layer.convolution_param.kernel_size[0], largest)
            layer.convolution_param.kernel_size[:] = [size]
            layer.convolution_param.pad[:] = [size // 2]
    return spec_of(message, source=spec.source, phase="TRAIN")


def _count_weights(spec: NetSpec) -> int:
    shapes = infer_shapes(spec, source_shapes(spec, {}))
    sizes = (param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms]) for layer in spec.layers)
    return sum(math.prod(shape) for shapes_of_layer in sizes for shape in shapes_of_layer)


def _field(spec: NetSpec, blob: str) -> int:
    """Return the side of what a value of `blob` sees of the image."""
    shapes = infer_shapes(spec, source_shapes(spec, {}))
    fields = receptive_fields(spec, shapes, ["image"], pool_as_stride=True)[blob]
    assert fields, f"{blob}: no field of its own"
    return fields[0].size
