"""Plots of scores, as the paper draws them: curves over thresholds (figures 8, 9 and 12), bars per joint, cases.

METRICS -> REPORT. Every function returns a picture's bytes (SVG for curves and bars, PNG for cases); matplotlib is
imported when the first one is drawn, with the Agg backend and without a window. Dots per inch and sizes are fixed and
SVG carries no date, so the same numbers give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.evaluation.scores import Curve, Score
from cpm_port.parts import PartOrder

__all__ = ["Case", "bars", "cases", "curves"]

_COLORS = ("#1f5fa8", "#d1602b", "#3a8c50", "#8a4fa3", "#b0282f", "#6b6b6b")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))  # lines that coincide stay visible
_TRUE, _GUESSED = "#2f9e44", "#e8590c"
_INK = "#222222"
_PER_ROW = 4


@dataclass(frozen=True, eq=False)
class Case:
    """One person to show.

    Attributes
    ----------
    title, subtitle : str
        Two lines above the picture.
    image : ndarray, shape (H, W, 3), uint8, RGB, or None
        None: joints alone, on paper.
    truth, predicted : ndarray, shape (P, 2)
        0-based image px; NaN is left out.
    order : PartOrder
        Of both.
    """

    title: str
    subtitle: str
    image: NDArray[np.uint8] | None
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    order: PartOrder


def curves(title: str, axis: str, models: Mapping[str, Curve], *, total: str = "Total") -> bytes:
    """Draw the detection rate over the normalized distance: one panel for the total, one per column.

    Parameters
    ----------
    title : str
        Above all panels.
    axis : str
        What the thresholds are fractions of.
    models : dict of str to Curve
        One line each; all with the same thresholds and columns.
    total : str
        Title of the first panel.

    Returns
    -------
    bytes
        An SVG picture.
    """
    first = next(iter(models.values()))
    panels = [total, *first.parts]
    columns = min(_PER_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = _figure(columns, rows, 2.75, 2.45)
    last = float(first.thresholds[-1])
    for i, (panel, name) in enumerate(zip(axes, panels, strict=False)):
        styles = zip(_COLORS, _DASHES * 2, models.items(), strict=False)
        for color, dashes, (label, curve) in styles:
            values = curve.total if name == total else curve.parts[name]
            text = f"{label}  {values[-1]:.1f}"
            panel.plot(curve.thresholds, values, color=color, linestyle=dashes, linewidth=1.8, label=text)
        panel.set_title(name, fontsize=10, color=_INK, fontweight="bold" if name == total else "normal")
        panel.set_xlim(0, last)
        panel.set_ylim(0, 100)
        panel.set_xticks(np.linspace(0, last, 6) if last > 0.3 else np.linspace(0, last, 5))
        panel.set_yticks(range(0, 101, 20))
        panel.grid(color="#e3e3e3", linewidth=0.7)
        panel.tick_params(labelsize=8, colors=_INK, length=2.5)
        panel.legend(loc="best", fontsize=7, frameon=True, framealpha=0.9, edgecolor="none", borderpad=0.3)
        if i % columns == 0:
            panel.set_ylabel("detected, %", fontsize=8.5, color=_INK)
        if i + columns >= len(panels):
            panel.set_xlabel(axis, fontsize=8.5, color=_INK)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    return _finish(figure, title, "svg")


def bars(title: str, models: Mapping[str, Mapping[str, Score]]) -> bytes:
    """Draw each joint's percentage as a bar, models side by side; intervals as whiskers where scores have them.

    Parameters
    ----------
    models : dict of str to dict of str to Score
        Model -> joint -> score, all with the same joints.

    Returns
    -------
    bytes
        An SVG picture.
    """
    joints = list(next(iter(models.values())))
    figure, (panel,) = _figure(1, 1, 11.0, 3.1)
    width = 0.8 / len(models)
    for k, (color, (label, scores)) in enumerate(zip(_COLORS, models.items(), strict=False)):
        place = np.arange(len(joints)) + (k - (len(models) - 1) / 2) * width
        heights = [scores[joint].percent for joint in joints]
        panel.bar(place, heights, width * 0.92, color=color, label=label)
        for x, height in zip(place, heights, strict=True):
            if np.isfinite(height):
                panel.text(x, height + 1, f"{height:.1f}", ha="center", va="bottom", fontsize=6.5, color=_INK)
        for x, joint in zip(place, joints, strict=True):
            interval = scores[joint].interval
            if interval is not None:
                panel.plot([x, x], [interval.low, interval.high], color=_INK, linewidth=0.9)
    panel.set_xticks(range(len(joints)), [joint.replace("_", "\n") for joint in joints], fontsize=8)
    panel.set_ylim(0, 108)
    panel.set_yticks(range(0, 101, 20))
    panel.set_xlim(-0.6, len(joints) - 0.4)
    panel.set_ylabel("detected, %", fontsize=8.5, color=_INK)
    panel.tick_params(axis="y", labelsize=8, colors=_INK)
    panel.tick_params(axis="x", length=0)
    panel.grid(axis="y", color="#e3e3e3", linewidth=0.7)
    panel.set_axisbelow(True)
    if len(models) > 1:
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(models), fontsize=8, frameon=False)
    return _finish(figure, title, "svg")


def cases(title: str, shown: Sequence[Case]) -> bytes:
    """Draw people with their true and predicted joints; predictions of joints that are not annotated are left out.

    Returns
    -------
    bytes
        A PNG picture.
    """
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = _figure(columns, rows, 2.0, 2.5)
    for panel, case in zip(axes, shown, strict=False):
        if case.image is not None:
            panel.imshow(case.image, interpolation="bilinear")
        else:
            panel.set_facecolor("#f4f2ee")
        judged = np.where(np.isnan(case.truth), np.nan, case.predicted)
        _skeleton(panel, case.truth, case.order, _TRUE)
        _skeleton(panel, judged, case.order, _GUESSED)
        _frame(panel, case)
        panel.set_title(f"{case.title}\n{case.subtitle}", fontsize=7.5, color=_INK)
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in axes[len(shown) :]:
        panel.set_visible(False)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, linewidth=2.5) for color in (_TRUE, _GUESSED)]
    figure.legend(handles, ["true", "predicted"], loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return _finish(figure, title, "png")


def _skeleton(panel: Any, xy: NDArray[np.float64], order: PartOrder, color: str) -> None:
    for a, b in order.limbs:
        ends = xy[[order.index(a), order.index(b)]]
        panel.plot(ends[:, 0], ends[:, 1], color=color, linewidth=1.6, alpha=0.9, solid_capstyle="round")
    panel.plot(xy[:, 0], xy[:, 1], "o", color=color, markersize=2.6, markeredgecolor="white", markeredgewidth=0.3)


def _frame(panel: Any, case: Case) -> None:
    """Show the whole image, or the people with a margin; y downwards, and the same scale on both axes."""
    if case.image is not None:
        height, width = case.image.shape[:2]
        panel.set_xlim(-0.5, width - 0.5)
        panel.set_ylim(height - 0.5, -0.5)
        return
    both = np.concatenate([case.truth, case.predicted])
    low, high = np.nanmin(both, axis=0), np.nanmax(both, axis=0)
    middle, half = (low + high) / 2, 0.58 * max(float((high - low).max()), 1.0)
    panel.set_xlim(middle[0] - half, middle[0] + half)
    panel.set_ylim(middle[1] + half, middle[1] - half)
    panel.set_aspect("equal")


def _figure(columns: int, rows: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height + 0.45), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.ravel())


def _finish(figure: Any, title: str, kind: str) -> bytes:
    import matplotlib as mpl

    figure.suptitle(title, fontsize=11.5, color=_INK, x=0.01, ha="left")
    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "cpm_port"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=130, facecolor="white", metadata=metadata)
    return stream.getvalue()
