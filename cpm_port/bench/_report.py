"""The page of speed, from the recorded benches: a table, two pictures. `cpm-port bench report` writes them.

Nothing is typed by hand: what stands between `BEGIN` and `END` in `PAGE` is `markdown(records)`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpm_port.bench._records import BenchRecord, read_records, records_folder
from cpm_port.errors import CpmPortError, DataError, UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.checkout import checkout

__all__ = ["BEGIN", "END", "PAGE", "growth_picture", "markdown", "speed_picture", "write_report"]

PAGE = "docs/reference/speed.md"
BEGIN, END = "<!-- written by `cpm-port bench report` -->", "<!-- end -->"

_ROWS = (  # bench, what it measures, our side
    ("person", "a person at seven scales, image to joints", "ours"),
    ("net", "one pass of the net", "ours"),
    ("read", "the 125 MB model from disk to arrays", "ours"),
    ("resize", "the seven boxes of a 1920 x 1080 image", "1920 x 1080, ours"),
    ("score", "a million joints counted at 50 thresholds", "ours"),
    ("augment", "a training image turned by 25 degrees", "turn 25 degrees, ours"),
)
_BARS = (("person", "a person at seven scales"), ("net", "one pass of the net"))
_OURS, _OTHERS, _INK = "#1f5fa8", "#a9b4c0", "#222222"


def write_report() -> list[Path]:
    """Write pictures and page of the checkout from its records; return what was written.

    Raises
    ------
    UsageError
        No checkout, nothing recorded, or no place for it in the page.
    DataError
        A record is not what its bench gives.
    """
    root, records = checkout(), read_records(records_folder())
    if not records:
        raise UsageError(f"nothing is recorded in {records_folder()}; `cpm-port bench --record` does it")
    page = root / PAGE
    try:
        pictures = {root / "docs/pictures/speed.svg": speed_picture(records)}
        if "scaling" in records:
            pictures[root / "docs/pictures/growth.svg"] = growth_picture(records["scaling"])
        text = with_report(page.read_text(encoding="utf-8"), records)
    except CpmPortError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{records_folder()}: a record lacks a value that the report shows ({error!r}); "
            f"there are {', '.join(records)}; record that bench again"
        ) from error
    for path, content in {**pictures, page: text.encode()}.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return [*pictures, page]


def with_report(page: str, records: Mapping[str, BenchRecord]) -> str:
    """Return the page with `markdown(records)` in its place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{PAGE} has no place for the report: expected a line {BEGIN!r} and a line {END!r}")
    return f"{before}{BEGIN}\n\n{markdown(records)}\n{END}{after}"


def markdown(records: Mapping[str, BenchRecord]) -> str:
    """Return the table, the machine, and what was found beside the times."""
    lines = ["| `cpm-port bench` | ours | times faster than |", "| --- | --- | --- |"]
    for name, what, side in _ROWS:
        if name in records:
            result = records[name].result
            prefix = side.removesuffix("ours")
            ratios = [
                f"{peer.removeprefix(prefix).removesuffix(', the forwards')} {_number(ratio)}"
                for peer, ratio in result["ratios"].items()
                if peer.startswith(prefix)
            ]
            lines.append(f"| `{name}`: {what} | {_seconds(result['medians'][side])} | {', '.join(ratios)} |")
    lines += ["", *_sentences(records), "", *_machines(records), ""]
    lines += ["![Seconds of each side](../pictures/speed.svg)", ""]
    if "scaling" in records:
        lines += ["![How the cost of a person grows](../pictures/growth.svg)", ""]
        for name, growth in records["scaling"].result["growth"].items():
            lines.append(f"- {name}: {_line(growth)}; {growth['meaning']}.")
    return "\n".join(lines) + "\n"


def speed_picture(records: Mapping[str, BenchRecord]) -> bytes:
    """Return an SVG: a bar for each side of `person` and `net`, the ratio behind each."""
    shown = [(records[name].result, title) for name, title in _BARS if name in records]
    if not shown:
        raise DataError("neither `person` nor `net` is recorded: there is no speed to draw")
    figure, axes = _figure(1, len(shown), 8.4, 0.5 + 1.75 * len(shown))
    for panel, (result, title) in zip(axes, shown, strict=True):
        medians = dict(sorted(result["medians"].items(), key=lambda item: -item[1]))
        names = [name.removesuffix(", the forwards") for name in medians]
        bars = panel.barh(names, list(medians.values()), color=[_OURS if n == "ours" else _OTHERS for n in names])
        labels = [
            _seconds(seconds) + (f"  ({_number(result['ratios'][name])} x)" if name in result["ratios"] else "")
            for name, seconds in medians.items()
        ]
        panel.bar_label(bars, labels, padding=4, fontsize=8, color=_INK)
        panel.set_xlim(0, 1.2 * max(medians.values()))
        panel.set_title(f"{title}, seconds", fontsize=9.5, loc="left", color=_INK)
    return _svg(figure)


def growth_picture(record: BenchRecord) -> bytes:
    """Return an SVG: a panel for each series of `scaling`, its points and its line."""
    series = record.result["series"]
    figure, axes = _figure(len(series), 1, 2.1 * len(series), 2.3)
    for panel, (name, seconds) in zip(axes, series.items(), strict=True):
        growth = record.result["growth"][name]
        x = [float(value) for value in seconds]
        panel.plot(x, [growth["offset"] + growth["slope"] * value for value in x], color=_OTHERS, linewidth=1.2)
        panel.plot(x, list(seconds.values()), "o", color=_OURS, markersize=4)
        panel.set_ylim(0, 1.1 * max(seconds.values()))
        panel.set_xlabel(name, fontsize=8.5, color=_INK)
        panel.set_title(_line(growth), fontsize=8, color=_INK)
    axes[0].set_ylabel("seconds", fontsize=8.5, color=_INK)
    return _svg(figure)


def _sentences(records: Mapping[str, BenchRecord]) -> list[str]:
    found = []
    if "person" in records:
        result = records["person"].result
        shares = " and ".join(f"{share:.1f} % at {size}" for size, share in result["before_and_after_percent"].items())
        found.append(f"Pyramid, merging and peaks take {shares} of a person's time; the net takes the rest.")
        peaks = result["peak_memory_by_bound_mib"]
        if peaks:
            text = ", ".join(f"{peak['peak MiB']} MiB with {bound}" for bound, peak in peaks.items())
            found.append(f"Peak memory of the whole process by `--memory-bound` (MiB): {text}.")
        found.append(f"Found equal first: {result['parity']}.")
    if "net" in records:
        seconds = records["net"].result["reading"]["from files to a ready net"]
        found.append(f"From the 125 MB model to a ready net: {seconds:.2f} s beyond importing torch.")
    return found


def _machines(records: Mapping[str, BenchRecord]) -> list[str]:
    """Say where and when, once for all records that agree."""
    said: dict[str, list[str]] = {}
    for name, record in records.items():
        machine = record.machine
        versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
        text = (
            f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, "
            f"load before {machine['load before']}; {versions}; {record.date}, commit {machine['commit']}"
        )
        said.setdefault(text, []).append(f"`{name}`")
    return [f"Measured ({', '.join(names)}): {text}." for text, names in said.items()]


def _line(growth: Mapping[str, Any]) -> str:
    sign = "-" if growth["slope"] < 0 else "+"
    return f"{growth['offset']:.2g} s {sign} {abs(growth['slope']):.2g} s each"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.995 else f"{1e3 * seconds:.3g} ms"


def _number(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _figure(columns: int, rows: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in axes:
        panel.tick_params(labelsize=8, colors=_INK)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> bytes:
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cpm_port"}):
        figure.savefig(stream, format="svg", facecolor="white", metadata={"Date": None})
    return stream.getvalue()
