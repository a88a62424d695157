"""Claim: predictions meet the people they are of, by name; by place only where one side has no names.

Oracles: drawn people whose predictions are perfect, so that anybody else's would not be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from cpm_port.errors import DataError
from cpm_port.evaluation.matching import match
from cpm_port.evaluation.protocols import protocol_named
from cpm_port.evaluation.run import Subject, evaluate
from cpm_port.evaluation.truth import Truth
from cpm_port.parts import COCO18, LSP14, Convention, Joints, reorder
from cpm_port.predictions.values import Predictions
from tests.evaluation.support import drawn_people, predictions_of, truth_of

PEOPLE = 12


def _case(rows: Sequence[int], called: Sequence[str], **truth: object) -> tuple[Predictions, Truth]:
    """Return perfect predictions of the given rows of the labels, called so, and the labels."""
    people = drawn_people(LSP14, PEOPLE, 0)
    found = replace(predictions_of(people[list(rows)], LSP14), names=tuple(called))
    return found, replace(truth_of(people, LSP14), **truth)


def _score(predictions: Predictions, truth: Truth) -> tuple[int, int]:
    total = evaluate(protocol_named("lsp-pc"), Subject(predictions, truth, {})).result.total
    return total.hits, total.count


SCRAMBLED = np.random.default_rng(1).permutation(PEOPLE).tolist()


@pytest.mark.parametrize(
    "name",
    [
        lambda i: f"im{i + 1:04d}",
        lambda i: f"im{i + 1:04d}.jpg",
        lambda i: f"photos/test/im{i + 1:04d}.PNG",
        lambda i: f"im{i + 1:04d}_keypoints.json",
        lambda i: str(i + 1),
        lambda i: f"{i + 1:012d}.jpg",
        lambda i: f"frame_{i + 1}",
    ],
)
def test_people_in_another_order_are_found_by_their_names(name: Callable[[int], str]) -> None:
    predictions, truth = _case(SCRAMBLED, [name(i) for i in SCRAMBLED])
    assert _score(predictions, truth) == (168, 168)
    found = match(predictions, truth)
    assert found.predictions.names == truth.names
    assert "in another order than drawn labels; they are matched by name" in found.notes[0]


def test_a_persons_number_does_not_hide_the_image() -> None:
    names = tuple(f"{i + 1:09d}_1" for i in range(PEOPLE))
    assert _score(*_case(SCRAMBLED, [str(i + 1) for i in SCRAMBLED], names=names)) == (168, 168)
    assert _score(*_case(SCRAMBLED, [f"{i + 1:09d}.jpg" for i in SCRAMBLED], names=names)) == (168, 168)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (range(12), [f"im{i:04d}" for i in range(12)]),  # counted from 0, the labels from 1
        (range(12), [str(i) for i in range(12)]),
        (range(12), [f"person {chr(97 + i)}" for i in range(12)]),
        (range(12), [f"im{i + 1:04d}" for i in range(11)] + ["im0013"]),
        (range(11), [f"im{i + 1:04d}" for i in range(11)]),  # nothing says that nobody was found in the twelfth
    ],
)
def test_names_that_say_other_people_are_refused(rows: Sequence[int], names: Sequence[str]) -> None:
    predictions, truth = _case(rows, names)
    with pytest.raises(DataError, match=r"drawn predictions: the names of its .* without a prediction, .* the labels"):
        match(predictions, truth)


def test_predictions_of_more_people_are_those_of_the_labels_and_it_is_said() -> None:
    people = drawn_people(LSP14, PEOPLE, 0)
    truth = truth_of(people, LSP14)
    doubled = replace(
        predictions_of(np.concatenate([people + 50, people]), LSP14),
        names=(*(f"train{i}" for i in range(PEOPLE)), *truth.names),
    )
    assert _score(doubled, truth) == (168, 168)
    assert match(doubled, truth).notes == ("12 of 24 predictions are of nobody in drawn labels",)


def test_an_image_that_coco_results_do_not_list_is_all_misses_and_it_is_said() -> None:
    predictions, truth = _case(range(11), [str(i + 1) for i in range(11)])
    predictions = replace(predictions, only_found=True)
    scored = evaluate(protocol_named("lsp-pc"), Subject(predictions, truth, {}))
    assert (scored.result.total.hits, scored.result.total.count) == (154, 168)
    assert "1 of 12 people have no prediction in drawn predictions" in scored.notes[0]
    assert scored.notes[1] == "14 of 168 joints are not predicted: they count as misses"


def test_labels_without_names_go_by_place_or_by_numbers_that_count() -> None:
    nameless = {"named": False, "names": tuple(f"person{i + 1}of12" for i in range(PEOPLE))}
    assert _score(*_case(range(12), [f"photo {chr(97 + i)}" for i in range(12)], **nameless)) == (168, 168)
    for first in (0, 1):
        assert _score(*_case(SCRAMBLED, [str(i + first) for i in SCRAMBLED], **nameless)) == (168, 168)
    with pytest.raises(DataError, match="holds 11 people, drawn labels 12"):
        match(*_case(range(11), [f"photo {i}" for i in range(11)], **nameless))


def test_an_order_without_head_and_neck_is_scored_on_the_limbs_under_its_own_name() -> None:
    people = drawn_people(LSP14, PEOPLE, 0)
    found = Predictions(Joints(reorder(people, LSP14, COCO18), Convention(COCO18)))
    scored = evaluate(protocol_named("lsp-pc"), Subject(found, truth_of(people, LSP14), {}))
    assert scored.result.protocol == "lsp-pc without head_top and neck"
    assert (scored.result.total.hits, scored.result.total.count) == (144, 144)
    assert list(scored.result.parts) == ["Sho", "Elb", "Wri", "Hip", "Kne", "Ank"]
    assert scored.rows == ()
    with pytest.raises(DataError, match="lack"):
        evaluate(protocol_named("lsp-pcp"), Subject(found, truth_of(people, LSP14), {}))
