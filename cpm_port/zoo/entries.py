"""What is known of each model: its net, the preprocessing that belongs to it, its scores, its file.

First step of the room. The nets are our generated files of the same layers as the released ones (`prototxt/`). Scores
are not typed here: an official model names rows of `reference_results/`, our own is scored in
`reference_results/default_model.json` (`cpm_port.evaluation.recorded`).

Source: the reference notes, `caffe_facts.md` (the released models) and `release_testing.md` section 5. They give no
address of the files, only that the host which the release names no longer answers; so the entries' `urls` are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpm_port import release
from cpm_port.errors import UsageError
from cpm_port.evaluation.recorded import default_record
from cpm_port.evaluation.tables import read_tables
from cpm_port.parts import CPM14, FLIC9, PartOrder
from cpm_port.resources import resource_dir

__all__ = [
    "ENTRIES",
    "GONE",
    "LICENCE",
    "ModelEntry",
    "ModelScore",
    "model_named",
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
    own_scores : tuple of ModelScore or None
        Of a model of the user's own (`own.py`): what its training measured; None: it is none.

    Examples
    --------
    >>> from cpm_port.zoo import ENTRIES
    >>> entry = ENTRIES["flic-4s"]
    >>> len(entry.part_order), entry.box, entry.file_name
    (9, (368, 368), 'pose_iter_40000.caffemodel')
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
    own_scores: tuple[ModelScore, ...] | None = None


@dataclass(frozen=True)
class ModelScore:
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

    Examples
    --------
    >>> from cpm_port.zoo import model_named, scores
    >>> score = scores(model_named("mpii-lsp-6s"))[0]
    >>> score.protocol, score.threshold, score.status
    ('lsp-pc', 0.2, 'published')
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
    "our own, trained on the Leeds sets and a part of MPII, part of the package",
    _DEFAULT_FOLDER / "deploy.prototxt",
    CPM14,
    box=(176, 176),
    center_sigma=release.center_sigma(176),
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
    """Return a model by name; UsageError lists the names.

    Examples
    --------
    >>> from cpm_port.zoo import model_named
    >>> model_named("mpii-lsp-6s").title
    'official, trained on MPII and LSP, 6 stages'
    """
    if name not in ENTRIES:
        raise UsageError(f"model {name!r} is unknown; expected one of {', '.join(ENTRIES)}, or a model's folder")
    return ENTRIES[name]


def scores(entry: ModelEntry) -> tuple[ModelScore, ...]:
    """Return a model's scores, each with its protocol; none for a default model that has no record yet.

    Raises
    ------
    DataError
        The default model's record is not what it should be.

    Examples
    --------
    >>> from cpm_port.zoo import model_named, scores
    >>> [score.status for score in scores(model_named("mpii-6s"))]
    ['published']
    """
    if entry.own_scores is not None:
        return entry.own_scores
    if entry.embedded:
        return tuple(_measured(score) for score in (default_record() or {}).get("scores", ()))
    rows = {row.id: (row, reference) for reference in read_tables() for row in reference.rows}
    found = [rows[name] for name in entry.rows]
    return tuple(
        ModelScore(reference.dataset, row.split, row.protocol, row.threshold, row.published, "published", row.source)
        for row, reference in found
    )


def _measured(score: Mapping[str, Any]) -> ModelScore:
    return ModelScore(
        score["dataset"],
        score["split"],
        score["protocol"],
        score["threshold"],
        {name: float(value) for name, value in score["values"].items()},
        "measured here",
        score["source"],
    )
