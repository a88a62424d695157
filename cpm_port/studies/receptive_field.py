"""Accuracy over how much of the image a belief sees: the paper's Figure 4.

Two-stage nets whose second stage refines with kernels of 1 to 11: the larger the kernel, the further away are the
other parts' beliefs that it can use. Widths are chosen so that all second stages have about as many weights as that
of kernel 11, so that only the reach differs (kernel 1 stays below: its width is capped at four times the study's).
The receptive field is that of the last belief map in the net's input, counted as the paper does (a pooling as a
window of its stride).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from cpm_port.caffe import NetSpec, infer_shapes, spec_of
from cpm_port.graph.sources import source_shapes
from cpm_port.models import Architecture
from cpm_port.report.receptive import receptive_fields
from cpm_port.studies.common import (
    THRESHOLDS,
    Say,
    Scale,
    design,
    draw_people,
    figure,
    pck_curves,
    save,
    train,
    train_spec,
)

__all__ = ["DEFAULT", "draw", "run"]

DEFAULT = Scale(stages=2, width=16, box=96, batch=8, iterations=900, people=1500, held_out=200)

_KERNELS = (1, 3, 5, 7, 9, 11)
_REFINING = ("Mconv1_stage2", "Mconv2_stage2", "Mconv3_stage2")
_WIDEST = 4  # times the study's width, at kernel 1


def run(scale: Scale, say: Say) -> dict[str, Any]:
    """Train a net per kernel; return receptive fields and PCK of both stages over the thresholds."""
    people = draw_people(scale)
    net = design(scale, 2)
    first, last = net.outputs
    points = []
    for kernel in _KERNELS:
        width = _equal_width(net, kernel)
        spec = _with_kernel(train_spec(net, scale), kernel, width)
        field = _field(spec, last)
        model = train(spec, people, scale, say, name=f"receptive field {field}", iterations=scale.iterations)
        curves = pck_curves(model, people, [first, last])
        weights = sum(blob.numel() for name in _REFINING for blob in model.params[name])
        points.append(
            {
                "kernel": kernel,
                "width": width,
                "weights": weights,
                "receptive_field": field,
                "pck": curves[last],
                "pck_at_0.2": curves[last][-1],
                "pck_at_0.2_of_stage_1": curves[first][-1],
            }
        )
    return {"thresholds": THRESHOLDS, "points": points}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw PCK at 0.2 over the receptive field."""
    picture, axes = figure(5.0, 3.4)
    fields = [point["receptive_field"] for point in result["points"]]
    for key, label, color in (
        ("pck_at_0.2", "stage 2", "#1f5fa8"),
        ("pck_at_0.2_of_stage_1", "stage 1 of the same nets", "#999999"),
    ):
        axes[0, 0].plot(fields, [p[key] for p in result["points"]], "o-", color=color, linewidth=1.4, label=label)
    axes[0, 0].set(xlabel="receptive field of the belief, input px", ylabel="PCK@0.2, %")
    axes[0, 0].grid(color="#dddddd", linewidth=0.5)
    axes[0, 0].legend(fontsize=8, frameon=False)
    save(picture, path)


def _equal_width(net: Architecture, kernel: int) -> int:
    """Return the width at which the refining layers have about as many weights as with kernel 11 at the net's width."""
    inputs = net.widths.context + net.maps + 1

    def weights(size: int, width: int) -> int:
        return size * size * width * (inputs + 2 * width)

    wanted = weights(_KERNELS[-1], net.widths.refinement)
    widths = range(net.widths.refinement, _WIDEST * net.widths.refinement + 1)
    return min(widths, key=lambda width: abs(weights(kernel, width) - wanted))


def _with_kernel(spec: NetSpec, kernel: int, width: int) -> NetSpec:
    """Return the net with other refining layers in stage 2."""
    message: Any = copy.deepcopy(spec.message)
    for layer in message.layer:
        if layer.name in _REFINING:
            layer.convolution_param.kernel_size[:] = [kernel]
            layer.convolution_param.pad[:] = [kernel // 2]
            layer.convolution_param.num_output = width
    return spec_of(message, source=spec.source, phase="TRAIN")


def _field(spec: NetSpec, blob: str) -> int:
    """Return the side of what a value of `blob` sees of the image."""
    shapes = infer_shapes(spec, source_shapes(spec, {}))
    return receptive_fields(spec, shapes, ["image"], pool_as_stride=True)[blob][0].size
