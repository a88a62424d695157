"""The record as text for the model card, so that the card's numbers are the record's and cannot drift.

RECORD -> MARKDOWN. The card's text is written by hand; between two marks stands what `numbers` makes of the record. A
test (tests/scorecard) holds the two together.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from cpm_port.errors import DataError
from cpm_port.report.table import table

__all__ = ["BEGIN", "END", "around_numbers", "numbers"]

BEGIN = "<!-- numbers: written by python -m cpm_port.scorecard -->"
END = "<!-- end of numbers -->"
WIDTH = 120


def around_numbers(card: str) -> tuple[str, str]:
    """Return a model card's text up to its numbers, and from their end; the marks are in it.

    Raises
    ------
    DataError
        The card lacks a mark, has one twice, or has them the wrong way round.
    """
    head, begin, rest = card.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or card.count(BEGIN) != 1 or card.count(END) != 1:
        raise DataError(f"the model card must have {BEGIN!r} and then {END!r}, once each")
    return head + BEGIN, END + tail


def numbers(record: Mapping[str, Any]) -> str:
    """Return the record's numbers as Markdown, with an empty line at either end."""
    net, weights, training, stages = (record[key] for key in ("net", "weights", "training", "stages"))
    poses, drawn, candidates = (record[key] for key in ("by_pose", "drawn_people", "candidates"))
    ways, searched = record["ways"], record["searched"]
    lsp, held_out = record["scores"]
    people, machine = drawn["people"], candidates["speed"]["machine"]
    blocks = [
        _text(
            f"{net['stages']} stages, {net['parts']} parts, box {net['box']} x {net['box']}: {net['parameters']:,} "
            f"weights in {weights['bytes']:,} bytes, {net['flops_per_forward'] / 1e9:.2f} GFLOP per box; trained for "
            f"{sum(run['hours'] for run in training['runs']):.2f} hours on {training['samples_seen']:,} examples. "
            f"SHA-256 of the weights: `{weights['sha256']}`."
        ),
        _score(lsp),
        _code(_joints(lsp["joints"])),
        _text(f"By way of looking ({ways['what']}):"),
        _code(_ways(ways)),
        _text(f"By stage ({stages['what']}):"),
        _code(_stages(stages)),
        _text(f"By pose ({poses['what']}):"),
        _code(_poses(poses)),
        _sides(record["left_and_right"]),
        _exchanged(record["left_and_right"]["people"]),
        _text(
            f"**{searched['people']} people whose place is not given** ({searched['what']}): "
            f"**{searched['percent']:.2f} %**, {searched['hits']} of {searched['count']} joints."
        ),
        _score(held_out),
        _code(_joints(held_out["joints"])),
        _text(
            f"**Drawn people** ({people['count']} of seed {people['seed']}, {drawn['what']}): "
            f"**{drawn['percent']:.2f} %**, {drawn['hits']} of {drawn['count']} joints."
        ),
        _sides(drawn["left_and_right"]),
        _text(f"**Candidates**: {candidates['what']}."),
        _text(
            f"Milliseconds: {candidates['speed']['what']} ({machine['processor']}, threads {machine['threads']}, load "
            f"before {machine['load before']})."
        ),
        _code(_candidates(candidates["nets"])),
    ]
    return "\n\n" + "\n\n".join(blocks) + "\n\n"


def _score(score: Mapping[str, Any]) -> str:
    low, high = score["interval_95"]
    return _text(
        f"**{score['dataset']}, {score['split']}** (`{score['protocol']}` @{score['threshold']:g}): "
        f"**{score['values']['total']:.2f} %**, {score['hits']} of {score['count']} joints, 95 % interval "
        f"{low:.2f} to {high:.2f}, area under the curve {score['auc']:.2f}: {score['protocol_notes']}."
    )


def _sides(sides: Mapping[str, Any]) -> str:
    share = 100 * sides["other_side"] / max(1, sides["missed"])
    return _text(
        f"Of {sides['missed']} missed joints of arms and legs, {sides['other_side']} ({share:.2f} %) are where the "
        "prediction for the other side is: left and right are exchanged."
    )


def _exchanged(people: Mapping[str, Any]) -> str:
    right = people["put_right"]
    return _text(
        f"{people['people']} of {people['of']} people (**{people['percent']:.2f} %**) are found with left and right "
        f"exchanged as a whole: more of their joints are hit the other way round. Were they put right, "
        f"{right['hits']} joints ({right['percent']:.2f} %) would be hit."
    )


def _ways(ways: Mapping[str, Any]) -> list[str]:
    found = {name: way for name, way in ways.items() if name not in ("what", "protocol")}
    columns = [column for column in next(iter(found.values())) if column not in ("auc", "hits", "exchanged")]
    rows = [["", *(f"@{column}" for column in columns), "area", f"hits @{columns[-1]}", "exchanged"]]
    rows += [
        [name, *(f"{way[column]:.2f}" for column in (*columns, "auc")), str(way["hits"]), str(way["exchanged"])]
        for name, way in found.items()
    ]
    return table(rows, right=range(1, len(rows[0])))


def _joints(joints: Mapping[str, Any]) -> list[str]:
    rows = [["joint", "%", "hits", "of", "95 % interval"]]
    for name, score in joints.items():
        low, high = score["interval_95"]
        rows.append([name, *_three(score), f"{low:.2f} to {high:.2f}"])
    return table(rows, right=[1, 2, 3])


def _stages(stages: Mapping[str, Any]) -> list[str]:
    rows = [["stage", "blob", "single scale, %", "pyramid, %", "of"]]
    for number, (blob, score) in enumerate(stages["pyramid"].items(), 1):
        single = stages["single_scale"][blob]
        rows.append([str(number), blob, f"{single['percent']:.2f}", f"{score['percent']:.2f}", str(score["count"])])
    return table(rows, right=[0, 2, 3, 4])


def _poses(poses: Mapping[str, Any]) -> list[str]:
    groups = {name: group for name, group in poses.items() if name != "what"}
    rows = [["torso", "people", "%", "hits", "of"]]
    rows += [[name, str(group["people"]), *_three(group)] for name, group in groups.items()]
    return table(rows, right=[1, 2, 3, 4])


def _candidates(nets: list[Mapping[str, Any]]) -> list[str]:
    rows = [["net", "labels", "weights", "GFLOP", "ms, plain", "ms, engine", "iterations", "PCK, %"]]
    for net in nets:
        times = net["milliseconds"]
        rows.append(
            [
                net["command"].removeprefix("cpm-port prototxt "),
                net["labels"],
                f"{net['parameters'] / 1e6:.2f} M",
                f"{net['flops'] / 1e9:.2f}",
                f"{times['plain']:.1f}",
                f"{times['engine']:.1f}",
                str(net["iterations"]),
                f"{net['total']:.2f}",
            ]
        )
    return table(rows, right=range(2, 8))


def _three(score: Mapping[str, Any]) -> list[str]:
    percent = "" if score["percent"] is None else f"{score['percent']:.2f}"
    return [percent, str(score["hits"]), str(score["count"])]


def _code(lines: list[str]) -> str:
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _text(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
