"""The people of each data set that are trained on, from its label file, with what training asks of a sample.

FILES -> SAMPLES: the one door for writing training records, as `scored.py` is for scoring. Test people are left out,
and the extended Leeds set's held-out people (`lspet.HELD_OUT`). Center and scale are there, and so are the sizes of the
images as they are seen, which are opened for that. Two rules give center and scale where a data set tells nobody's:

- "limbs": the release's (`mpi_like_scale.py`), of people with any label;
- "box": the middle and the longer side of the box around the labelled joints (`lspet.with_label_box`).

Where it tells some people's, those are kept as they are, and the others left out, as the release does; they stay the
neighbours of those who share their image.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cpm_port.annotations.cleaning import Change, Opinion, clean
from cpm_port.annotations.flic import read_flic
from cpm_port.annotations.lsp import read_lsp, read_lspet
from cpm_port.annotations.lspet import HELD_OUT, usable, with_label_box
from cpm_port.annotations.mpi_like_scale import with_mpi_like_scale
from cpm_port.annotations.mpii import read_mpii
from cpm_port.annotations.samples import Sample
from cpm_port.errors import UsageError
from cpm_port.imaging.reading import image_size

__all__ = ["TRAINED", "ScaleRule", "TrainedChoices", "read_trained", "split_by_image"]

TRAINED = {"lsp": read_lsp, "lspet": read_lspet, "mpii": read_mpii, "flic": read_flic}
"""Data sets and the readers of their label files."""

ScaleRule = Literal["limbs", "box"]


@dataclass(frozen=True)
class TrainedChoices:
    """What a user decides about the people to train on.

    Attributes
    ----------
    scale : {"limbs", "box"}
        The rule for center and scale where the data set has none; with "box", of the extended Leeds set only people
        who are `lspet.usable`.
    opinion : Opinion or None
        Labels are cleaned by it (`cleaning.py`).
    without : collection of str
        Names of samples that are left out, for instance near copies of test images.
    validate_every : int or None
        Every so many-th image is marked as validation.
    """

    scale: ScaleRule = "limbs"
    opinion: Opinion | None = None
    without: Collection[str] = ()
    validate_every: int | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """The people, what was changed in their labels, and how many are left out who lack what others are told."""

    samples: list[Sample]
    changes: list[Change] = field(default_factory=list)
    before: list[Sample] = field(default_factory=list)
    unplaced: int = 0


def read_trained(
    dataset: str, labels: str | Path, images: str | Path, choices: TrainedChoices | None = None
) -> Trained:
    """Read the people to train on.

    Parameters
    ----------
    dataset : str
        A key of `TRAINED`.
    labels, images : path
        The data set's label file, and the folder of its images.
    choices : TrainedChoices, optional

    Raises
    ------
    MissingFileError, DataError
        As of the readers; or an image is not there, or is none.
    UsageError
        A name to leave out that no sample has, or `validate_every` below 2.
    """
    choices = choices or TrainedChoices()
    samples = [s for s in TRAINED[dataset](labels, images) if s.split != "test" and not _is_held_out(s)]
    samples = split_by_image(_without(samples, choices.without), choices.validate_every)
    told = [sample for sample in samples if sample.person.scale is not None and sample.person.center is not None]
    unplaced = len(samples) - len(told) if told else 0
    samples = _with_sizes(told or _scaled(samples, choices.scale))
    before = samples
    changes: list[Change] = []
    if choices.opinion is not None:
        samples, changes = clean(samples, choices.opinion)
    if dataset == "lspet" and choices.scale == "box":
        samples = usable(samples)
    return Trained(samples, changes, before, unplaced)


def split_by_image(samples: Sequence[Sample], every: int | None) -> list[Sample]:
    """Mark every so many-th image as validation, by the images' numbers, or by their order where they have none.

    Raises
    ------
    UsageError
        `every` is below 2.
    """
    if every is None:
        return list(samples)
    if every < 2:
        raise UsageError(f"every {every}-th image for validation: expected 2 or more")
    numbers: dict[Path | None, int] = {}
    result = []
    for sample in samples:
        number = sample.annolist_index or numbers.setdefault(sample.image, len(numbers) + 1)
        result.append(replace(sample, split="validation") if number % every == 0 else sample)
    return result


def _is_held_out(sample: Sample) -> bool:
    return sample.dataset == "LSPET" and sample.annolist_index in HELD_OUT


def _without(samples: Sequence[Sample], names: Collection[str]) -> list[Sample]:
    unknown = set(names) - {sample.name for sample in samples}
    if unknown:
        raise UsageError(f"left out: expected names of people to train on, got {', '.join(sorted(unknown))}")
    return [sample for sample in samples if sample.name not in names]


def _scaled(samples: Sequence[Sample], rule: ScaleRule) -> list[Sample]:
    if rule == "limbs":
        return with_mpi_like_scale([sample for sample in samples if sample.person.annotated.any()])
    boxed = map(with_label_box, samples)
    return [sample for sample in boxed if sample.person.scale is not None]


def _with_sizes(samples: Sequence[Sample]) -> list[Sample]:
    sizes: dict[Path, tuple[int, int]] = {}
    result = []
    for sample in samples:
        path = sample.require_image()
        if path not in sizes:
            sizes[path] = image_size(path)
        result.append(replace(sample, image_size=sizes[path]))
    return result
