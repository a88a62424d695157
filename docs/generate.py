"""The pages of the reference that are made from the code: `python docs/generate.py` writes them (`make docs` does).

They stand in the repository, so that they can be read without building anything; `tests/test_docs.py` holds them to
what this file makes. A page is a function from nothing to its text.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cpm_port import errors
from cpm_port.bench._records import read_records
from cpm_port.cli import VERBS
from cpm_port.evaluation.own import OWN_PROTOCOLS
from cpm_port.evaluation.protocols import PROTOCOLS
from cpm_port.evaluation.recorded import default_record
from cpm_port.evaluation.reference import load_all
from cpm_port.evaluation.tables import Row
from cpm_port.graph import supported_types
from cpm_port.graph.sources import SOURCE_TYPES
from cpm_port.zoo import ENTRIES, LICENCE, scores
from cpm_port.zoo.entries import GONE

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- written by docs/generate.py: change the code, then run `make docs` -->"

GROUPS = {
    "Vision": "Convolution Deconvolution Pooling SPP Crop Im2col LRN",
    "Element by element": "ReLU PReLU ELU Sigmoid TanH AbsVal BNLL Power Exp Log Threshold Clip Swish Dropout",
    "Whole blobs": "InnerProduct Embed Scale Bias BatchNorm MVN Softmax ArgMax Reduction Eltwise Parameter",
    "Over time": "RNN LSTM LSTMUnit",
    "Shape": "Concat Slice Split Flatten Reshape Tile BatchReindex Filter Silence HDF5Output",
    "Loss and measure": (
        "EuclideanLoss SoftmaxWithLoss SigmoidCrossEntropyLoss HingeLoss ContrastiveLoss "
        "MultinomialLogisticLoss InfogainLoss Accuracy"
    ),
    "Of widely used forks": (
        "Permute PriorBox DetectionOutput Normalize ROIPooling SmoothL1Loss Upsample BN Interp DepthwiseConvolution "
        "ConvolutionDepthwise ReLU6 ImResize Nms Maximum Switch Axpy"
    ),
}
"""The layer types as the list shows them; what is in no group is listed last."""

_SOURCES = {
    "CPMData": "the CPM authors' data layer: `cpm-port train` reads its records and makes its batches",
    "Input": "what a deploy net is fed with",
}


def _types() -> list[str]:
    """Every supported layer type; not Python layers, which are there once `cpm_port.pycaffe` was imported."""
    return [kind for kind in supported_types() if kind != "Python"]


def verb_page(verb: str) -> str:
    """One verb: what it does, its arguments, from its parser."""
    parser = parser_of(verb)
    module = importlib.import_module(f"cpm_port.cli.{verb}")
    lines = [f"# cpm-port {verb}", "", NOTE, "", "```text", *(inspect.getdoc(module) or "").splitlines(), "```", ""]
    return "\n".join([*lines, *_arguments(parser, f"cpm-port {verb}")])


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the real parser of a verb."""
    parser = argparse.ArgumentParser(prog=f"cpm-port {verb}")
    importlib.import_module(f"cpm_port.cli.{verb}").configure(parser)
    return parser


def _arguments(parser: argparse.ArgumentParser, called: str) -> Iterator[str]:
    formatter = parser._get_formatter()
    deeper: list[tuple[str, argparse.ArgumentParser]] = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction):
                continue
            if isinstance(action, argparse._SubParsersAction):
                deeper += [(f"{called} {name}", sub) for name, sub in action.choices.items()]
                rows += [f"| `{choice.dest}` | {_cell(choice.help or '')} |" for choice in action._choices_actions]
                continue
            rows.append(f"| {_spelled(action, formatter)} | {_cell(_expanded(action, formatter))} |")
        if rows:
            yield from [
                f"**{(group.title or 'options').strip()}**",
                "",
                "| argument | meaning |",
                "| --- | --- |",
                *rows,
                "",
            ]
    for name, sub in deeper:
        yield from [f"## {name}", "", sub.description or "", "", *_arguments(sub, name)]


def _spelled(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    default = action.option_strings[-1].lstrip("-").upper() if action.option_strings else action.dest.upper()
    values = formatter._format_args(action, default) if action.nargs != 0 else ""
    names = ", ".join(action.option_strings)
    required = " (required)" if action.option_strings and action.required else ""
    return _cell(f"`{f'{names} {values}'.strip()}`") + required


def _expanded(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    return formatter._expand_help(action) if action.help else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands_page() -> str:
    """All verbs."""
    rows = [f"| [`cpm-port {verb}`](commands/{verb}.md) | {text} |" for verb, text in VERBS.items()]
    text = """\
Exit codes: 0 done, 1 a check failed, 2 bad input (of several files, any), 3 training stopped by a signal, with a
snapshot, 130 interrupted. `cpm-port VERB --help` says what these pages say; `cpm-port --version` the version."""
    return "\n".join(["# Command line", "", NOTE, "", text, "", "| command | does |", "| --- | --- |", *rows, ""])


def layers_page() -> str:
    """The layer types of the registry."""
    listed = {name for names in GROUPS.values() for name in names.split()}
    groups = {title: names.split() for title, names in GROUPS.items()}
    groups["Data, as inputs of the net"] = sorted(SOURCE_TYPES)
    rest = sorted(set(_types()) - listed - SOURCE_TYPES)
    if rest:
        groups["Others"] = rest
    lines = [
        "# Layer types",
        "",
        NOTE,
        "",
        f"""\
A net may hold these {len(_types())} types. Each of upstream Caffe that computes is held to real Caffe's
outputs and gradients (`tests/graph/test_layers.py`, 1e-5 relative), each of the forks to OpenCV's Caffe importer or
to loops written from the forks' descriptions (`tests/graph/test_fork_layers.py`). A net with another type, or with a
field that this package does not know, is refused with all of them listed (`UnsupportedLayerError`); none is skipped.
`cpm-port inspect FILE` tells before anything runs.
[A type of your own](../how-to/own_model.md#a-layer-type-of-your-own) is one class.
""",
    ]
    for title, names in groups.items():
        lines += [f"## {title}", "", "| type | what it does |", "| --- | --- |"]
        lines += [f"| `{name}` | {_cell(_layer_words(name))} |" for name in names]
        lines.append("")
    return "\n".join(lines)


def _layer_words(name: str) -> str:
    """Return the first sentence of the file that computes a type."""
    if name in SOURCE_TYPES:
        return _SOURCES.get(name, "an input of the net, fed by its user")
    from cpm_port.graph import registry

    module = inspect.getmodule(inspect.unwrap(registry._ENTRIES[name].builder))
    text = (inspect.getdoc(module) or "").split("\n\n")[0] if module is not None else ""
    first = " ".join(text.split())
    types, colon, words = first.partition(": ")
    return words if colon and name in types.split(", ") else first


def models_page() -> str:
    """The models of the zoo."""
    lines = [
        "# Models", "", NOTE, "",
        f"`--model NAME` chooses one. {LICENCE} They are not part of this package, and {GONE}:",
        "[where people find them](../start.md#the-official-weights).", "",
        "| name | what | parts | box | the authors' file |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for entry in ENTRIES.values():
        box = f"{entry.box[0]} x {entry.box[1]}"
        parts = f"{len(entry.part_order)} ({entry.part_order.name})"
        lines.append(f"| `{entry.name}` | {entry.title} | {parts} | {box} | `{entry.file_name}` |")
    lines += ["", "## What they score", "", "| model | data | protocol | score, % | status | source |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for entry in ENTRIES.values():
        for score in scores(entry):
            at = "" if score.threshold is None else f" @{score.threshold:g}"
            lines.append(
                f"| `{entry.name}` | {score.dataset} {score.split} | `{score.protocol}`{at} | {_values(score.values)} "
                f"| {score.status} | {_cell(score.source)} |"
            )
    return "\n".join([*lines, ""])


def errors_page() -> str:
    """The leaves of CpmPortError, with what to do."""
    lines = [
        "# Errors, and what to do",
        "",
        NOTE,
        "",
        """\
Every error that is raised on purpose is a `cpm_port.CpmPortError`. Each leaf is also the built-in that you would
expect, so `except ValueError` keeps working. On the command line the message follows `cpm-port VERB:`, and the exit
code is 2. A message says where, what was found and what was expected.

If you meet a traceback instead, it is our fault: please report it with what
[`cpm-port doctor`](commands/doctor.md) prints.
""",
    ]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if kind is errors.CpmPortError:
            continue
        meaning, _, advice = (inspect.getdoc(kind) or "").partition("\n\n")
        also = ", ".join(f"`{base.__name__}`" for base in kind.__bases__ if base is not errors.CpmPortError)
        lines += [f"## {name}", "", f"{meaning} (Also a {also}.)", "", f"**What to do.** {advice}", ""]
    return "\n".join(lines)


def protocols_page() -> str:
    """The named protocols."""
    lines = [
        "# Protocols",
        "",
        NOTE,
        "",
        "A number without its protocol means nothing: [why](../concepts/protocols.md).",
        "",
    ]
    for protocol in PROTOCOLS.values():
        hit = "<" if protocol.strict else "<="
        rules = " ".join(inspect.cleandoc(protocol.rules).split("\n\n")[0].split())
        kind = "joints" if protocol.units[0] in protocol.convention.order.parts else "sticks"
        lines += [
            f"## {protocol.name}",
            "",
            rules,
            "",
            f"- data set: {protocol.dataset}; quoted at {protocol.threshold:g}; a hit is {hit} the threshold",
            f"- columns: {', '.join(protocol.columns)}; total: {protocol.total}; {len(protocol.units)} {kind}",
            "",
        ]
    lines += ["## Parts of one's own", "", "For annotation files that name their parts; one column per part.", ""]
    lines += [f"- `{name}`: {rules}" for name, rules in OWN_PROTOCOLS.items()]
    return "\n".join(lines)


def results_page() -> str:
    """Every number that is claimed, beside what was published."""
    lines = [
        "# Reproduction",
        "",
        NOTE,
        "",
        """\
Every number that this project claims, from `reference_results/`: what was published, what came out here, the command,
and the day on which it last did. *Recomputed*: from the authors' or others' prediction files. *Measured here*: on data
or with a model of our own. *Published*: cited, for no file can give it again. `ROOT` is a folder that you fill
([where the files come from](../how-to/score_my_file.md#every-published-number)). `cpm-port regress --data ROOT` runs
all rows of the tables at once, and fails when one changes (the tests do the same). What they say of
[the paper, figure by figure](../paper.md).
""",
    ]
    for reference in load_all():
        lines += [f"## {reference.title}", ""]
        if reference.rows:
            lines += ["| model | protocol | published | ours | status | on | command |", "| --- " * 7 + "|"]
            lines += [_result_row(row) for row in reference.rows]
        for fact in reference.facts:
            lines.append(f"- {fact.statement} (*published*: {fact.source})")
        notes = dict.fromkeys(f"`{row.model}`: {row.explanation}" for row in reference.rows if row.explanation)
        lines += ["", *(f"- {note}" for note in notes), ""] if notes else [""]
    record = default_record()
    if record is not None:
        lines += ["## The default model", "", "| data | protocol | ours, % | on | command |", "| --- " * 5 + "|"]
        for score in record["scores"]:
            lines.append(
                f"| {score['dataset']}, {score['split']} | `{score['protocol']}` @{score['threshold']:g} "
                f"| {_values(score['values'])} | {record.get('date', '-')} | `{_cell(score['source'])}` |"
            )
        lines += ["", "Measured again, all of it, by `python -m cpm_port.scorecard`; more in the model card.", ""]
    lines += _people_found()
    lines += [
        "## Speed", "",
        "Times, machine, versions and date stand on the page of [speed](speed.md), written from recorded runs.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _people_found() -> list[str]:
    """What the benches of several people recorded: of pictures and of a film."""
    records = read_records(DOCS.parent / "reference_results" / "benchmarks")
    lines = ["## Several people", "", "| drawn | ours, % | on | command |", "| --- " * 4 + "|"]
    for name, data, wanted in (
        ("crowd", "scenes_are", ("recall", "recall_visible", "precision", "pck_found", "first")),
        ("crossing", "film", ("right_id", "frames_right", "recall", "recall_visible", "precision")),
    ):
        if name in records:
            bench = records[name]
            values = _values({key.replace("_", " "): round(bench.result[key], 1) for key in wanted})
            lines.append(f"| `{bench.result[data]}` | {values} | {bench.date} | `{bench.command}` |")
    words = "What each is: the first lines of `cpm_port/bench/crowd.py` and `crossing.py`."
    return [*lines, "", f"{words} With the default model of that day.", ""]


def _result_row(row: Row) -> str:
    at = "" if row.threshold is None else f" @{row.threshold:g}"
    wanted = list(row.published or row.target)
    measured = {name: row.measured["values"][name] for name in wanted if name in row.measured.get("values", {})}
    published = _values(row.published) if row.published else "-"
    ours = _values(measured) if measured else "-"
    name = row.id.split("/", 1)[1].split("@")[0]
    done = f"{row.measured.get('date', '-')} | {_command(row)}" if row.inputs is not None else "- | -"
    return f"| {name} | `{row.protocol}`{at} | {published} | {ours} | {row.status} | {done} |"


def _command(row: Row) -> str:
    """The command that gives a row alone; `regress` where no other does."""
    assert row.inputs is not None
    if row.inputs.predictions.startswith("embedded/") or row.inputs.slip is not None:
        return f"`{row.measured.get('command', 'cpm-port regress')}`"
    at = "" if row.threshold == PROTOCOLS[row.protocol].threshold else f" --threshold {row.threshold:g}"
    files = f"--predictions ROOT/{row.inputs.predictions} --ground-truth ROOT/{row.inputs.truth}"
    return f"`cpm-port evaluate --protocol {row.protocol} {files}{at}`"


def _values(values: Any) -> str:
    return ", ".join(f"{name} {value:.3f}".rstrip("0").rstrip(".") for name, value in values.items())


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    **{f"reference/commands/{verb}.md": (lambda verb=verb: verb_page(verb)) for verb in VERBS},
    "reference/layers.md": layers_page,
    "reference/models.md": models_page,
    "reference/errors.md": errors_page,
    "reference/protocols.md": protocols_page,
    "reference/results.md": results_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
