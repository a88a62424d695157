"""The report of `inspect.py` as text: a table of layers, totals, receptive fields, then what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cpm_port.report.table import table

__all__ = ["inspect_text"]


def inspect_text(report: dict[str, Any]) -> str:
    """Return what `inspect_file` found, to be read."""
    lines = [f"{report['file']}: {report['kind']}, {report['bytes']:,} bytes"]
    if "layers" in report:
        lines += _net(report)
    if "arrays" in report:
        lines += _arrays(report)
    if report["kind"] == "solver":
        lines += _fields(report["fields"])
    if report["kind"] == "solver state":
        lines += [
            f"iteration {report['iteration']:,}, weights in {report['learned_net']!r}, step {report['current_step']}",
            f"history: {len(report['history'])} arrays, {sum(_count(a['shape']) for a in report['history']):,} values",
        ]
    if report["kind"] == "mean":
        low, high, mean = (_number(report[key]) for key in ("minimum", "maximum", "mean"))
        lines.append(f"{_shape(report['shape'])}, values {low} to {high}, mean {mean}")
    if report.get("notes"):
        lines += ["", "notes:", *(f"  {note}" for note in report["notes"])]
    return "\n".join(lines)


def _net(report: dict[str, Any]) -> list[str]:
    inputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in report["inputs"].items())
    lines = [
        f"net {report['net']!r}, " + ", ".join(f"{key} {report[key]}" for key in ("generation", "dialect", "phase")),
        f"inputs: {inputs or 'none'}",
        "",
    ]
    rows = [["layer", "type", "reads", "gives", "parameters", "FLOPs"]]
    for layer in report["layers"]:
        tops = [f"{top} {_shape(shape)}" for top, shape in zip(layer["tops"], layer["shapes"], strict=True)]
        row = [layer["name"], layer["type"], ", ".join(layer["bottoms"]), ", ".join(tops)]
        rows.append([*row, _integer(layer["parameters"]), _integer(layer["flops"])])
    lines += table(rows, right=(4, 5))
    foreign = {layer["type"]: layer["origin"] for layer in report["layers"] if layer["origin"] != "upstream"}
    if foreign:
        lines += ["", "types that upstream Caffe does not have:"]
        lines += [f"  {kind}: {origin}" for kind, origin in sorted(foreign.items())]
    lines += [
        "",
        f"parameters: {_integer(report['parameters'])}",
        f"FLOPs: {_integer(report['flops'])} (a multiply-add is two; convolutions, inner products)",
    ]
    if report["flops_untold"]:
        lines.append(f"not counted: layers of type {', '.join(report['flops_untold'])}, which do not tell their FLOPs")
    if report["memory"]:
        mib = {key: f"{value / 2**20:,.1f} MiB" for key, value in report["memory"].items()}
        lines.append(
            f"memory, estimated for these shapes in float32: weights {mib['weights_bytes']}, "
            f"a forward pass {mib['forward_bytes']}, training by SGD {mib['training_bytes']}"
        )
    lines += ["", *_receptive(report["outputs"])]
    if report["unsupported"]:
        lines += ["", f"{len(report['unsupported'])} layers that this package cannot run:"]
        lines += [f"  {entry['layer']} ({entry['type']}): {entry['reason']}" for entry in report["unsupported"]]
    else:
        lines += ["", "every layer is supported"]
    if report["shapes_unknown"]:
        lines += ["", "shapes not known:", *(f"  {reason}" for reason in report["shapes_unknown"])]
    return lines


def _receptive(outputs: list[dict[str, Any]]) -> list[str]:
    rows = [["output", "shape", "sees of the input, px", "paper's count, px", "sees of the maps before, cells"]]
    for output in outputs:
        cells = _field(output.get("cells_of_previous"))
        before = f"{cells} of {output['previous']}" if "previous" in output else ""
        field, papers = _field(output["receptive_field"]), _field(output.get("papers_count"))
        rows.append([output["blob"], _shape(output["shape"]), field, papers, before])
    return table(rows)


def _arrays(report: dict[str, Any]) -> list[str]:
    rows = [["layer", "array", "shape", "type", "minimum", "maximum", "mean", "not finite"]]
    for layer, arrays in report["arrays"].items():
        for index, array in enumerate(arrays):
            numbers = [_number(array[key]) for key in ("minimum", "maximum", "mean")]
            flaw = str(array["not_finite"]) if array["not_finite"] else ""
            rows.append([layer, str(index), _shape(array["shape"]), array["dtype"], *numbers, flaw])
    return ["", *table(rows, right=(4, 5, 6, 7)), "", f"stored parameters: {report['stored_parameters']:,}"]


def _fields(fields: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            lines += (
                [f"{indent}{key}:", *_fields(item, indent + "  ")]
                if isinstance(item, dict)
                else [f"{indent}{key}: {item}"]
            )
    return lines


def _shape(shape: Sequence[int] | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape)) or "one value"


def _field(field: Any) -> str:
    return "" if field is None else field if isinstance(field, str) else f"{field[1]} x {field[0]}"


def _integer(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _count(shape: Sequence[int]) -> int:
    total = 1
    for dim in shape:
        total *= dim
    return total
