"""What is known of each model: its net, the preprocessing that belongs to it, its scores, its file.

First step of the room. The nets are our generated files of the same layers as the released ones (`prototxt/`). Scores
are not typed here: an official model names rows of `reference_results/`, our own is scored in
`reference_results/default_model.json`, of which this room reads

- `weights`: `sha256` and `bytes` of the shipped file;
- `scores`: a list of `dataset`, `split`, `protocol`, `threshold`, `values` (by column, percent), `hits`, `count` and
  `source` (the command that measured them);

everything else in it is for its readers.

Source: the reference notes, `caffe_facts.md` (the released models) and `release_testing.md` section 5. They give no
address of the files, only that the host which the release names no longer answers; so the entries' `urls` are empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpm_port import release
from cpm_port.errors import DataError, UsageError
from cpm_port.evaluation.reference import Row, load_all
from cpm_port.parts import CPM14, FLIC9, PartOrder
from cpm_port.resources import resource_dir

__all__ = [
    "ENTRIES",
    "GONE",
    "LICENCE",
    "ModelEntry",
    "Score",
    "default_record",
    "model_named",
    "recorded_row",
    "scores",
]

LICENCE = (
    "The authors of the official models offer them for non-commercial research only; "
    "whoever uses them is bound by that."
)
GONE = "the host that the release names no longer answers (users report it since 2016)"

_PERSON = PartOrder("person1", ("person",), ())


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes
    ----------
    name : str
        Stable name, for `--model`.
    title : str
        What it is, in words.
    net : Path
        Its deploy prototxt.
    part_order : PartOrder
        Parts in the order of its maps; a background map follows (`person`: none).
    box : (int, int)
        Height and width of its input, px.
    center_sigma : float or None
        Standard deviation of its center map, box px; None: it takes no center map.
    file_name : str
        What its authors call the weights' file.
    rows : tuple of str
        Ids of its rows in `reference_results/`.
    sha256 : str or None
        Of the weights' file, where it is known.
    urls : tuple of str
        Where the file can be fetched.
    embedded : bool
        Whether the weights ship with the package, beside `net`.
    """

    name: str
    title: str
    net: Path
    part_order: PartOrder
    box: tuple[int, int]
    center_sigma: float | None
    file_name: str
    rows: tuple[str, ...] = ()
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    embedded: bool = False


@dataclass(frozen=True)
class Score:
    """One score and how it came about.

    Attributes
    ----------
    dataset, split, protocol : str
        What was scored and how (`cpm_port.evaluation.protocols`).
    threshold : float or None
        Fraction of the protocol's normalizer.
    values : dict of str to float
        Percent, by column and "total".
    status : {"published", "measured here"}
        Printed by `source`, or measured by its command.
    source : str
        The work and its place, or the command.
    """

    dataset: str
    split: str
    protocol: str
    threshold: float | None
    values: Mapping[str, float]
    status: str
    source: str


_DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / "models" / "default"

_DEFAULT = ModelEntry(
    "default",
    "our own, trained on the extended Leeds set, part of the package",
    _DEFAULT_FOLDER / "deploy.prototxt",
    CPM14,
    box=(184, 184),
    center_sigma=release.center_sigma(184),
    file_name="default.caffemodel",
    embedded=True,
)


def _official(
    name: str, title: str, net: str, parts: PartOrder, file_name: str, rows: tuple[str, ...], **other: Any
) -> ModelEntry:
    path = resource_dir("prototxt") / f"{net}_deploy.prototxt"
    usual = {"box": (release.BOX_SIZE, release.BOX_SIZE), "center_sigma": release.CENTER_SIGMA}
    return ModelEntry(name, title, path, parts, file_name=file_name, rows=rows, **{**usual, **other})


_OFFICIAL = (
    _official(
        "mpii-lsp-6s", "official, trained on MPII and LSP, 6 stages", "mpi", CPM14,
        "pose_iter_985000_addLEEDS.caffemodel", ("lsp-pc/MPII_LSP_6s@0.2", "mpii-test/CPM+LSP-leaderboard"),
    ),
    _official(
        "mpii-6s", "official, trained on MPII, 6 stages", "mpi", CPM14, "pose_iter_630000.caffemodel",
        ("mpii-test/CPM",),
    ),
    _official(
        "lsp-6s", "official, trained on LSP, 6 stages", "leeds", CPM14, "pose_iter_395000.caffemodel",
        ("lsp-pc/LSP_6s@0.2",),
    ),
    _official(
        "flic-4s", "official, trained on FLIC, 4 stages", "flic", FLIC9, "pose_iter_40000.caffemodel",
        ("flic-gt-torso/FLIC_4s@0.2",),
    ),
    _official(
        "mpii-vgg", "official, trained on MPII from VGG's first layers, 6 stages", "mpi_vgg", CPM14,
        "pose_iter_320000.caffemodel", ("mpii-test/CPM-VGG",),
    ),
    _official(
        "person", "official, finds the centers of people, 4 stages", "person", _PERSON, "pose_iter_70000.caffemodel",
        (), box=(376, 656), center_sigma=None,
    ),
)  # fmt: skip

ENTRIES = {entry.name: entry for entry in (_DEFAULT, *_OFFICIAL)}


def model_named(name: str) -> ModelEntry:
    """Return a model by name; UsageError lists the names."""
    if name not in ENTRIES:
        raise UsageError(f"model {name!r} is unknown; expected one of {', '.join(ENTRIES)}")
    return ENTRIES[name]


def scores(entry: ModelEntry) -> tuple[Score, ...]:
    """Return a model's scores, each with its protocol; of the default model none before it is there.

    Raises
    ------
    DataError
        The default model's record is not what it should be.
    """
    if entry.embedded:
        return tuple(_measured(score) for score in (default_record() or {}).get("scores", ()))
    rows = {row.id: (row, reference) for reference in load_all() for row in reference.rows}
    found = [rows[name] for name in entry.rows]
    return tuple(
        Score(reference.dataset, row.split, row.protocol, row.threshold, row.published, "published", row.source)
        for row, reference in found
    )


def recorded_row(weights_sha256: str, protocol: str, threshold: float, count: int) -> Row | None:
    """Return what the default model's record says of a score, to hold a new measurement against.

    Parameters
    ----------
    weights_sha256 : str
        Of the weights that were scored: another file has no recorded score.
    protocol, threshold
        Of the score.
    count : int
        Joints that were counted: of other people nothing is recorded.
    """
    record = default_record()
    if record is None or record["weights"]["sha256"] != weights_sha256:
        return None
    for score in record["scores"]:
        if (score["protocol"], score["threshold"], score.get("count")) == (protocol, threshold, count):
            target = {**score["values"], "total hits": score["hits"]}
            target |= {"auc": score["auc"]} if score.get("auc") is not None else {}
            return Row(
                "default", "default", score["split"], protocol, threshold, "measured here", {}, score["source"], target,
                0.0, None, {}, "",
            )  # fmt: skip
    return None


def default_record() -> dict[str, Any] | None:
    """Return `reference_results/default_model.json`; None where there is none.

    Raises
    ------
    DataError
        It is no JSON, or lacks what this room reads (see the module).
    """
    path = resource_dir("reference_results") / "default_model.json"
    if not path.is_file():
        return None
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        digest, size = content["weights"]["sha256"], content["weights"]["bytes"]
        whole = len(bytes.fromhex(digest)) == 32 and isinstance(size, int)
        found: list[Score] = [_measured(score) for score in content["scores"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the record of the default model ({type(error).__name__}: {error})") from error
    if not whole or not found:
        raise DataError(f"{path}: the weights' SHA-256 and size, and a score, expected")
    return dict(content)


def _measured(score: Mapping[str, Any]) -> Score:
    return Score(
        score["dataset"],
        score["split"],
        score["protocol"],
        score["threshold"],
        {name: float(value) for name, value in score["values"].items()},
        "measured here",
        score["source"],
    )
