"""A run's records as a picture: loss per loss layer and validation PCK per stage over the iterations.

Flow: `.jsonl` of a run -> **SVG or PNG**, as the suffix says.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cpm_port.errors import DataError, UsageError
from cpm_port.files.atomic import atomic_path

__all__ = ["plot_run", "require_picture_suffix"]

_SIZE = (7.2, 3.0)
Series = dict[str, tuple[list[float], list[float]]]


def require_picture_suffix(path: str | os.PathLike[str]) -> None:
    """Raise UsageError where matplotlib writes no pictures of that suffix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix[1:] not in known:
        raise UsageError(f"{os.fspath(path)}: a picture's suffix expected, one of {', '.join(sorted(known))}")


def plot_run(records: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw a run: losses (logarithmic) on the left and, where there are validations, PCK on the right.

    Parameters
    ----------
    records : iterable of dict
        As `read_metrics` gives them.
    path : path-like
        Written; the suffix chooses the form.
    title : str

    Raises
    ------
    DataError
        No record tells a loss.
    UsageError
        Not the suffix of a picture.
    """
    require_picture_suffix(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = list(records)
    losses = _series((r["iteration"], r["losses"]) for r in records if r["kind"] == "train")
    scores = _series((r["iteration"], r["stages"]) for r in records if r["kind"] == "validation")
    if not losses:
        raise DataError("a picture of a run: no record of kind 'train'")
    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if scores else 1, squeeze=False)[0]
    _lines(axes[0], losses, "loss")
    axes[0].set_yscale("log")
    if scores:
        _lines(axes[1], scores, "validation PCK@0.2, %")
        axes[1].set_ylim(0, 100)
    figure.suptitle(title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:], dpi=110)


def _series(points: Iterable[tuple[int, Mapping[str, float]]]) -> Series:
    series: Series = defaultdict(lambda: ([], []))
    for iteration, values in points:
        for name, value in values.items():
            series[name][0].append(iteration)
            series[name][1].append(value)
    return dict(series)


def _lines(axes: Any, series: Series, label: str) -> None:
    for name, (x, y) in series.items():
        axes.plot(x, y, linewidth=1.2, label=name)
    axes.set_xlabel("iteration", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.legend(fontsize=7, frameon=False)
