"""Which prediction belongs to which annotated person: by name where both sides have names, else by place.

JOINTS -> METRICS, before anything is compared. COCO results come in any order, OpenPose names files, others number
images: rows in another order than the labels' would be scored as if everybody were somewhere else. So names are
matched where there are any, and where they say different people, that is an error.

How names are matched, the first rule under which every annotated person is found:

1. as they are;
2. without folders, image suffix and `_keypoints`;
3. the same, against the labels' names without the number of the person in the image (`_2`), where it has one person;
4. and 5. as 2 and 3, by the number at their end (`1001` is `im1001.jpg`), where both sides have the very same numbers.

Labels of a source without names have their place only (`Truth.named`); then predictions whose names count from 0 or 1
are taken in the order of their numbers, others in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpm_port.errors import DataError
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import Joints
from cpm_port.predictions.values import Predictions

__all__ = ["Matched", "match"]

_SUFFIX = re.compile(r"(_keypoints)?(\.(json|jpe?g|jpe|png|bmp|dib|gif|tiff?|webp|p[bgnp]m))?$", re.IGNORECASE)
_PERSON = re.compile(r"_\d+$")
_NUMBER = re.compile(r"\D*?0*(\d+)")


@dataclass(frozen=True, eq=False)
class Matched:
    """Predictions in the order of the labels.

    Attributes
    ----------
    predictions : Predictions
        One row for each annotated person; NaN for whom there is none.
    notes : tuple of str
        What was done to get there that a reader of the score should know.
    """

    predictions: Predictions
    notes: tuple[str, ...] = ()


def match(predictions: Predictions, truth: Truth) -> Matched:
    """Bring predictions into the order of the labels.

    Parameters
    ----------
    predictions : Predictions
    truth : Truth

    Raises
    ------
    DataError
        Names that say different people, or, without names, another number of people.
    """
    if predictions.names is None or predictions.names == truth.names:
        return Matched(_by_place(predictions, truth))
    found = _rows(predictions, truth)
    if found is not None:
        return _matched(predictions, truth, found)
    if truth.named:
        raise DataError(_difference(predictions, truth))
    numbers = [int(name) if name.isdigit() else None for name in predictions.names]
    counted = sorted(number for number in numbers if number is not None)
    if counted in (list(range(len(truth))), list(range(1, len(truth) + 1))):
        return _matched(predictions, truth, [numbers.index(number) for number in counted])
    return Matched(_by_place(predictions, truth))


def _by_place(predictions: Predictions, truth: Truth) -> Predictions:
    if len(predictions) != len(truth):
        raise DataError(
            f"{predictions.source} holds {len(predictions)} people, {truth.source} {len(truth)}; expected as many"
        )
    return predictions


def _rows(predictions: Predictions, truth: Truth) -> list[int | None] | None:
    """Return the row of each annotated person, None for one that is not there; None where no rule fits."""
    assert predictions.names is not None
    rules: list[tuple[Callable[[str], str | None], Callable[[str], str | None], bool]] = [
        (str, str, False),
        (_stem, _stem, False),
        (_stem, _image, False),
        (_number, _number, True),
        (_number, lambda name: _number(_image(name)), True),
    ]
    for of_prediction, of_truth, whole in rules:
        given = _unique([of_prediction(name) for name in predictions.names])
        asked = _unique([of_truth(name) for name in truth.names])
        if given is None or asked is None:
            continue
        complete = set(given) == set(asked) if whole else set(asked) <= set(given)
        part = predictions.only_found and truth.named and set(given) <= set(asked)
        if complete or part:
            return [given.get(key) for key in asked]
    return None


def _unique(keys: Sequence[str | None]) -> dict[str, int] | None:
    """Return key -> row in the order of the rows; None where a key is missing or comes twice."""
    rows = {key: row for row, key in enumerate(keys) if key is not None}
    return rows if len(rows) == len(keys) else None


def _stem(name: str) -> str:
    return _SUFFIX.sub("", re.split(r"[/\\]", name)[-1])


def _image(name: str) -> str:
    return _PERSON.sub("", _stem(name))


def _number(name: str) -> str | None:
    found = _NUMBER.fullmatch(_stem(name))
    return None if found is None else found.group(1)


def _matched(predictions: Predictions, truth: Truth, rows: Sequence[int | None]) -> Matched:
    there = [row is not None for row in rows]
    taken = [row or 0 for row in rows]
    convention = predictions.joints.convention
    xy = np.where(np.array(there)[:, None, None], predictions.joints.xy[taken], np.nan)
    scores = None if predictions.scores is None else np.where(np.array(there)[:, None], predictions.scores[taken], 0.0)
    notes = []
    known = [row for row in rows if row is not None]
    if known != sorted(known):
        notes.append(
            f"{predictions.source} lists people in another order than {truth.source}; they are matched by name"
        )
    if len(known) < len(predictions):
        notes.append(
            f"{len(predictions) - len(known)} of {len(predictions)} predictions are of nobody in {truth.source}"
        )
    if len(known) < len(rows):
        notes.append(
            f"{len(rows) - len(known)} of {len(rows)} people have no prediction in {predictions.source}: all their "
            "joints are misses"
        )
    return Matched(replace(predictions, joints=Joints(xy, convention), scores=scores, names=truth.names), tuple(notes))


def _difference(predictions: Predictions, truth: Truth) -> str:
    assert predictions.names is not None
    given, asked = set(map(_stem, predictions.names)), set(map(_stem, truth.names))
    lacking = [name for name in truth.names if _stem(name) not in given]
    foreign = [name for name in predictions.names if _stem(name) not in asked]
    return (
        f"{predictions.source}: the names of its {len(predictions)} people do not say who of the {len(truth)} in "
        f"{truth.source} each one is: {_some(lacking)} without a prediction, {_some(foreign)} not among the labels"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{len(names)} ({shown}{', ...' if len(names) > 3 else ''})" if names else "nobody"
